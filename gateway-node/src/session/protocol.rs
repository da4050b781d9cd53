//! The seam between what a protocol decides and what a session does.

use std::sync::Arc;

use bytes::Bytes;
use shared::{
    client_type::ClientType,
    close::Close,
    session_id::SessionId,
    v1::{Encoding, PresentedSecret, Report, payload::GuildCount},
};
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::{
    cluster::{JoinError, Publication, PublishError},
    registry::Farewell,
    transport::{Message, Violation},
};

/// What is to be done, in order.
pub type Steps = SmallVec<[Step; 2]>;

/// One thing that a protocol wants done.
#[derive(Debug)]
pub enum Step {
    /// Send this frame.
    Send(Bytes),
    /// Find out whether the key is good for this type, and join. Answered by [`Protocol::joined`].
    Join {
        /// The client's type, as sent.
        kind: String,
        /// The client's key, as sent.
        key: PresentedSecret,
    },
    /// Replace what this bot manages.
    Report(Report),
    /// Publish an event. Answered by [`Protocol::published`].
    Publish(Publication),
    /// Send the last words, if any, and close. Nothing follows.
    Close {
        /// One frame that says why.
        last_words: Option<Bytes>,
        /// The close code and reason.
        close: Close,
        /// What the log calls it, where the client is to blame.
        problem: Option<&'static str>,
    },
    /// Count a packet that was dropped silently.
    Drop(&'static str),
    /// Count a payload that was understood.
    Count,
}

/// Why a session ends, when its protocol did not decide so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The peer broke a rule of the transport.
    Violation(Violation),
    /// The peer reads too slowly.
    TooSlow,
    /// The node ends it.
    Farewell(Farewell),
}

/// A session that has joined.
#[derive(Debug, Clone)]
pub struct Welcome {
    /// Its id.
    pub id: SessionId,
    /// What it is.
    pub kind: ClientType,
    /// The counts of its application.
    pub counts: GuildCount,
}

/// Why a session may not join.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unwelcome {
    /// The key is not good, or not for this type.
    #[error("the key is not good for this type")]
    Key,
    /// The cluster cannot take it.
    #[error(transparent)]
    Cluster(#[from] JoinError),
}

/// A state machine that turns what happens into [`Step`]s.
///
/// After [`Step::Close`] it is told nothing more.
pub trait Protocol: Unpin + 'static {
    /// The socket is open.
    fn open(&mut self, now: Instant) -> Steps;

    /// A message has arrived.
    fn receive(&mut self, message: Message, now: Instant) -> Steps;

    /// The [`deadline`](Self::deadline) may have come. Called late after a stall, but never twice for one.
    fn tick(&mut self, now: Instant) -> Steps;

    /// When it has to be told the time next.
    fn deadline(&self) -> Option<Instant>;

    /// The answer to [`Step::Join`].
    fn joined(&mut self, answer: Result<Welcome, Unwelcome>, now: Instant) -> Steps;

    /// The answer to [`Step::Publish`] of the event `name`.
    fn published(&mut self, name: Arc<str>, answer: Result<(), PublishError>) -> Steps;

    /// The session has to end: what is there to say?
    fn end(&mut self, ending: Ending) -> Steps;

    /// How its events are encoded.
    fn encoding(&self) -> Encoding;
}
