//! What senders and clients recorded during a run.

use std::{fmt, ops::Range, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::discord::{DiscordSession, Reach};

/// How long it may take until an accepted event has been written to a client and Redis has recorded that.
const UNSETTLED: Duration = Duration::from_secs(1);

/// A sender, as an index into [`Recording::senders`].
pub type SenderId = usize;

/// A client type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientKind {
    /// `bot`.
    Bot,
    /// `website`.
    Website,
    /// `service`.
    Service,
}

impl ClientKind {
    /// Returns the name used on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bot => "bot",
            Self::Website => "website",
            Self::Service => "service",
        }
    }
}

impl fmt::Display for ClientKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The sessions of version 1 that an event is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipients {
    /// Every session of these types except the sender's own.
    All(&'static [ClientKind]),
    /// Exactly one session of these types.
    Any(&'static [ClientKind]),
    /// Every session that has reported this guild.
    Guild(u64),
    /// Every website that watches this guild.
    Watchers(u64),
}

/// The outcome of publishing an event, as far as its sender knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublishOutcome {
    /// The HTTP answer was 202.
    Accepted {
        /// When the answer arrived.
        at: Instant,
        /// The event's offset in the log.
        offset: u64,
        /// The epoch of the log.
        epoch: Arc<str>,
    },
    /// HTTP refused the event; no session may receive it.
    Refused,
    /// Unknown to the sender: each session receives the event at most once.
    Unknown,
    /// Sent from a socket that stayed connected to the end of the run: the event must be delivered.
    Sent,
}

/// A published event. Its number is its index in [`RecordedSender::events`] plus 1.
#[derive(Debug, Clone)]
pub struct SentEvent {
    /// The event's name.
    pub name: &'static str,
    /// The sessions of version 1 that the event is for.
    pub recipients: Recipients,
    /// The Discord sessions that the event is for.
    pub reach: Reach,
    /// The earliest moment at which the log can have accepted the event. Attempts that were answered with 503 do not
    /// count.
    pub sent_at: Instant,
    /// What became of the event.
    pub outcome: PublishOutcome,
    /// Whether the sender retried without knowing if the log had already accepted the event.
    pub repeated: bool,
}

/// A sender. It sends one event after another, so its events have an order. A client that reconnects becomes a new
/// sender.
#[derive(Debug, Clone, Default)]
pub struct RecordedSender {
    /// The session it sends from, as an index into [`Recording::sessions`]; `None` for HTTP.
    pub session: Option<usize>,
    /// The events it sent, in order.
    pub events: Vec<SentEvent>,
}

/// A guild that a session reported.
#[derive(Debug, Clone, Copy)]
pub struct GuildReport {
    /// The guild's id.
    pub id: u64,
    /// When the report was first known to be in force; `None` until then.
    pub since: Option<Instant>,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordedEnd {
    /// The gateway closed it with this code.
    Closed(u16),
    /// The connection ended without a close code.
    Broken,
    /// Its node was killed.
    NodeDied,
}

/// An event as a client received it.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// The sender of the event.
    pub sender: SenderId,
    /// The number of the event among its sender's events.
    pub number: u64,
    /// The name it arrived under.
    pub name: Arc<str>,
    /// When it arrived.
    pub at: Instant,
}

/// Identifies an event: its sender and its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct EventId {
    pub(super) sender: SenderId,
    pub(super) number: u64,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "event {} of sender {}", self.number, self.sender)
    }
}

impl Receipt {
    /// Returns the id of the event.
    pub(super) const fn id(&self) -> EventId {
        EventId {
            sender: self.sender,
            number: self.number,
        }
    }
}

/// One version 1 session of a client, from its welcome to its end. A client that reconnects gets a new one.
#[derive(Debug, Clone)]
pub struct V1Session {
    /// The name of the session in reports.
    pub label: String,
    /// The client type.
    pub kind: ClientKind,
    /// When the welcome arrived.
    pub identified_at: Instant,
    /// The guilds that the session reported or watches.
    pub guilds: Vec<GuildReport>,
    /// The times during which the cluster may have considered the session dead although it was alive: its node was
    /// suspended for longer than its lease, or Redis lost what the session had reported.
    pub absences: Vec<Range<Instant>>,
    /// When and how the session ended; `None` if it lasted until the end of the run.
    pub ended: Option<(Instant, RecordedEnd)>,
    /// The events received, in order.
    pub received: Vec<Receipt>,
}

/// Entries that Redis has lost, according to the nodes.
#[derive(Debug, Clone)]
pub struct Loss {
    /// The epoch that the entries belonged to.
    pub epoch: Arc<str>,
    /// The last offset of that epoch that still exists.
    pub above: u64,
}

/// Everything recorded in a run.
#[derive(Debug, Clone)]
pub struct Recording {
    /// When the run began; problems are reported in seconds since then.
    pub began: Instant,
    /// All senders.
    pub senders: Vec<RecordedSender>,
    /// All sessions of version 1.
    pub sessions: Vec<V1Session>,
    /// All Discord sessions.
    pub discord: Vec<DiscordSession>,
    /// From when on a Discord session may receive op 9; `None` if it never may.
    pub may_invalidate_from: Option<Instant>,
    /// The losses that the nodes reported.
    pub losses: Vec<Loss>,
    /// For each time that Redis lost data, the period in which the lost writes were made. They may or may not have
    /// included entries.
    pub truncations: Vec<Range<Instant>>,
    /// When two servers accepted events at the same time: from the moment the replica last received something from the
    /// primary until the last node moved.
    pub splits: Vec<Range<Instant>>,
}

impl Recording {
    /// Creates an empty recording.
    pub fn new(began: Instant) -> Self {
        Self {
            began,
            senders: Vec::new(),
            sessions: Vec::new(),
            discord: Vec::new(),
            may_invalidate_from: None,
            losses: Vec::new(),
            truncations: Vec::new(),
            splits: Vec::new(),
        }
    }

    /// Returns the event of this sender with this number.
    pub fn event(&self, sender: SenderId, number: u64) -> Option<&SentEvent> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        self.senders.get(sender)?.events.get(index)
    }

    /// Whether the nodes reported that Redis lost this event.
    pub(super) fn reports_lost(&self, event: &SentEvent) -> bool {
        match &event.outcome {
            PublishOutcome::Accepted { offset, epoch, .. } => {
                let is_beyond = |loss: &Loss| loss.epoch == *epoch && loss.above < *offset;
                self.losses.iter().any(is_beyond)
            }
            _ => {
                !self.losses.is_empty()
                    && self
                        .truncations
                        .iter()
                        .any(|truncation| truncation.contains(&event.sent_at))
            }
        }
    }

    /// Whether the sender retried, and Redis may have lost the event, and with it the idempotency key, before the
    /// retry.
    pub(super) fn may_be_forgotten(&self, event: &SentEvent) -> bool {
        let overlaps = |truncation: &Range<Instant>| {
            let is_answered = event.accepted_at().is_some_and(|at| at < truncation.start);
            !is_answered && event.sent_at <= truncation.end
        };
        event.repeated && self.truncations.iter().any(overlaps)
    }

    /// Whether the event may have been accepted by one of two servers in a split, in which case sessions at the other
    /// server are closed instead of receiving it.
    pub(super) fn was_sent_in_a_split(&self, event: &SentEvent) -> bool {
        let overlaps = |split: &Range<Instant>| {
            let is_answered = event.accepted_at().is_some_and(|at| at < split.start);
            !is_answered && event.sent_at <= split.end
        };
        self.splits.iter().any(overlaps)
    }

    /// Whether the server may not know that the event was delivered: the delivery was recorded during a split, or among
    /// the data that the server lost.
    pub(super) fn may_be_written_again(&self, event: &SentEvent) -> bool {
        let overlaps = |time: &Range<Instant>| {
            let is_settled = event.accepted_at().is_some_and(|at| at + UNSETTLED < time.start);
            !is_settled && event.sent_at <= time.end
        };
        self.splits.iter().chain(&self.truncations).any(overlaps)
    }
}

impl SentEvent {
    /// When the sender learned that the event was accepted.
    pub(super) fn accepted_at(&self) -> Option<Instant> {
        match self.outcome {
            PublishOutcome::Accepted { at, .. } => Some(at),
            _ => None,
        }
    }

    /// Whether the event must be delivered.
    pub(super) fn is_promised(&self) -> bool {
        matches!(self.outcome, PublishOutcome::Accepted { .. } | PublishOutcome::Sent)
    }

    /// Whether no session may receive the event.
    pub(super) fn is_refused(&self) -> bool {
        self.outcome == PublishOutcome::Refused
    }

    /// Whether the event is appended again if all its receivers end before they have received it.
    pub(super) fn may_be_redelivered(&self) -> bool {
        !matches!(self.recipients, Recipients::All(_) | Recipients::Watchers(_))
    }

    /// Whether exactly one session receives the event.
    pub(super) fn is_for_one(&self) -> bool {
        matches!(self.recipients, Recipients::Any(_))
    }
}

impl V1Session {
    /// Whether the session may receive an event for these recipients.
    pub(super) fn is_recipient(&self, recipients: Recipients) -> bool {
        match recipients {
            Recipients::All(kinds) | Recipients::Any(kinds) => kinds.contains(&self.kind),
            Recipients::Guild(guild) => self.kind == ClientKind::Bot && self.has_guild(guild),
            Recipients::Watchers(guild) => self.kind == ClientKind::Website && self.has_guild(guild),
        }
    }

    fn has_guild(&self, guild: u64) -> bool {
        self.guilds.iter().any(|reported| reported.id == guild)
    }

    /// Whether the session's report of the guild was in force before the event was sent.
    pub(super) fn had_reported(&self, guild: u64, event: &SentEvent) -> bool {
        let known = self.guilds.iter().filter(|reported| reported.id == guild);
        known
            .filter_map(|reported| reported.since)
            .any(|since| since < event.sent_at)
    }

    /// Whether the cluster may have considered the session dead when it decided who receives the event.
    pub(super) fn was_absent(&self, event: &SentEvent) -> bool {
        self.absences.iter().any(|absence| {
            let begins_in_time = event.accepted_at().is_none_or(|at| absence.start <= at);
            begins_in_time && event.sent_at <= absence.end
        })
    }
}
