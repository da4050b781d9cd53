//! Opens and resumes the Discord sessions of a node, and reads what they need.

use std::{collections::BTreeMap, sync::Arc};

use shared::discord::Shard;

use super::{
    ownership::SessionOwnership,
    record::{Checkpoint, PrivateBody, Record, ResumeError, ResumeParams},
    starts::{StartBudget, StartLimits},
    store::{LogPage, OpenedRow, ReadError, ResumedRow, SessionContinuation, Store},
};
use crate::{
    backplane::{JoinError, Owner, Pending, Position, Unavailable},
    guilds::Guilds,
};

/// A newly opened session. It has had no dispatch yet.
#[derive(Debug)]
pub struct OpenedSession {
    /// The ownership of the session.
    pub ownership: SessionOwnership,
    /// What it identified with.
    pub record: Arc<Record>,
    /// The end of the log when it was opened. The session receives the entries after it.
    pub since: Position,
}

/// A session that this connection has resumed and now owns.
#[derive(Debug)]
pub struct ResumedSession {
    /// The ownership of the session.
    pub ownership: SessionOwnership,
    /// What it identified with.
    pub record: Arc<Record>,
    /// The point from which to count its dispatches.
    pub checkpoint: Checkpoint,
    /// The private events after that point, by sequence number.
    pub privates: BTreeMap<u64, PrivateBody>,
    /// The end of the log at the takeover. RESUMED is sent only after the replay has reached it. `None` if this node
    /// cannot be behind it.
    pub end: Option<Position>,
}

/// Opens and resumes Discord sessions. Clones share the same store.
#[derive(Clone)]
pub struct DiscordSessions {
    store: Arc<dyn Store>,
}

impl DiscordSessions {
    /// The sessions in this store.
    pub fn new(store: impl Store) -> Self {
        Self { store: Arc::new(store) }
    }

    /// Counts the start of a session. Returns `false` if its application may not start one now.
    ///
    /// # Errors
    /// When the backplane is unavailable.
    pub fn start(&self, application: &Arc<str>, shard: Shard, limits: StartLimits) -> Pending<bool, Unavailable> {
        self.store.start(application, shard, limits)
    }

    /// Returns how many more sessions an application may start today.
    ///
    /// # Errors
    /// When the backplane is unavailable.
    pub fn start_budget(&self, application: &Arc<str>, limits: StartLimits) -> Pending<StartBudget, Unavailable> {
        self.store.start_budget(application, limits)
    }

    /// Opens a session that was started.
    ///
    /// # Errors
    /// When no id can be claimed for it.
    pub async fn open(&self, record: Record) -> Result<OpenedSession, JoinError> {
        let store = Arc::clone(&self.store);
        let record = Arc::new(record);
        let begun = store.open(Arc::clone(&record));
        // Runs in its own task, so that a caller that stops waiting leaves no session open without an owner.
        let opening = tokio::spawn(async move {
            let OpenedRow {
                id,
                fencing_token,
                since,
                presence,
            } = begun.await?;
            let owner = Owner {
                application: Arc::clone(&record.application),
                id,
                fencing_token,
            };
            Ok(OpenedSession {
                ownership: SessionOwnership::new(store, owner, presence),
                record,
                since,
            })
        });
        opening.await.unwrap_or(Err(JoinError::Unavailable))
    }

    /// Takes over a session from its current owner.
    ///
    /// # Errors
    /// When it cannot be resumed from the dispatch that the client has.
    pub async fn resume(&self, params: ResumeParams) -> Result<ResumedSession, ResumeError> {
        let store = Arc::clone(&self.store);
        let (application, id) = (Arc::clone(&params.application), params.id);
        let taken = store.resume(params);
        let params = tokio::spawn(async move {
            let ResumedRow { continued, presence } = taken.await?;
            let SessionContinuation {
                record,
                fencing_token,
                checkpoint,
                privates,
                end,
            } = continued;
            let owner = Owner {
                application,
                id,
                fencing_token,
            };
            Ok(ResumedSession {
                ownership: SessionOwnership::new(store, owner, presence),
                record,
                checkpoint,
                privates,
                end,
            })
        });
        params.await.unwrap_or(Err(ResumeError::Unavailable))
    }

    /// Reads up to one page of an application's log after this position.
    ///
    /// # Errors
    /// When the log does not continue from there, or is unavailable.
    pub fn read(&self, application: &Arc<str>, after: Position) -> Pending<LogPage, ReadError> {
        self.store.read(application, after)
    }

    /// Reads a guild of an application, if it exists. Returns `None` if the store keeps no guilds: the ones delivered
    /// to this node are then complete.
    ///
    /// # Errors
    /// When the backplane is unavailable.
    pub fn guild(&self, application: &Arc<str>, id: u64) -> Pending<Option<Guilds>, Unavailable> {
        self.store.guild(application, id)
    }

    /// Returns up to `most` ids of an application's guilds after this one, in order. Returns `None` if the store keeps
    /// no guilds: the ones delivered to this node are then complete.
    ///
    /// # Errors
    /// When the backplane is unavailable.
    pub fn guild_ids(
        &self,
        application: &Arc<str>,
        after: Option<u64>,
        most: usize,
    ) -> Pending<Option<Vec<u64>>, Unavailable> {
        self.store.guild_ids(application, after, most)
    }
}
