//! What a node asks of the thing that connects it with the others.

use std::{future::Future, pin::Pin, sync::Arc};

use serde::Serialize;
use shared::{
    client_type::{ClientType, ClientTypes},
    routing::Delivery,
    session_id::SessionId,
    v1::{Report, payload::GuildCount},
};

use super::Entry;

/// An answer that may take a round trip.
///
/// The call that returns it has already taken its place in the order; dropping it gives up the answer, not the deed.
pub type Pending<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// The log, the membership and the counts of every application.
pub trait Backplane: Send + Sync + 'static {
    /// Claims an id that no other live session of the cluster has, and makes its session a receiver. The membership is
    /// the caller's to end, whether or not it still waits for the answer.
    fn join(&self, joining: Joining) -> Pending<Joined, JoinError>;

    /// Ends the membership of a session: its report leaves the counts and it is no receiver any more.
    fn leave(&self, application: &str, id: SessionId);

    /// Replaces what a bot manages.
    fn report(&self, application: &str, id: SessionId, report: Report);

    /// Appends events, all or none, and says where they stand. Calls of one caller are appended in the order of the
    /// calls. An error names the publication at fault, counted from 0.
    fn publish(&self, application: Arc<str>, events: Vec<Publication>) -> Pending<Vec<Position>, PublishError>;

    /// Takes back an event that was for one session of several, because that session ended before it got it, and
    /// appends it once more for another. Without another it is lost and counted.
    fn redirect(&self, entry: &Entry);

    /// How it is doing.
    fn status(&self) -> Status;
}

/// Where a backplane puts what the log has accepted.
pub trait Deliver: Send + Sync + 'static {
    /// Whether `bytes` more may wait for the slowest worker. What has no room is refused, not dropped.
    fn has_room(&self, bytes: usize) -> bool;

    /// Takes the next entry. Called in offset order, once an entry.
    fn deliver(&self, entry: Entry);

    /// Notes an entry that nobody received or will: one for all of a type of which there is none, or one for a session
    /// that ended and left no other.
    fn lost(&self, entry: &Entry);
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
    pub since: u64,
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
    /// Its data: one JSON object.
    pub d: Arc<str>,
}

/// Where an entry stands in the log of its application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Position {
    /// Its offset, gapless from 1.
    pub offset: u64,
    /// The life of the log that the offset belongs to.
    pub epoch: Arc<str>,
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
    /// The slowest worker is so far behind that nothing more may wait for it.
    #[error("the node is overloaded")]
    Overloaded,
}

impl PublishError {
    /// The word in the metrics.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::NoReceiver { .. } => "no_receiver",
            Self::Overloaded => "overloaded",
        }
    }
}

/// How a backplane is doing, as `/health` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Which implementation it is.
    pub kind: &'static str,
    /// Whether it takes events and sessions now.
    pub available: bool,
    /// The life of its logs.
    pub epoch: Arc<str>,
}
