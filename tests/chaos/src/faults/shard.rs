//! A client of Discord's protocol over a whole run: it receives, beats, asks, drops its connection now and then, and resumes
//! whenever it has none, at any node.

use std::time::Duration;

use fastrand::Rng;
use gateway_harness::{
    discord::{GatewayPayload, Resumer, ResumerConnection, ResumerEvent},
    key,
};
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};

use super::{context::RunContext, publisher::pause};
use crate::checker::{Receipt, SenderId};

/// How long it waits before it connects again: the first time, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How often it says what it has, in ms at least and at most: far more often than a node asks for it, and so rarely that
/// much is sent again after a cut.
const HEARTBEAT_MS: (u64, u64) = (200, 1500);
/// How long it keeps a connection, in ms at least and at most.
const CONNECTION_MS: (u64, u64) = (500, 5000);
/// The intents that it may have: none, and that for the messages of guilds.
const MESSAGES: u64 = 1 << 9;

/// A client with one shard.
#[derive(Debug)]
pub(super) struct ShardClient {
    /// Which one it is.
    pub(super) number: usize,
    /// Which shard, and of how many.
    pub(super) shard: [u32; 2],
    pub(super) takes_messages: bool,
    /// The node that it connects to first.
    pub(super) home: usize,
    pub(super) rng: Rng,
}

/// What goes on beside its connection.
struct SessionLog<'s> {
    context: &'s RunContext,
    number: usize,
    label: String,
    shard: [u32; 2],
    takes_messages: bool,
    /// Its session in the book.
    session: Option<usize>,
}

/// Why a connection is given up.
enum DisconnectReason {
    /// It is over, or was said to be.
    Ended,
    /// The client does not want it any more, and may have the next one before it lets go.
    Dropped,
}

impl ShardClient {
    /// Lives for as long as it is polled.
    pub(super) async fn run(mut self, context: RunContext) {
        let [shard, count] = self.shard;
        let mut resumer = Resumer::new(key("bot"), self.shard, if self.takes_messages { MESSAGES } else { 0 });
        let mut log = SessionLog {
            number: self.number,
            label: format!("shard {shard} of {count}, client {}", self.number),
            shard: self.shard,
            takes_messages: self.takes_messages,
            session: None,
            context: &context,
        };
        let mut backoff = BACKOFF.0;
        let mut endpoint = context.endpoint(self.home, &mut self.rng);
        // One that the node still takes for this client's.
        let mut stale_connection: Option<ResumerConnection> = None;
        loop {
            if let Some(endpoint) = endpoint
                && let Some(mut connection) = resumer.connect(endpoint.address).await
            {
                let reason = self
                    .listen(&mut resumer, &mut connection, &mut log, &mut stale_connection)
                    .await;
                context.recorder.set_attached(self.number, false);
                if matches!(reason, DisconnectReason::Dropped) {
                    backoff = BACKOFF.0;
                    if self.rng.u8(..3) == 0 {
                        stale_connection = Some(connection);
                    }
                }
            }
            if stale_connection.is_none() {
                sleep(backoff.mul_f64(0.5 + self.rng.f64())).await;
                backoff = BACKOFF.1.min(backoff * 2);
            }
            endpoint = context.any_endpoint(&mut self.rng);
            if endpoint.is_none() {
                stale_connection = None;
            }
        }
    }

    /// Receives until the connection has to be another one.
    async fn listen(
        &mut self,
        resumer: &mut Resumer,
        connection: &mut ResumerConnection,
        log: &mut SessionLog<'_>,
        stale_connection: &mut Option<ResumerConnection>,
    ) -> DisconnectReason {
        let ms = |rng: &mut Rng, (least, most)| Instant::now() + Duration::from_millis(rng.u64(least..=most));
        let mut beat = ms(&mut self.rng, HEARTBEAT_MS);
        let mut leave_at = ms(&mut self.rng, CONNECTION_MS);
        let mut next_request = Instant::now() + pause(1, &mut self.rng);
        loop {
            tokio::select! {
                event = resumer.next(connection) => match event {
                    ResumerEvent::Dispatch(payload) => {
                        // The session is here now.
                        *stale_connection = None;
                        log.record(&payload);
                    }
                    ResumerEvent::HeartbeatAck => {}
                    ResumerEvent::Reconnect => return DisconnectReason::Ended,
                    ResumerEvent::Invalid => {
                        log.invalidate();
                        return DisconnectReason::Ended;
                    }
                    ResumerEvent::Ended(code) => {
                        log.add_close(code);
                        return DisconnectReason::Ended;
                    }
                },
                () = sleep_until(beat) => {
                    resumer.beat(connection).await;
                    beat = ms(&mut self.rng, HEARTBEAT_MS);
                }
                () = sleep_until(next_request) => {
                    // What is answered is for this session alone.
                    if log.context.is_sending() && log.context.recorder.is_attached(self.number) {
                        connection.send(43, &json!({ "guild_id": "1" })).await;
                    }
                    next_request = Instant::now() + pause(1, &mut self.rng);
                }
                () = sleep_until(leave_at) => {
                    if log.context.may_disconnect() {
                        return DisconnectReason::Dropped;
                    }
                    leave_at = ms(&mut self.rng, CONNECTION_MS);
                }
            }
        }
    }
}

impl SessionLog<'_> {
    /// Writes down a dispatch.
    fn record(&mut self, payload: &GatewayPayload) {
        let recorder = &self.context.recorder;
        let (name, s) = (payload.t.as_deref().unwrap_or_default(), payload.s.unwrap_or_default());
        if name == "READY" {
            self.session = Some(recorder.open_shard(&self.label, self.shard, self.takes_messages));
        }
        let d = &payload.d;
        let sender = d["sender"].as_u64().and_then(|sender| SenderId::try_from(sender).ok());
        let receipt = sender.zip(d["n"].as_u64()).map(|(sender, number)| Receipt {
            sender,
            number,
            name: name.into(),
            at: Instant::now(),
        });
        if let Some(session) = self.session {
            recorder.dispatch(session, s, receipt);
        }
        match name {
            "READY" => recorder.set_attached(self.number, true),
            "RESUMED" => {
                recorder.add_resume();
                recorder.set_attached(self.number, true);
            }
            _ => {}
        }
    }

    /// Writes down that the session is over. A new one may be refused as well.
    fn invalidate(&mut self) {
        if let Some(session) = self.session.take() {
            self.context.recorder.invalidate(session);
        }
    }

    /// A node asks who has done nothing wrong to come again; nothing else.
    fn add_close(&self, code: Option<u16>) {
        if let Some(code) = code.filter(|code| *code != 4000) {
            self.context
                .recorder
                .add_complaint(format!("{} was closed with {code}", self.label));
        }
    }
}
