//! The contract between a node and the backplane that connects it to the other nodes.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use serde::Serialize;
use shared::{
    client_type::ClientType,
    job::JobId,
    session_id::SessionId,
    user::UserId,
    v1::{Receipt, Report, payload::GuildCount},
};

use tokio::time::Instant;

use super::{
    entry::Entry,
    idempotency::Idempotency,
    job::Worker,
    owner::Owner,
    position::{Epoch, Position},
    publication::Publication,
    request::{Reply, ReplyAddress},
};
use crate::guilds::Guilds;

/// The result of a call that may take a round trip.
///
/// The call is queued before it returns, so calls keep their order. Dropping the future discards the result; it does
/// not cancel the operation.
pub type Pending<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// The log, the membership and the guild counts of every application.
pub trait Backplane: Send + Sync + 'static {
    /// Claims an id that no other live session of the cluster has, and registers the session as a receiver. The caller
    /// must end the membership with [`leave`](Self::leave), even if it stopped waiting for the result.
    fn join(&self, joining: Joining) -> Pending<Joined, JoinError>;

    /// Marks a joined session as ready. Events for one session out of several go only to ready sessions.
    fn ready(&self, application: &str, id: SessionId);

    /// Ends the membership of a session: removes its report from the counts and stops delivering to it.
    fn leave(&self, application: &str, id: SessionId);

    /// Replaces the report of a bot, or the guilds that a session of another type watches. `key` is the id of its API
    /// key. If the sessions of one key change their guilds too fast, the changes are delayed, and only the latest one of
    /// each session is applied.
    ///
    /// Returns the end of the log when this report, or a later one of the session, had been applied, however long that
    /// takes. Fails if the session ends before.
    fn report(
        &self,
        application: &str,
        id: SessionId,
        key: &Arc<str>,
        report: Report,
    ) -> Pending<Position, Unavailable>;

    /// Appends all of the events or none, and returns their positions; that of a job means nothing. Calls by one caller are appended in call order.
    /// The index in an error counts the publications from 0.
    fn publish(&self, publishing: Publishing) -> Pending<Vec<Position>, PublishError>;

    /// Returns which part of an application's log can be read.
    fn log_range(&self, application: &str) -> Pending<LogRange, Unavailable>;

    /// Acknowledges an entry addressed to specific sessions: at least one of them received it.
    fn ack(&self, entry: &Entry);

    /// Gives back an entry addressed to specific sessions, because all of those on this node ended before they received
    /// it. It is appended again for other sessions. If there are none, it waits for the next one, for as long as the
    /// log retains it.
    fn redeliver(&self, entry: &Entry);

    /// Returns where this node gets the replies to its requests.
    fn reply_address(&self) -> ReplyAddress;

    /// Sends the outcome of a request to the node that waits for it, which may be this one. It can be lost, and it is
    /// dropped if it cannot be sent before `until`: then the request times out.
    fn reply(&self, to: ReplyAddress, receipt: Receipt, reply: Reply, until: Instant);

    /// Sends a command to every node that has sessions of an application, this node included. A node that cannot be
    /// reached now never receives it.
    fn command_all(&self, application: &Arc<str>, order: &str) -> Pending<CommandReach, Unavailable>;

    /// Whether everything passed to the backplane has reached the other nodes.
    fn is_flushed(&self) -> bool;

    /// The current state of the backplane.
    fn status(&self) -> BackplaneStatus;

    /// Lists the nodes of the cluster.
    fn peers(&self) -> Pending<Vec<Peer>, Unavailable>;

    /// Returns the nodes of the cluster as they were at most about a second ago, without a round trip. `None` if they are
    /// not known, because the backplane is unavailable.
    fn known_peers(&self) -> Option<Arc<[Peer]>>;

    /// Takes this node out of the list of nodes, because it is about to stop.
    fn retire(&self) -> Pending<(), Unavailable>;
}

/// Receives from a backplane what the log has accepted.
pub trait Deliver: Send + Sync + 'static {
    /// Whether the queue of the slowest worker has room for `bytes` more. If not, the event is refused before it is
    /// appended, so nothing accepted is dropped.
    fn has_room(&self, bytes: usize) -> bool;

    /// Waits until the slowest worker has taken something from its queue, if [`has_room`](Self::has_room) is still
    /// false for `bytes`. For entries of other nodes, which are already in the log.
    fn wait_for_room(&self, bytes: usize) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// Delivers the next entry. Called in offset order, once per entry.
    fn deliver(&self, entry: Entry);

    /// Records events that were accepted from this node's clients: once for each event, however often it is published
    /// with the same idempotency key, and wherever it is delivered. `took` is the time since they were published.
    fn accepted(&self, application: &Arc<str>, events: usize, took: Duration) {
        let _ = (application, events, took);
    }

    /// Records that the backplane is connected.
    fn connected(&self) {}

    /// Records that the backplane became unavailable, or could not be reached.
    fn unavailable(&self) {}

    /// Records an undeliverable entry: a broadcast to a type with no sessions, or an entry whose sessions ended and
    /// which no other session could take while the log retained it.
    fn no_receiver(&self, application: &str, event: &str);

    /// Records accepted entries that the log has since lost.
    fn lost(&self, application: &str, entries: u64);

    /// Reports a gap, in its place among the deliveries. Either accepted entries of an application can no longer be
    /// delivered on this node, or entries that were delivered are no longer in the log, and the next entries were
    /// accepted without them. The connected sessions receive nothing more and must reconnect.
    fn gap(&self, application: &Arc<str>);

    /// Takes the next entry without delivering it to v1 sessions. Called in offset order among the deliveries.
    fn skip(&self, entry: Entry) {
        drop(entry);
    }

    /// Resets the delivery position: the next delivery follows `from`, wherever the last one was. `None` means that
    /// nothing is delivered until the log is followed again.
    fn reset(&self, application: &Arc<str>, from: Option<Position>) {
        let _ = (application, from);
    }

    /// Replaces the guild state of an application; `None` means that it is unknown now. Each guild carries the log
    /// position up to which it is complete. Deliveries may be behind that position and catch up with it.
    fn guilds(&self, application: &Arc<str>, guilds: Option<Guilds>) {
        let _ = (application, guilds);
    }

    /// Reports a rollback: the log has lost entries that were delivered here. Sequence numbers counted from them cannot
    /// be reproduced, so the Discord sessions on this node cannot resume.
    fn rolled_back(&self, application: &Arc<str>) {
        let _ = application;
    }

    /// Executes a command for every session of an application.
    fn command_received(&self, application: &Arc<str>, order: &str) {
        let _ = (application, order);
    }

    /// Records a job whose attempts are used up. Called on one node, once for each time.
    fn undeliverable(&self, application: &str, job: JobId, event: &str) {
        let _ = (application, job, event);
    }

    /// Reports the outcome of a request of this node. May be called several times for one request.
    fn replied(&self, receipt: Receipt, reply: Reply) {
        let _ = (receipt, reply);
    }

    /// Records a reply that could not be sent to the requester's node in time.
    fn reply_dropped(&self) {}

    /// Reports the latest owner of a session. Any earlier owner on this node must let go of the session.
    fn superseded(&self, owner: &Owner);
}

/// How far a command to all nodes came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandReach {
    /// How many nodes have confirmed that they have it.
    pub nodes: u64,
    /// Whether something else received it that has not confirmed it: a node that hangs, or another subscriber.
    pub may_miss_nodes: bool,
}

/// The parameters of a join, for a client that presented a valid key.
#[derive(Debug, Clone)]
pub struct Joining {
    /// The application of its key.
    pub application: Arc<str>,
    /// Its client type.
    pub kind: ClientType,
    /// Its ticket, if it has one. It then receives only some of the broadcasts.
    pub ticket: Option<JoiningTicket>,
    /// What makes it a worker, if it takes jobs.
    pub worker: Option<Worker>,
}

/// What a session's ticket says about the events that it receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoiningTicket {
    /// The user that it names. The session receives the events for this user.
    pub user: Option<UserId>,
}

/// Which part of a log can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRange {
    /// The position before the oldest entry. `None` if the replay buffers of the nodes are all that is kept.
    pub start: Option<Position>,
    /// The position of the last entry.
    pub end: Position,
}

/// A session that has joined.
#[derive(Debug, Clone)]
pub struct Joined {
    /// Its id.
    pub id: SessionId,
    /// The end of the log when it joined. The session receives the entries after it.
    pub since: Position,
    /// The counts when it joined, without its own report.
    pub counts: GuildCount,
}

/// Why a session cannot join.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// Every generated id belongs to another live session.
    #[error("the generated id belongs to another live session")]
    IdTaken,
    /// No id can be generated at the moment.
    #[error("no id can be generated: {0}")]
    NoId(#[from] shared::snowflake::SnowflakeError),
    /// The backplane is unavailable, so ids cannot be claimed.
    #[error("the backplane is unavailable")]
    Unavailable,
}

/// The backplane is unavailable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the backplane is unavailable")]
pub struct Unavailable;

/// Events to append, all of them or none.
#[derive(Debug, Clone)]
pub struct Publishing {
    /// The application whose log they are appended to.
    pub application: Arc<str>,
    /// The events, in order.
    pub events: Vec<Publication>,
    /// Identifies a repetition of the same events, if the sender gave an idempotency key.
    pub idempotency: Option<Idempotency>,
    /// Whether to hold or refuse them while the log is unavailable.
    pub when_unavailable: WhenUnavailable,
}

/// What to do with events while the log is unavailable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenUnavailable {
    /// Hold them for a while: the sender cannot send them again.
    Hold,
    /// Refuse them: the sender can retry.
    Fail,
}

/// Why nothing was appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The event needs a live receiver and has none.
    #[error("event {index} has no receiver")]
    NoReceiver {
        /// The index of the publication, from 0.
        index: usize,
    },
    /// The application has as many jobs as it may have. Nothing was appended.
    #[error("the application has reached its limit of jobs")]
    TooManyJobs {
        /// The index of the first job that does not fit, from 0.
        index: usize,
    },
    /// The limit on queued events is reached, for the slowest worker or for the log.
    #[error("the node is overloaded")]
    Overloaded,
    /// The log is unavailable. Nothing was appended.
    #[error("the log is unavailable")]
    Unavailable,
    /// The log refuses writes, for example because it is out of memory. Nothing was appended.
    #[error("the log refuses writes: {cause}")]
    Refused {
        /// The cause, in one line.
        cause: Arc<str>,
    },
    /// The log became unavailable before it answered. It is unknown whether the events were appended. A retry with the
    /// same idempotency key returns the outcome.
    #[error("the log became unavailable before it answered")]
    Unknown,
    /// The log was unavailable for longer than events are held.
    #[error("the log was unavailable for too long")]
    Expired,
    /// The idempotency key was already used for a different request.
    #[error("the idempotency key was used for other events")]
    KeyReused,
    /// The application has reached its limit of idempotency keys. Nothing was appended.
    #[error("the application has reached its limit of idempotency keys")]
    TooManyKeys {
        /// The time until its oldest key expires.
        retry_after: Duration,
    },
}

impl PublishError {
    /// All label values in the metrics.
    pub const WORDS: [&'static str; 9] = [
        "no_receiver",
        "overloaded",
        "away",
        "refused",
        "unknown",
        "expired",
        "key_reused",
        "too_many_idempotency_keys",
        "too_many_jobs",
    ];

    /// The label value in the metrics.
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
            Self::TooManyJobs { .. } => "too_many_jobs",
        }
    }
}

/// The state of a backplane, as `/health` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BackplaneStatus {
    /// The name of the implementation.
    pub kind: &'static str,
    /// Whether it accepts events and sessions now.
    pub available: bool,
    /// Whether the node should receive clients: the backplane is available, or has not been unavailable for long.
    pub ready: bool,
    /// Why the backplane is unavailable or the node is not ready, in one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The bytes of this node's events that wait for the log.
    #[serde(skip)]
    pub held_bytes: usize,
    /// The log of each application.
    pub logs: Vec<LogStatus>,
}

/// The state of one application's log, as this node knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogStatus {
    /// The application.
    pub application: Arc<str>,
    /// The current epoch; `None` until the log has been read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// The offset of its last entry, as far as this node knows.
    pub top: u64,
    /// The number of entries that this node has still to deliver; 0 if it has no receiver.
    pub lag: u64,
    /// For how long there have been such entries.
    #[serde(skip)]
    pub behind: Duration,
    /// The guild counts that were broadcast last.
    #[serde(skip)]
    pub counts: GuildCount,
}

/// Whether a node lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerState {
    /// Its lease has not ended.
    Live,
    /// Its lease has ended, although it did not say that it stops. It is listed for one lease more.
    Dead,
}

/// A node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Peer {
    /// Its name.
    pub node: String,
    /// Its version.
    pub version: String,
    /// Whether it lives.
    pub state: PeerState,
    /// The worker number in its ids.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<u16>,
    /// The number of its identified sessions, at most about a second ago. 0 if it is dead.
    pub sessions: u64,
    /// The milliseconds until its lease expires; 0 if it has expired.
    pub lease_ms: u64,
}
