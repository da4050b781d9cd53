//! The store of Discord sessions, and of the guilds that they receive.

use std::{any::Any, collections::BTreeMap, sync::Arc};

use shared::{discord::Shard, session_id::SessionId};

use super::{
    Checkpoint, PresenceChange, PrivateBody, PrivateRecord, Record, ResumeError, ResumeParams, StartBudget, StartLimits,
};
use crate::{
    backplane::{Entry, Epoch, JoinError, Owner, Pending, Position, Unavailable},
    guilds::Guilds,
};

/// The maximum size of the private events stored for one session, in bytes.
pub(crate) const PRIVATE_BYTES: usize = 1 << 20;
/// How often a session may be closed for slow reading within one resume window before it can no longer be resumed. A
/// client that cannot keep up would otherwise be replayed to forever.
pub(crate) const SLOW_CUTS: usize = 3;

/// The sessions of every application, connected or resumable, and its guilds. Writes under an owner that is no longer
/// the latest change nothing.
pub trait Store: Send + Sync + 'static {
    /// Counts the start of a session. Returns `false` if its application may not start one now.
    fn start(&self, application: &Arc<str>, shard: Shard, limits: StartLimits) -> Pending<bool, Unavailable>;

    /// Returns how many more sessions an application may start today.
    fn start_budget(&self, application: &Arc<str>, limits: StartLimits) -> Pending<StartBudget, Unavailable>;

    /// Stores a new session.
    fn open(&self, record: Arc<Record>) -> Pending<OpenedRow, JoinError>;

    /// Gives a session a new owner and notifies the earlier ones.
    fn resume(&self, params: ResumeParams) -> Pending<ResumedRow, ResumeError>;

    /// Persists private events before they are sent. With `epoch`, also records that everything the client has seen
    /// belongs to that epoch. Returns `false` if the session has a newer owner. A call without an answer may be
    /// repeated.
    fn keep(&self, owner: &Owner, privates: Vec<PrivateRecord>, epoch: Option<Epoch>) -> Pending<bool, Unavailable>;

    /// Sets whether a session is live: it receives what its node delivers, and nothing else from the log.
    fn set_live(&self, owner: &Owner, is_live: bool);

    /// Records how far a client is, if that is known, and that it is still connected.
    fn checkpoint(&self, owner: &Owner, checkpoint: Option<Checkpoint>);

    /// Records that a session has lost its connection. `is_slow` means that it was closed for reading too slowly.
    fn detach(&self, owner: &Owner, is_slow: bool);

    /// Ends a session: it cannot be resumed, and its presence and voice states are undone.
    fn end(&self, owner: &Owner);

    /// Queues a presence or voice-state change of a session. Returns `false` if too many changes are waiting already.
    /// When the session ends, its presence and voice states are undone.
    fn change_presence(&self, owner: &Owner, change: PresenceChange) -> bool;

    /// Reads up to one page of an application's log after this position.
    fn read(&self, application: &Arc<str>, after: Position) -> Pending<LogPage, ReadError>;

    /// Reads a guild of an application, if it exists. Returns `None` if the store keeps no guilds: the ones delivered
    /// to this node are then complete.
    fn guild(&self, application: &Arc<str>, id: u64) -> Pending<Option<Guilds>, Unavailable>;

    /// Returns up to `most` ids of an application's guilds after this one, in order. Returns `None` as
    /// [`guild`](Self::guild) does.
    fn guild_ids(
        &self,
        application: &Arc<str>,
        after: Option<u64>,
        most: usize,
    ) -> Pending<Option<Vec<u64>>, Unavailable>;
}

/// Keeps the node following the log while a session is connected to it, until it is dropped.
pub type FollowGuard = Box<dyn Any + Send>;

/// A session that has been stored.
pub struct OpenedRow {
    pub(crate) id: SessionId,
    pub(crate) fencing_token: u64,
    /// The end of the log when it was opened.
    pub(crate) since: Position,
    pub(crate) presence: FollowGuard,
}

/// A session that a new owner has taken over.
pub struct ResumedRow {
    pub(crate) continued: SessionContinuation,
    pub(crate) presence: FollowGuard,
}

/// The stored state that a resumed session continues from.
#[derive(Debug, Clone)]
pub(crate) struct SessionContinuation {
    pub(crate) record: Arc<Record>,
    pub(crate) fencing_token: u64,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) privates: BTreeMap<u64, PrivateBody>,
    /// The end of the log at the takeover, or `None` if this node has delivered every entry.
    pub(crate) end: Option<Position>,
}

/// Some entries of a log, in order.
#[derive(Debug)]
pub struct LogPage {
    /// The entries, regardless of their receivers.
    pub entries: Vec<Entry>,
    /// The last position that was read, in the current epoch of the log.
    pub through: Position,
    /// If the read started in an earlier epoch: the last offset of that epoch that the current one still has.
    pub cut: Option<u64>,
    /// The offset of the last entry of the log when the page was read.
    pub top: u64,
}

impl LogPage {
    /// Whether the log had nothing after this page.
    pub const fn is_end(&self) -> bool {
        self.through.offset >= self.top
    }

    /// Whether a position, in the epoch that the read started in, lies within the part that was read. If so, the
    /// entries up to it are complete.
    pub(crate) fn leads_to(&self, position: Position) -> bool {
        position.offset <= self.cut.unwrap_or(self.through.offset) && position.offset <= self.through.offset
    }

    /// The part of the page after this offset.
    pub(crate) fn behind(&self, offset: u64) -> Self {
        let entries = self.entries.iter().filter(|entry| entry.position.offset > offset);
        Self {
            entries: entries.cloned().collect(),
            ..*self
        }
    }

    /// Shortens the page to at most `most` bytes of data. An entry that is larger is returned on its own.
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

/// Why a log cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The log does not continue from there.
    #[error("the log does not continue from there")]
    Severed,
    /// The log is unavailable.
    #[error("the log is unavailable")]
    Unavailable,
}
