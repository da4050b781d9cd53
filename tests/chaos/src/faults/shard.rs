//! A client of Discord's protocol over a whole run: it receives, beats, asks, drops its connection now and then, and resumes
//! whenever it has none, at any node.

use std::time::Duration;

use fastrand::Rng;
use gateway_harness::{
    discord::{Connection, Heard, Payload, Resumer},
    key,
};
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};

use super::{publisher::pause, stage::Stage};
use crate::checker::{Receipt, SenderId};

/// How long it waits before it connects again: the first time, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How often it says what it has, in ms at least and at most: far more often than a node asks for it, and so rarely that
/// much is sent again after a cut.
const BEAT: (u64, u64) = (200, 1500);
/// How long it keeps a connection, in ms at least and at most.
const PATIENCE: (u64, u64) = (500, 5000);
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
struct Part<'s> {
    stage: &'s Stage,
    number: usize,
    label: String,
    shard: [u32; 2],
    takes_messages: bool,
    /// Its session in the book.
    session: Option<usize>,
}

/// Why a connection is given up.
enum Left {
    /// It is over, or was said to be.
    Ended,
    /// The client does not want it any more, and may have the next one before it lets go.
    Dropped,
}

impl ShardClient {
    /// Lives for as long as it is polled.
    pub(super) async fn live(mut self, stage: Stage) {
        let [shard, count] = self.shard;
        let mut resumer = Resumer::new(key("bot"), self.shard, if self.takes_messages { MESSAGES } else { 0 });
        let mut part = Part {
            number: self.number,
            label: format!("shard {shard} of {count}, client {}", self.number),
            shard: self.shard,
            takes_messages: self.takes_messages,
            session: None,
            stage: &stage,
        };
        let mut backoff = BACKOFF.0;
        let mut door = stage.door(self.home, &mut self.rng);
        // One that the node still takes for this client's.
        let mut left_open: Option<Connection> = None;
        loop {
            if let Some(door) = door
                && let Some(mut connection) = resumer.connect(door.address).await
            {
                let left = self
                    .listen(&mut resumer, &mut connection, &mut part, &mut left_open)
                    .await;
                stage.book.is_attached(self.number, false);
                if matches!(left, Left::Dropped) {
                    backoff = BACKOFF.0;
                    if self.rng.u8(..3) == 0 {
                        left_open = Some(connection);
                    }
                }
            }
            if left_open.is_none() {
                sleep(backoff.mul_f64(0.5 + self.rng.f64())).await;
                backoff = BACKOFF.1.min(backoff * 2);
            }
            door = stage.any_door(&mut self.rng);
            if door.is_none() {
                left_open = None;
            }
        }
    }

    /// Receives until the connection has to be another one.
    async fn listen(
        &mut self,
        resumer: &mut Resumer,
        connection: &mut Connection,
        part: &mut Part<'_>,
        left_open: &mut Option<Connection>,
    ) -> Left {
        let ms = |rng: &mut Rng, (least, most)| Instant::now() + Duration::from_millis(rng.u64(least..=most));
        let mut beat = ms(&mut self.rng, BEAT);
        let mut leaving = ms(&mut self.rng, PATIENCE);
        let mut question = Instant::now() + pause(1, &mut self.rng);
        loop {
            tokio::select! {
                heard = resumer.next(connection) => match heard {
                    Heard::Dispatch(payload) => {
                        // The session is here now.
                        *left_open = None;
                        part.hear(&payload);
                    }
                    Heard::Beaten => {}
                    Heard::Reconnect => return Left::Ended,
                    Heard::Invalid => {
                        part.is_invalid();
                        return Left::Ended;
                    }
                    Heard::Ended(code) => {
                        part.is_closed(code);
                        return Left::Ended;
                    }
                },
                () = sleep_until(beat) => {
                    resumer.beat(connection).await;
                    beat = ms(&mut self.rng, BEAT);
                }
                () = sleep_until(question) => {
                    // What is answered is for this session alone.
                    if part.stage.is_sending() && part.stage.book.has_attached(self.number) {
                        connection.send(43, &json!({ "guild_id": "1" })).await;
                    }
                    question = Instant::now() + pause(1, &mut self.rng);
                }
                () = sleep_until(leaving) => {
                    if part.stage.is_restless() {
                        return Left::Dropped;
                    }
                    leaving = ms(&mut self.rng, PATIENCE);
                }
            }
        }
    }
}

impl Part<'_> {
    /// Writes down a dispatch.
    fn hear(&mut self, payload: &Payload) {
        let book = &self.stage.book;
        let (name, s) = (payload.t.as_deref().unwrap_or_default(), payload.s.unwrap_or_default());
        if name == "READY" {
            self.session = Some(book.open_shard(&self.label, self.shard, self.takes_messages));
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
            book.dispatch(session, s, receipt);
        }
        match name {
            "READY" => book.is_attached(self.number, true),
            "RESUMED" => {
                book.is_resumed();
                book.is_attached(self.number, true);
            }
            _ => {}
        }
    }

    /// Writes down that the session is over. A new one may be refused as well.
    fn is_invalid(&mut self) {
        if let Some(session) = self.session.take() {
            self.stage.book.is_invalid(session);
        }
    }

    /// A node asks who has done nothing wrong to come again; nothing else.
    fn is_closed(&self, code: Option<u16>) {
        if let Some(code) = code.filter(|code| *code != 4000) {
            self.stage
                .book
                .complain(format!("{} was closed with {code}", self.label));
        }
    }
}
