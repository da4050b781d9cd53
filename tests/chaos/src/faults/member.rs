//! A client of version 1 for a whole run: it receives, reports its guilds, perhaps sends, and reconnects whenever its
//! connection ends.

use std::time::Duration;

use fastrand::Rng;
use gateway_harness::{ask, key};
use serde_json::{Value, json};
use tokio::{
    task::AbortHandle,
    time::{Instant, Interval, interval, sleep, sleep_until, timeout},
};

use super::{
    context::{NodeEndpoint, RunContext},
    publisher::pause,
    table::EventDraft,
};
use crate::{
    checker::{ClientKind, SenderId},
    socket::{SocketEvent, V1Socket},
};

/// How long the client waits before it reconnects: the first time, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// The interval of heartbeats: far more often than a node requires.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long a probe waits for its event before it publishes it again.
const PROBE: Duration = Duration::from_secs(1);

/// The marker guild of a session, which no other session reports, is this plus the index of the session.
const MARKER: u64 = 1_000_000;

/// A client of version 1.
#[derive(Debug)]
pub(super) struct MemberClient {
    /// The number of the client.
    pub(super) number: usize,
    pub(super) kind: ClientKind,
    /// The node that it connects to first.
    pub(super) home: usize,
    /// The guilds that it reports, if it is a bot.
    pub(super) guilds: Vec<u64>,
    /// Events that it sends per second.
    pub(super) rate: u32,
    pub(super) rng: Rng,
}

impl MemberClient {
    /// Connects again and again, until the future is dropped.
    pub(super) async fn run(mut self, mut context: RunContext) {
        let mut backoff = BACKOFF.0;
        context.admits(self.kind).await;
        let mut endpoint = context.endpoint(self.home, &mut self.rng);
        loop {
            if let Some(endpoint) = endpoint
                && let Some(socket) = V1Socket::open(endpoint.address, self.kind, &key(self.kind.name())).await
            {
                backoff = BACKOFF.0;
                self.run_session(socket, endpoint, &context).await;
            }
            sleep(backoff.mul_f64(0.5 + self.rng.f64())).await;
            backoff = BACKOFF.1.min(backoff * 2);
            context.admits(self.kind).await;
            endpoint = context.any_endpoint(&mut self.rng);
        }
    }

    /// Runs one session, from its welcome to its end.
    async fn run_session(&mut self, mut socket: V1Socket, endpoint: NodeEndpoint, context: &RunContext) {
        let recorder = &context.recorder;
        let label = format!("{} {}", self.kind, self.number);
        let index = recorder.open_session(self.number, &label, self.kind, endpoint.run);
        let mut session = MemberSession {
            index,
            sender: (self.rate > 0).then(|| recorder.open_sender(Some(index))),
            next: Instant::now() + pause(self.rate, &mut self.rng),
            heartbeat: interval(HEARTBEAT),
            probe: None,
        };
        let mut reports = context.reports.clone();
        if self.kind == ClientKind::Bot {
            reports.mark_unchanged();
            self.report(&mut socket, index, context).await;
            session.probe = Some(ReportProbe::start(index, endpoint, 0));
        }
        let code = loop {
            tokio::select! {
                event = socket.next() => match event {
                    SocketEvent::Payload(payload) => session.record(&payload, context),
                    SocketEvent::Ended(code) => break code,
                },
                _ = session.heartbeat.tick() => {
                    socket.send(&json!({ "op": 10 })).await;
                }
                () = sleep_until(session.next), if session.sender.is_some() => {
                    session.send(&mut socket, context, &mut self.rng).await;
                    session.next = Instant::now() + pause(self.rate, &mut self.rng);
                }
                Ok(()) = reports.changed(), if self.kind == ClientKind::Bot => {
                    let round = *reports.borrow_and_update();
                    session.probe = Some(ReportProbe::start(index, endpoint, round));
                }
            }
        };
        recorder.end_session(index, code);
    }

    async fn report(&self, socket: &mut V1Socket, index: usize, context: &RunContext) {
        let guilds: Vec<u64> = self.guilds.iter().copied().chain([marker(index)]).collect();
        context.recorder.report(index, &guilds);
        let d = json!({ "guilds": guilds, "guildMembers": 10 });
        socket.send(&json!({ "op": 1, "t": "send_servers", "d": d })).await;
    }
}

/// Returns the guild that only this session reports.
fn marker(index: usize) -> u64 {
    MARKER + u64::try_from(index).unwrap_or_default()
}

/// The state of a session.
struct MemberSession {
    index: usize,
    sender: Option<SenderId>,
    /// When the next event is due.
    next: Instant,
    heartbeat: Interval,
    probe: Option<ReportProbe>,
}

impl MemberSession {
    /// Records a received event, if it belongs to the run.
    fn record(&mut self, payload: &Value, context: &RunContext) {
        let d = &payload["d"];
        if let Some(probe) = &self.probe
            && d["probe"] == *probe.nonce
        {
            context.recorder.confirm_reports(self.index);
            self.probe = None;
        }
        let sender = d["sender"].as_u64().and_then(|sender| SenderId::try_from(sender).ok());
        if let (Some(sender), Some(number), Some(name)) = (sender, d["n"].as_u64(), payload["t"].as_str()) {
            context.recorder.receive(self.index, sender, number, name);
        }
    }

    /// Sends an event, if the run is sending now.
    async fn send(&self, socket: &mut V1Socket, context: &RunContext, rng: &mut Rng) {
        let Some(sender) = self.sender.filter(|_| context.is_sending()) else {
            return;
        };
        let draft = EventDraft::from_website(rng);
        let n = context.recorder.send(sender, &draft);
        let event = json!({ "op": 1, "t": draft.name, "d": draft.d(sender, n) });
        socket.send(&event).await;
    }
}

/// Publishes an event for a session's marker guild again and again, until it is dropped. When the session receives the
/// event, its reports are in force.
struct ReportProbe {
    /// Identifies the probe's event.
    nonce: String,
    task: AbortHandle,
}

impl ReportProbe {
    fn start(index: usize, endpoint: NodeEndpoint, round: u64) -> Self {
        let nonce = format!("{index}-{round}");
        let d = json!({ "probe": nonce, "guildId": marker(index).to_string() });
        let event = json!({ "t": "guild_settings_changed", "d": d }).to_string();
        let task = tokio::spawn(async move {
            let bearer = format!("Bearer {}", key("service"));
            let headers = [("authorization", &*bearer), ("content-type", "application/json")];
            loop {
                let asked = ask(endpoint.address, "POST", "/api/v1/events", &headers, &event);
                let answer = timeout(PROBE, asked).await;
                let is_accepted = answer.is_ok_and(|answer| answer.is_ok_and(|answer| answer.status == 202));
                sleep(if is_accepted { PROBE } else { BACKOFF.0 }).await;
            }
        });
        Self {
            nonce,
            task: task.abort_handle(),
        }
    }
}

impl Drop for ReportProbe {
    fn drop(&mut self) {
        self.task.abort();
    }
}
