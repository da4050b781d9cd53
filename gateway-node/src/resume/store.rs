//! Where Discord sessions are kept, and the guilds that they are told of.

use std::{any::Any, collections::BTreeMap, sync::Arc};

use shared::{discord::Shard, session_id::SessionId};

use super::{
    Checkpoint, PresenceChange, PrivateBody, PrivateRecord, Record, ResumeError, ResumeParams, StartBudget, StartLimits,
};
use crate::{
    backplane::{Entry, Epoch, JoinError, Owner, Pending, Position, Unavailable},
    guilds::Guilds,
};

/// The most bytes of dispatches for one session alone that are kept for it.
pub(crate) const PRIVATE_BYTES: usize = 1 << 20;
/// How often a session may be cut for reading slowly within one window, before it cannot be resumed any more: one that
/// cannot keep up would be replayed to for ever.
pub(crate) const SLOW_CUTS: usize = 3;

/// The sessions and the guilds of every application, connected or resumable. What is said under an owner that is no longer the latest
/// one changes nothing.
pub trait Store: Send + Sync + 'static {
    /// Counts the start of a session. False where its application may not start one now.
    fn start(&self, application: &Arc<str>, shard: Shard, limits: StartLimits) -> Pending<bool, Unavailable>;

    /// What is left of the sessions that an application may start today.
    fn start_budget(&self, application: &Arc<str>, limits: StartLimits) -> Pending<StartBudget, Unavailable>;

    /// Writes down a new session.
    fn open(&self, record: Arc<Record>) -> Pending<OpenedRow, JoinError>;

    /// Gives a session to another owner. Earlier ones hear of it.
    fn resume(&self, params: ResumeParams) -> Pending<ResumedRow, ResumeError>;

    /// Keeps what is about to be sent to one session alone, and that everything stands in the life `epoch` of the log that
    /// its client has seen. False where it has another owner by now. What was asked before and had no answer may be asked
    /// again.
    fn keep(&self, owner: &Owner, privates: Vec<PrivateRecord>, epoch: Option<Epoch>) -> Pending<bool, Unavailable>;

    /// Notes whether a session gets what its node delivers, and has nothing else from the log.
    fn set_live(&self, owner: &Owner, set_live: bool);

    /// Notes what a client has, if that is known, and that it is there.
    fn checkpoint(&self, owner: &Owner, checkpoint: Option<Checkpoint>);

    /// Notes that a session has lost its connection; `is_slow` says that it was cut for reading slowly.
    fn detach(&self, owner: &Owner, is_slow: bool);

    /// Ends a session: nobody can resume it, and it is seen no more.
    fn end(&self, owner: &Owner);

    /// Has a session seen as it wishes, as soon as may be. False where too much of that waits already. When it is over,
    /// others are told so.
    fn change_presence(&self, owner: &Owner, change: PresenceChange) -> bool;

    /// What the log of an application has behind this position, up to a page.
    fn read(&self, application: &Arc<str>, after: Position) -> Pending<LogPage, ReadError>;

    /// A guild of an application, if there is one. `None` where what was delivered here is all that is known of guilds.
    fn guild(&self, application: &Arc<str>, id: u64) -> Pending<Option<Guilds>, Unavailable>;

    /// The ids of an application's guilds in their order behind this one, at most `most`. `None` as above.
    fn guild_ids(
        &self,
        application: &Arc<str>,
        after: Option<u64>,
        most: usize,
    ) -> Pending<Option<Vec<u64>>, Unavailable>;
}

/// Keeps a node listening for a session that is connected to it, until it is dropped.
pub type FollowGuard = Box<dyn Any + Send>;

/// A session that was written down.
pub struct OpenedRow {
    pub(crate) id: SessionId,
    pub(crate) fencing_token: u64,
    /// The end of the log at that moment.
    pub(crate) since: Position,
    pub(crate) presence: FollowGuard,
}

/// A session that has another owner now.
pub struct ResumedRow {
    pub(crate) continued: SessionContinuation,
    pub(crate) presence: FollowGuard,
}

/// What a resumed session goes on with.
#[derive(Debug, Clone)]
pub(crate) struct SessionContinuation {
    pub(crate) record: Arc<Record>,
    pub(crate) fencing_token: u64,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) privates: BTreeMap<u64, PrivateBody>,
    /// The end of the log at that moment, or `None` if this node has delivered every entry.
    pub(crate) end: Option<Position>,
}

/// Some entries of a log, in order.
#[derive(Debug)]
pub struct LogPage {
    /// The entries, whoever receives them.
    pub entries: Vec<Entry>,
    /// The last position that was read, in the present life of the log.
    pub through: Position,
    /// The last offset that the life of the log in which the reading began has in common with the present one, if those
    /// are not the same.
    pub cut: Option<u64>,
}

impl LogPage {
    /// Whether a position in the life of the log in which the reading began is one of those that were read, so that what
    /// is behind it is all that there is.
    pub(crate) fn leads_to(&self, position: Position) -> bool {
        position.offset <= self.cut.unwrap_or(self.through.offset) && position.offset <= self.through.offset
    }

    /// What stands behind this offset.
    pub(crate) fn behind(&self, offset: u64) -> Self {
        let entries = self.entries.iter().filter(|entry| entry.position.offset > offset);
        Self {
            entries: entries.cloned().collect(),
            ..*self
        }
    }

    /// As much from its beginning as has no more than so many bytes of data; an entry that is larger comes by itself.
    #[must_use]
    pub fn of_bytes(mut self, most: usize) -> Self {
        let mut bytes = 0;
        let fits = self.entries.iter().take_while(|entry| {
            let before = bytes;
            bytes += entry.d.len();
            before == 0 || bytes <= most
        });
        let count = fits.count();
        if count < self.entries.len() {
            self.entries.truncate(count);
            if let Some(last) = self.entries.last() {
                self.through = last.position;
            }
        }
        self
    }
}

/// Why a log is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It does not lead on from there.
    #[error("the log does not lead on from there")]
    Severed,
    /// It cannot be reached now.
    #[error("the log is away")]
    Unavailable,
}
