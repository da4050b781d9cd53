//! A client over a whole run: it receives, reports, perhaps sends, and connects again whenever its connection ends.

use std::time::Duration;

use fastrand::Rng;
use gateway_harness::{ask, key};
use serde_json::{Value, json};
use tokio::{
    task::AbortHandle,
    time::{Instant, Interval, interval, sleep, sleep_until, timeout},
};

use super::{
    publisher::pause,
    socket::{Heard, Socket},
    stage::{Door, Stage},
    table::Draft,
};
use crate::checker::{Kind, SenderId};

/// How long it waits before it connects again: the first time, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Heartbeats: far more often than a node asks for them.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long it waits to see that its report is in force before it asks again.
const PROBE: Duration = Duration::from_secs(1);

/// The guild that only one session reports: this plus the number of the session.
const MARKER: u64 = 1_000_000;

/// A client.
#[derive(Debug)]
pub(super) struct Member {
    /// Which one it is.
    pub(super) number: usize,
    pub(super) kind: Kind,
    /// The node that it connects to first.
    pub(super) home: usize,
    /// The guilds that it reports, of a bot.
    pub(super) guilds: Vec<u64>,
    /// Events that it sends in a second.
    pub(super) rate: u32,
    pub(super) rng: Rng,
}

impl Member {
    /// Lives for as long as it is polled.
    pub(super) async fn live(mut self, mut stage: Stage) {
        let mut backoff = BACKOFF.0;
        stage.admits(self.kind).await;
        let mut door = stage.door(self.home, &mut self.rng);
        loop {
            if let Some(door) = door
                && let Some(socket) = Socket::open(door.address, self.kind, &key(self.kind.name())).await
            {
                backoff = BACKOFF.0;
                self.take_part(socket, door, &stage).await;
            }
            sleep(backoff.mul_f64(0.5 + self.rng.f64())).await;
            backoff = BACKOFF.1.min(backoff * 2);
            stage.admits(self.kind).await;
            door = stage.any_door(&mut self.rng);
        }
    }

    /// One session, from its welcome to its end.
    async fn take_part(&mut self, mut socket: Socket, door: Door, stage: &Stage) {
        let book = &stage.book;
        let label = format!("{} {}", self.kind, self.number);
        let index = book.open_session(self.number, &label, self.kind, door.life);
        let mut part = Part {
            index,
            sender: (self.rate > 0).then(|| book.open_sender(Some(index))),
            next: Instant::now() + pause(self.rate, &mut self.rng),
            heartbeat: interval(HEARTBEAT),
            probe: None,
        };
        let mut reports = stage.reports.clone();
        if self.kind == Kind::Bot {
            reports.mark_unchanged();
            self.report(&mut socket, index, stage).await;
            part.probe = Some(Probe::start(index, door, 0));
        }
        let code = loop {
            tokio::select! {
                heard = socket.next() => match heard {
                    Heard::Payload(payload) => part.hear(&payload, stage),
                    Heard::Ended(code) => break code,
                },
                _ = part.heartbeat.tick() => {
                    socket.send(&json!({ "op": 10 })).await;
                }
                () = sleep_until(part.next), if part.sender.is_some() => {
                    part.send(&mut socket, stage, &mut self.rng).await;
                    part.next = Instant::now() + pause(self.rate, &mut self.rng);
                }
                Ok(()) = reports.changed(), if self.kind == Kind::Bot => {
                    let round = *reports.borrow_and_update();
                    part.probe = Some(Probe::start(index, door, round));
                }
            }
        };
        book.end_session(index, code);
    }

    async fn report(&self, socket: &mut Socket, index: usize, stage: &Stage) {
        let guilds: Vec<u64> = self.guilds.iter().copied().chain([marker(index)]).collect();
        stage.book.report(index, &guilds);
        let d = json!({ "guilds": guilds, "guildMembers": 10 });
        socket.send(&json!({ "op": 1, "t": "send_servers", "d": d })).await;
    }
}

/// The guild that only this session reports.
fn marker(index: usize) -> u64 {
    MARKER + u64::try_from(index).unwrap_or_default()
}

/// What goes on in a session.
struct Part {
    index: usize,
    sender: Option<SenderId>,
    /// When the next event is due.
    next: Instant,
    heartbeat: Interval,
    probe: Option<Probe>,
}

impl Part {
    /// Writes down an event that belongs to the run.
    fn hear(&mut self, payload: &Value, stage: &Stage) {
        let d = &payload["d"];
        if let Some(probe) = &self.probe
            && d["probe"] == *probe.nonce
        {
            stage.book.is_in_force(self.index);
            self.probe = None;
        }
        let sender = d["sender"].as_u64().and_then(|sender| SenderId::try_from(sender).ok());
        if let (Some(sender), Some(number), Some(name)) = (sender, d["n"].as_u64(), payload["t"].as_str()) {
            stage.book.receive(self.index, sender, number, name);
        }
    }

    /// Sends an event, if it is time for that.
    async fn send(&self, socket: &mut Socket, stage: &Stage, rng: &mut Rng) {
        let Some(sender) = self.sender.filter(|_| stage.is_sending()) else {
            return;
        };
        let draft = Draft::from_website(rng);
        let n = stage.book.send(sender, &draft);
        let event = json!({ "op": 1, "t": draft.name, "d": draft.d(sender, n) });
        socket.send(&event).await;
    }
}

/// Asks, until this is dropped, for an event of the guild that only one session reports. That session then knows that its
/// report is in force.
struct Probe {
    /// What the answer holds.
    nonce: String,
    asking: AbortHandle,
}

impl Probe {
    fn start(index: usize, door: Door, round: u64) -> Self {
        let nonce = format!("{index}-{round}");
        let d = json!({ "probe": nonce, "guildId": marker(index).to_string() });
        let event = json!({ "t": "guild_settings_changed", "d": d }).to_string();
        let asking = tokio::spawn(async move {
            let bearer = format!("Bearer {}", key("service"));
            let headers = [("authorization", &*bearer), ("content-type", "application/json")];
            loop {
                let asked = ask(door.address, "POST", "/api/v1/events", &headers, &event);
                let answer = timeout(PROBE, asked).await;
                let is_accepted = answer.is_ok_and(|answer| answer.is_ok_and(|answer| answer.status == 202));
                sleep(if is_accepted { PROBE } else { BACKOFF.0 }).await;
            }
        });
        Self {
            nonce,
            asking: asking.abort_handle(),
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.asking.abort();
    }
}
