//! What was written down in a run.

use std::{fmt, ops::Range, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::discord::{DiscordSession, Reach};

/// How long it may take until an accepted event is written and this is recorded.
const UNSETTLED: Duration = Duration::from_secs(1);

/// A sender, by its place in [`Record::senders`].
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
    /// Its name on the wire.
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

/// Who an event is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipients {
    /// Every session of these types but the sender's own.
    All(&'static [ClientKind]),
    /// Exactly one session of these types.
    Any(&'static [ClientKind]),
    /// Every session that has reported this guild.
    Guild(u64),
}

/// What became of an event, as its sender knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublishOutcome {
    /// HTTP answered 202.
    Accepted {
        /// When the answer was there.
        at: Instant,
        /// Its place in the log.
        offset: u64,
        /// Which life of the log.
        epoch: Arc<str>,
    },
    /// HTTP refused it; nobody may ever see it.
    Refused,
    /// Nobody told: a session sees it at most once.
    Unknown,
    /// From a socket that stayed connected to the end of the run: it has to be seen.
    Sent,
}

/// An event, numbered from 1 by its place in [`Sender::events`].
#[derive(Debug, Clone)]
pub struct SentEvent {
    /// Its name.
    pub name: &'static str,
    /// Who it is for.
    pub recipients: Recipients,
    /// Which Discord sessions it is for.
    pub reach: Reach,
    /// The earliest moment at which the log can have taken it. An attempt that was answered 503 does not count.
    pub sent_at: Instant,
    /// What became of it.
    pub outcome: PublishOutcome,
    /// Whether its sender asked again without knowing whether the log had taken it.
    pub repeated: bool,
}

/// Who sends one event after the other and so has an order. A client that connects again is another sender.
#[derive(Debug, Clone, Default)]
pub struct EventSender {
    /// The session that it sends from, by its place in [`Record::sessions`]; none over HTTP.
    pub session: Option<usize>,
    /// What it sent.
    pub events: Vec<SentEvent>,
}

/// A guild that a session reported.
#[derive(Debug, Clone, Copy)]
pub struct GuildReport {
    /// Its id.
    pub id: u64,
    /// When the report was known to be in force; `None` as long as it is not.
    pub since: Option<Instant>,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionEnd {
    /// The gateway closed it with this code.
    Closed(u16),
    /// The connection broke.
    Broken,
    /// Its node was killed.
    NodeDied,
}

/// An event as a client got it.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// Who sent it.
    pub sender: SenderId,
    /// Which one of the sender's.
    pub number: u64,
    /// Under which name.
    pub name: Arc<str>,
    /// When.
    pub at: Instant,
}

/// An event, by who sent it.
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
    /// Of which event it is.
    pub(super) const fn id(&self) -> EventId {
        EventId {
            sender: self.sender,
            number: self.number,
        }
    }
}

/// One session of a client, from its welcome to its end. A client that connects again has another one.
#[derive(Debug, Clone)]
pub struct V1Session {
    /// Who it is, for people.
    pub label: String,
    /// Its type.
    pub kind: ClientKind,
    /// When its welcome was there.
    pub identified_at: Instant,
    /// What it reported.
    pub guilds: Vec<GuildReport>,
    /// When the cluster may have taken it for dead although it was not: its node was stopped for longer than its lease
    /// lasts, or Redis lost what it had reported.
    pub absences: Vec<Range<Instant>>,
    /// When and how it ended; `None` where it stayed to the end of the run.
    pub ended: Option<(Instant, SessionEnd)>,
    /// What it received, in order.
    pub received: Vec<Receipt>,
}

/// Entries that the nodes say Redis has lost.
#[derive(Debug, Clone)]
pub struct Loss {
    /// The life of the log that they were in.
    pub epoch: Arc<str>,
    /// The last offset of it that is left.
    pub above: u64,
}

/// A whole run.
#[derive(Debug, Clone)]
pub struct Recording {
    /// When it began; problems are told in seconds since then.
    pub began: Instant,
    /// All senders.
    pub senders: Vec<EventSender>,
    /// All sessions.
    pub sessions: Vec<V1Session>,
    /// All Discord sessions.
    pub discord: Vec<DiscordSession>,
    /// From when on a Discord session may be told that it is over; never where there is no such time.
    pub may_invalidate_from: Option<Instant>,
    /// What the nodes reported as lost.
    pub losses: Vec<Loss>,
    /// When what Redis was robbed of was written, entries or not.
    pub truncations: Vec<Range<Instant>>,
    /// When two servers took events at once: from the moment at which the replica heard last of the primary to the last
    /// node's move.
    pub splits: Vec<Range<Instant>>,
}

impl Recording {
    /// Nothing yet.
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

    /// An event by its sender and number.
    pub fn event(&self, sender: SenderId, number: u64) -> Option<&SentEvent> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        self.senders.get(sender)?.events.get(index)
    }

    /// Whether the nodes say that Redis has lost an event.
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

    /// Whether Redis may have lost an event, and that it was asked for it, before its sender asked again.
    pub(super) fn may_be_forgotten(&self, event: &SentEvent) -> bool {
        let overlaps = |truncation: &Range<Instant>| {
            let is_answered = event.accepted_at().is_some_and(|at| at < truncation.start);
            !is_answered && event.sent_at <= truncation.end
        };
        event.repeated && self.truncations.iter().any(overlaps)
    }

    /// Whether an event may have been accepted by one of two servers, so that sessions at the other one were told instead of
    /// receiving it.
    pub(super) fn was_sent_in_a_split(&self, event: &SentEvent) -> bool {
        let overlaps = |split: &Range<Instant>| {
            let is_answered = event.accepted_at().is_some_and(|at| at < split.start);
            !is_answered && event.sent_at <= split.end
        };
        self.splits.iter().any(overlaps)
    }

    /// Whether the server may lack that an event was written: that was recorded while two servers took events, or among what
    /// the server has lost.
    pub(super) fn may_be_written_again(&self, event: &SentEvent) -> bool {
        let overlaps = |time: &Range<Instant>| {
            let is_settled = event.accepted_at().is_some_and(|at| at + UNSETTLED < time.start);
            !is_settled && event.sent_at <= time.end
        };
        self.splits.iter().chain(&self.truncations).any(overlaps)
    }
}

impl SentEvent {
    /// When its answer was there.
    pub(super) fn accepted_at(&self) -> Option<Instant> {
        match self.outcome {
            PublishOutcome::Accepted { at, .. } => Some(at),
            _ => None,
        }
    }

    /// Whether it must have been delivered.
    pub(super) fn is_promised(&self) -> bool {
        matches!(self.outcome, PublishOutcome::Accepted { .. } | PublishOutcome::Sent)
    }

    /// Whether nobody may ever see it.
    pub(super) fn is_refused(&self) -> bool {
        self.outcome == PublishOutcome::Refused
    }

    /// Whether it is appended again when all its receivers end before they have it.
    pub(super) fn may_be_redelivered(&self) -> bool {
        !matches!(self.recipients, Recipients::All(_))
    }

    /// Whether exactly one session gets it.
    pub(super) fn is_for_one(&self) -> bool {
        matches!(self.recipients, Recipients::Any(_))
    }
}

impl V1Session {
    /// Whether it may see an event for this audience.
    pub(super) fn is_recipient(&self, recipients: Recipients) -> bool {
        match recipients {
            Recipients::All(kinds) | Recipients::Any(kinds) => kinds.contains(&self.kind),
            Recipients::Guild(guild) => self.guilds.iter().any(|reported| reported.id == guild),
        }
    }

    /// Whether its report of the guild was in force before the event was sent.
    pub(super) fn had_reported(&self, guild: u64, event: &SentEvent) -> bool {
        let known = self.guilds.iter().filter(|reported| reported.id == guild);
        known
            .filter_map(|reported| reported.since)
            .any(|since| since < event.sent_at)
    }

    /// Whether the cluster may have taken it for dead when the event's receivers were decided.
    pub(super) fn was_absent(&self, event: &SentEvent) -> bool {
        self.absences.iter().any(|absence| {
            let begins_in_time = event.accepted_at().is_none_or(|at| absence.start <= at);
            begins_in_time && event.sent_at <= absence.end
        })
    }
}
