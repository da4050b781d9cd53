//! What a node asks of the thing that connects it with the others.

use std::{fmt, future::Future, num::ParseIntError, pin::Pin, str::FromStr, sync::Arc, time::Duration};

use serde::{Serialize, Serializer};
use shared::{
    client_type::{ClientType, ClientTypes},
    discord::Header,
    routing::Delivery,
    session_id::SessionId,
    v1::{Report, payload::GuildCount},
};

use super::{Entry, Owner};
use crate::guilds::Guilds;

/// An answer that may take a round trip.
///
/// The call that returns it has already taken its place in the order; dropping it gives up the answer, not the deed.
pub type Pending<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// The log, the membership and the counts of every application.
pub trait Backplane: Send + Sync + 'static {
    /// Claims an id that no other live session of the cluster has, and makes its session a receiver. The membership is
    /// the caller's to end, whether or not it still waits for the answer.
    fn join(&self, joining: Joining) -> Pending<Joined, JoinError>;

    /// Notes that a session which has joined can receive now. What is for one session of several is given to those alone
    /// of whom this is known.
    fn ready(&self, application: &str, id: SessionId);

    /// Ends the membership of a session: its report leaves the counts and it is no receiver any more.
    fn leave(&self, application: &str, id: SessionId);

    /// Replaces what a bot manages. `key` is the id of its key: what the sessions of one key change too fast comes later,
    /// and of each session only the latest.
    fn report(&self, application: &str, id: SessionId, key: &Arc<str>, report: Report);

    /// Appends events, all or none, and says where they stand. Calls of one caller are appended in the order of the
    /// calls. An error names the publication at fault, counted from 0.
    fn publish(&self, publishing: Publishing) -> Pending<Vec<Position>, PublishError>;

    /// Notes that an entry for some sessions alone has been delivered to at least one of them.
    fn ack(&self, entry: &Entry);

    /// Takes back an event for some sessions alone, because all of them that are here ended before they got it. It is
    /// appended once more for others; without others it waits for the next one, for as long as the log keeps it.
    fn redeliver(&self, entry: &Entry);

    /// Passes an order on to every node that has sessions of an application, this one among them, and answers how many those
    /// are. One that cannot be reached now does not hear of it.
    fn command_all(&self, application: &Arc<str>, order: &str) -> Pending<u64, Unavailable>;

    /// Whether everything that it was told has reached the others.
    fn is_flushed(&self) -> bool;

    /// How it is doing.
    fn status(&self) -> BackplaneStatus;

    /// Who else is there, as far as can be told now.
    fn peers(&self) -> Pending<Vec<Peer>, Unavailable>;
}

/// Where a backplane puts what the log has accepted.
pub trait Deliver: Send + Sync + 'static {
    /// Whether `bytes` more may wait for the slowest worker. What has no room is refused, not dropped.
    fn has_room(&self, bytes: usize) -> bool;

    /// Takes the next entry. Called in offset order, once an entry.
    fn deliver(&self, entry: Entry);

    /// Notes an entry that nobody received or will: one for all of a type of which there is none, or one whose sessions
    /// ended and that no other came for while the log kept it.
    fn no_receiver(&self, application: &str, event: &str);

    /// Notes entries that were accepted and that the log has lost since.
    fn lost(&self, application: &str, entries: u64);

    /// Notes that entries of an application which were accepted cannot be delivered here any more: who is connected has
    /// missed them, and has to be told so.
    fn gap(&self, application: &Arc<str>);

    /// Ends the sessions of version 1 of an application that are here: what is delivered next was accepted while other entries
    /// were, which they have and which are gone. They receive nothing of it, since it would break the order of its senders.
    fn diverged(&self, application: &Arc<str>) {
        self.gap(application);
    }

    /// Takes the next entry, which no session of version 1 here receives. Called in offset order among the deliveries.
    fn skip(&self, entry: Entry) {
        drop(entry);
    }

    /// Notes that what is delivered next stands behind this position, wherever the last delivery stood, or that nothing
    /// is until the log is followed again.
    fn reset(&self, application: &Arc<str>, from: Option<Position>) {
        let _ = (application, from);
    }

    /// Notes what the guilds of an application are, or that nobody knows now. Each says how far it has come in the log;
    /// the deliveries may be behind that, and lead up to it.
    fn guilds(&self, application: &Arc<str>, guilds: Option<Guilds>) {
        let _ = (application, guilds);
    }

    /// Notes that the log has lost entries which were delivered here: what has been counted by them cannot be counted
    /// again.
    fn rolled_back(&self, application: &Arc<str>) {
        let _ = application;
    }

    /// Hears an order for every session of an application.
    fn command_received(&self, application: &Arc<str>, order: &str) {
        let _ = (application, order);
    }

    /// Notes that a session has this owner now: whoever had it before is to let go of it.
    fn superseded(&self, owner: &Owner);
}

/// A client that has shown a valid key.
#[derive(Debug, Clone)]
pub struct Joining {
    /// The application that its key belongs to.
    pub application: Arc<str>,
    /// What it is.
    pub kind: ClientType,
}

/// A session that has joined.
#[derive(Debug, Clone)]
pub struct Joined {
    /// Its id.
    pub id: SessionId,
    /// The end of the log at that moment: it receives what stands after it.
    pub since: Position,
    /// The counts at that moment, its own report not among them.
    pub counts: GuildCount,
}

/// Why a session cannot join.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// Every id that was generated belongs to another live session.
    #[error("the generated id belongs to another live session")]
    IdTaken,
    /// No id can be generated now.
    #[error("no id can be generated: {0}")]
    NoId(#[from] shared::snowflake::SnowflakeError),
    /// What the nodes share is away, so that nobody can tell whether an id is free.
    #[error("the backplane is away")]
    Unavailable,
}

/// What the nodes share cannot be reached now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the backplane is away")]
pub struct Unavailable;

/// Events on their way into the log, all or none of which are appended.
#[derive(Debug, Clone)]
pub struct Publishing {
    /// The application whose log they are for.
    pub application: Arc<str>,
    /// The events, in their order.
    pub events: Vec<Publication>,
    /// What happens while the log is away.
    pub when_unavailable: WhenUnavailable,
}

/// What happens to events while the log is away.
#[derive(Debug, Clone)]
pub enum WhenUnavailable {
    /// They are held for a while: their sender cannot send them again.
    Hold,
    /// They are refused: their sender can send them again.
    Fail {
        /// What tells a repetition from another request, if the sender gave such a thing.
        idempotency: Option<Idempotency>,
    },
}

/// What tells that a request is one that came before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// What the sender calls the request.
    pub key: Arc<str>,
    /// A digest of what it asks for, so that one name is not used for two things.
    pub digest: u64,
}

/// An event on its way into the log.
#[derive(Debug, Clone)]
pub struct Publication {
    /// The event's name.
    pub name: Arc<str>,
    /// The client types that may receive it.
    pub receivers: ClientTypes,
    /// Which sessions of those types do.
    pub delivery: Delivery,
    /// The session that sent it, if one did.
    pub author: Option<SessionId>,
    /// Who of Discord's protocol receives it; none where nobody does.
    pub discord: Option<Arc<Header>>,
    /// Its data: one JSON object.
    pub d: Arc<str>,
}

/// Where an entry stands in the log of its application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Position {
    /// Its offset, gapless from 1.
    pub offset: u64,
    /// The life of the log that the offset belongs to.
    pub epoch: Epoch,
}

impl Position {
    /// Whether what stands here came after `other`. A later life of the log may count from lower offsets on; everything
    /// in it comes after what was there in an earlier one.
    pub fn is_after(self, other: Self) -> bool {
        self.offset > other.offset || self.epoch != other.epoch
    }
}

/// One life of a log: as long as its server neither restarts nor hands over. Written as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(u64);

impl Epoch {
    /// The life that is called this, a random number.
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Epoch {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

impl Serialize for Epoch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why nothing was appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The event is for one session or for a guild's, and none is there.
    #[error("event {index} has no receiver")]
    NoReceiver {
        /// Which of the publications.
        index: usize,
    },
    /// As many events wait as may: for the slowest worker, or for the log.
    #[error("the node is overloaded")]
    Overloaded,
    /// The log is away. Nothing was appended.
    #[error("the log is away")]
    Unavailable,
    /// The log takes nothing now, such as for want of memory. Nothing was appended.
    #[error("the log takes nothing now: {cause}")]
    Refused {
        /// The reason, in one line.
        cause: Arc<str>,
    },
    /// The log went away before it answered. Whether the events were appended is not known; the same idempotency key
    /// finds out.
    #[error("the log went away before it answered")]
    Unknown,
    /// The log stayed away longer than events are held.
    #[error("the log stayed away for too long")]
    Expired,
    /// The idempotency key was used for something else before.
    #[error("the idempotency key was used for other events")]
    KeyReused,
    /// The application has as many idempotency keys as are remembered. Nothing was appended.
    #[error("the application has as many idempotency keys as are remembered")]
    TooManyKeys {
        /// The time until the oldest of them expires.
        retry_after: Duration,
    },
}

impl PublishError {
    /// The word in the metrics.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::NoReceiver { .. } => "no_receiver",
            Self::Overloaded => "overloaded",
            Self::Unavailable => "away",
            Self::Refused { .. } => "refused",
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::KeyReused => "key_reused",
            Self::TooManyKeys { .. } => "too_many_idempotency_keys",
        }
    }
}

/// How a backplane is doing, as `/health` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BackplaneStatus {
    /// Which implementation it is.
    pub kind: &'static str,
    /// Whether it takes events and sessions now.
    pub available: bool,
    /// Whether the node should get clients: it is available, or has not been away for long.
    pub ready: bool,
    /// Why it is not available, or the node not ready, in one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The log of each application.
    pub logs: Vec<LogStatus>,
}

/// How this node stands with one log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogStatus {
    /// Whose log it is.
    pub application: Arc<str>,
    /// Its life; none before the log was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// The offset of its last entry, as far as this node knows.
    pub top: u64,
    /// How many entries this node has still to deliver; none where it has no receiver.
    pub lag: u64,
}

/// A node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Peer {
    /// Its name.
    pub node: String,
    /// Its version.
    pub version: String,
    /// The number that its ids carry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<u16>,
    /// Its identified sessions when it last renewed its lease.
    pub sessions: u64,
    /// Milliseconds that its lease still lasts; 0 when it has run out.
    pub lease_ms: u64,
}
