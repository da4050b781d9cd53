//! Discord sessions: what is recorded about them, and the rules for them.
//!
//! Such a session outlives its connections. Every event that was accepted during the session is due to it, connected or
//! not, under sequence numbers without a gap. The only exception is op 9, which is allowed only if Redis has lost
//! something.

use std::collections::{HashMap, HashSet};

use tokio::time::Instant;

use super::{
    recording::{EventId, Receipt, SenderId, SentEvent},
    rules::Checker,
};

/// The Discord sessions that receive an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// No Discord session.
    Nobody,
    /// Sessions whose shard has this guild.
    Guild(u64),
    /// Like [`Self::Guild`], but only sessions that have the intent for messages.
    Message(u64),
    /// Sessions with exactly this shard: its id and the number of shards.
    Shard([u32; 2]),
}

/// One session of a client, from Ready to op 9 (Invalid Session), over any number of connections.
#[derive(Debug, Clone)]
pub struct DiscordSession {
    /// The name of the session in reports.
    pub label: String,
    /// The shard's id and the number of shards.
    pub shard: [u32; 2],
    /// Whether the session has the intent for messages.
    pub takes_messages: bool,
    /// When Ready arrived.
    pub ready_at: Instant,
    /// When op 9 arrived; `None` if the session lasted until the end of the run.
    pub invalid_at: Option<Instant>,
    /// The dispatches received, in order, including Ready and Resumed.
    pub dispatches: Vec<ReceivedDispatch>,
}

/// A dispatch as the client received it.
#[derive(Debug, Clone)]
pub struct ReceivedDispatch {
    /// The sequence number.
    pub s: u64,
    /// The event, if the run published it.
    pub receipt: Option<Receipt>,
}

/// What one session received.
#[derive(Default)]
struct SessionDispatches {
    events: HashSet<EventId>,
    /// The lowest and the highest event number received from each sender.
    spans: HashMap<SenderId, (u64, u64)>,
    /// The latest `sent_at` among the received events. Any event that was accepted before this moment comes before that
    /// event in the log.
    latest: Option<Instant>,
}

impl Reach {
    fn includes(self, session: &DiscordSession) -> bool {
        let [shard, count] = session.shard;
        let has = |guild: u64| (guild >> 22) % u64::from(count) == u64::from(shard);
        match self {
            Self::Nobody => false,
            Self::Guild(guild) => has(guild),
            Self::Message(guild) => has(guild) && session.takes_messages,
            Self::Shard(shard) => shard == session.shard,
        }
    }
}

impl Checker<'_> {
    /// Checks every Discord session on its own.
    pub(super) fn check_discord_sessions(&mut self) {
        let recording = self.recording;
        for session in &recording.discord {
            let seen = self.read_dispatches(session);
            self.check_due(session, &seen);
            if let Some(at) = session.invalid_at {
                self.verdict.invalid += 1;
                if recording.may_invalidate_from.is_none_or(|from| at < from) {
                    let time = self.since_begin(at);
                    self.verdict.refused += 1;
                    self.verdict
                        .add_problem(|| format!("not resumed: {} at {time} s", session.label));
                }
            }
        }
    }

    /// Checks the dispatches that a session received, in order.
    fn read_dispatches(&mut self, session: &DiscordSession) -> SessionDispatches {
        let mut seen = SessionDispatches::default();
        let mut highest: HashMap<SenderId, u64> = HashMap::new();
        let mut last = 0;
        let label = &session.label;
        for ReceivedDispatch { s, receipt } in &session.dispatches {
            if *s != last + 1 {
                self.verdict.jumps += 1;
                self.verdict
                    .add_problem(|| format!("jump: dispatch {s} after {last} at {label}"));
            }
            last = *s;
            let Some(receipt) = receipt else { continue };
            self.verdict.deliveries += 1;
            let id = receipt.id();
            let time = self.since_begin(receipt.at);
            let event = self.recording.event(id.sender, id.number);
            let Some(event) = event.filter(|event| session.may_have(event, receipt)) else {
                self.verdict.unauthorised += 1;
                self.verdict
                    .add_problem(|| format!("unauthorised: {id} ({}) at {label}, {time} s", receipt.name));
                continue;
            };
            if !seen.events.insert(id) {
                if self.recording.may_be_forgotten(event) {
                    self.verdict.uncertain += 1;
                } else {
                    self.verdict.doubled += 1;
                    self.verdict
                        .add_problem(|| format!("doubled: {id} at {label}, {time} s"));
                }
                continue;
            }
            let before = highest.entry(id.sender).or_default();
            if id.number < *before {
                let before = *before;
                self.verdict.reordered += 1;
                self.verdict
                    .add_problem(|| format!("reordered: {id} after event {before} at {label}, {time} s"));
            } else {
                *before = id.number;
            }
            let (low, high) = seen.spans.entry(id.sender).or_insert((id.number, id.number));
            *low = id.number.min(*low);
            *high = id.number.max(*high);
            seen.latest = seen.latest.max(Some(event.sent_at));
        }
        seen
    }

    /// Checks that a session received every event that was due to it.
    fn check_due(&mut self, session: &DiscordSession, seen: &SessionDispatches) {
        let recording = self.recording;
        let lives = session.invalid_at.is_none();
        for (sender, events) in recording.senders.iter().enumerate() {
            let span = seen.spans.get(&sender);
            for (number, event) in (1..).zip(&events.events) {
                let id = EventId { sender, number };
                let is_between = span.is_some_and(|(low, high)| *low < number && number < *high);
                let is_after_ready = session.ready_at < event.sent_at;
                // The end of an invalidated session is known only from the last event it received.
                let is_in_time = lives || event.accepted_at().is_some_and(|at| seen.latest > Some(at));
                let is_due = event.is_promised() && (is_between || (is_after_ready && is_in_time));
                if is_due && event.reach.includes(session) && !seen.events.contains(&id) {
                    let is_told = !lives && recording.was_sent_in_a_split(event);
                    self.add_missing(id, event, is_told, &session.label, lives);
                }
            }
        }
    }
}

impl DiscordSession {
    fn may_have(&self, event: &SentEvent, receipt: &Receipt) -> bool {
        event.reach.includes(self) && *receipt.name == *event.name && !event.is_refused()
    }
}
