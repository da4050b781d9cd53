//! Discord sessions: what is written down of them, and the rules that they are held against.
//!
//! Such a session outlives its connections, so everything that was accepted while it lived is due to it, wherever its client
//! was at that moment, under numbers without a gap. The one way out is op 9, and only where Redis has lost something.

use std::collections::{HashMap, HashSet};

use tokio::time::Instant;

use super::{
    recording::{EventId, Receipt, SenderId, SentEvent},
    rules::Checker,
};

/// Which Discord sessions receive an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// None.
    Nobody,
    /// Those whose shard has this guild.
    Guild(u64),
    /// Of these, those that have the intent for messages.
    Message(u64),
    /// Those with this very shard: which, and of how many.
    Shard([u32; 2]),
}

/// One session of a client, from Ready to op 9, over as many connections as it took.
#[derive(Debug, Clone)]
pub struct DiscordSession {
    /// Who it is, for people.
    pub label: String,
    /// Which shard, and of how many.
    pub shard: [u32; 2],
    /// Whether it has the intent for messages.
    pub takes_messages: bool,
    /// When Ready was there.
    pub ready_at: Instant,
    /// When the client was told that it is over; `None` where it lived to the end of the run.
    pub invalid_at: Option<Instant>,
    /// What it received, in order, Ready and Resumed among it.
    pub dispatches: Vec<ReceivedDispatch>,
}

/// A dispatch as a client got it.
#[derive(Debug, Clone)]
pub struct ReceivedDispatch {
    /// Its number.
    pub s: u64,
    /// The event, if it is one of the run.
    pub receipt: Option<Receipt>,
}

/// What one session saw.
#[derive(Default)]
struct SeenDispatches {
    events: HashSet<EventId>,
    /// The lowest and the highest number of each sender.
    spans: HashMap<SenderId, (u64, u64)>,
    /// When the event was sent, of those that it saw, that was sent last. What was accepted before that stands before it
    /// in the log.
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
    /// Judges every Discord session by itself.
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

    /// Reads what a session received, in order.
    fn read_dispatches(&mut self, session: &DiscordSession) -> SeenDispatches {
        let mut seen = SeenDispatches::default();
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

    /// Looks for what a session should have had.
    fn check_due(&mut self, session: &DiscordSession, seen: &SeenDispatches) {
        let recording = self.recording;
        let lives = session.invalid_at.is_none();
        for (sender, events) in recording.senders.iter().enumerate() {
            let span = seen.spans.get(&sender);
            for (number, event) in (1..).zip(&events.events) {
                let id = EventId { sender, number };
                let is_between = span.is_some_and(|(low, high)| *low < number && number < *high);
                let is_after_ready = session.ready_at < event.sent_at;
                // Where it is over, all that is known of its end is what it saw last.
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
