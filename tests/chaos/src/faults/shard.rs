//! A client of Discord's protocol for a whole run: it receives, sends heartbeats and requests, drops its connection now
//! and then, and resumes its session at any node.

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

/// How long the client waits before it reconnects: the first time, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// The shortest and the longest time between two heartbeats, in ms: far more often than a node requires, yet rarely
/// enough that much is sent again after a disconnect.
const HEARTBEAT_MS: (u64, u64) = (200, 1500);
/// The shortest and the longest time for which it keeps a connection, in ms.
const CONNECTION_MS: (u64, u64) = (500, 5000);
/// The intent for guild messages, which a client either has or not; it has no other.
const MESSAGES: u64 = 1 << 9;

/// A client with one shard.
#[derive(Debug)]
pub(super) struct ShardClient {
    /// The number of the client.
    pub(super) number: usize,
    /// The shard's id and the number of shards.
    pub(super) shard: [u32; 2],
    pub(super) takes_messages: bool,
    /// The node that it connects to first.
    pub(super) home: usize,
    pub(super) rng: Rng,
}

/// Records what the client's session receives.
struct SessionLog<'s> {
    context: &'s RunContext,
    number: usize,
    label: String,
    shard: [u32; 2],
    takes_messages: bool,
    /// The index of the session in the recording.
    session: Option<usize>,
}

/// Why the client gives up a connection.
enum DisconnectReason {
    /// It has ended, or is about to.
    Ended,
    /// The client drops it, possibly only once it has the next one.
    Dropped,
}

impl ShardClient {
    /// Connects again and again, until the future is dropped.
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
        // A connection that the client has abandoned and the node still considers open.
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

    /// Receives until the client needs another connection.
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
                        // The session has moved to this connection.
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
                    // The answer is an event for this session only.
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
    /// Records a dispatch.
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

    /// Records that the session is over. A session that is not open yet may be refused too.
    fn invalidate(&mut self) {
        if let Some(session) = self.session.take() {
            self.context.recorder.invalidate(session);
        }
    }

    /// Records a complaint if a node closes with any code but 4000, which asks a client to reconnect. The client does
    /// nothing that would justify another code.
    fn add_close(&self, code: Option<u16>) {
        if let Some(code) = code.filter(|code| *code != 4000) {
            self.context
                .recorder
                .add_complaint(format!("{} was closed with {code}", self.label));
        }
    }
}
