//! The Discord sessions of a node: opening, resuming, and everything that is noted about them meanwhile.

use std::sync::Arc;

use shared::discord::Shard;

use super::{
    LogPage, OpenedRow, OpenedSession, ReadError, Record, ResumeError, ResumeParams, ResumedRow, ResumedSession,
    SessionOwnership, StartBudget, StartLimits, Store, store::SessionContinuation,
};
use crate::{
    backplane::{JoinError, Owner, Pending, Position, Unavailable},
    guilds::Guilds,
};

/// The sessions that can be opened and resumed here. Clones are the same.
#[derive(Clone)]
pub struct DiscordSessions {
    store: Arc<dyn Store>,
}

impl DiscordSessions {
    /// Those that are kept there.
    pub fn new(store: impl Store) -> Self {
        Self { store: Arc::new(store) }
    }

    /// Counts the start of a session. False where its application may not start one now.
    ///
    /// # Errors
    /// When nobody can tell.
    pub fn start(&self, application: &Arc<str>, shard: Shard, limits: StartLimits) -> Pending<bool, Unavailable> {
        self.store.start(application, shard, limits)
    }

    /// What is left of the sessions that an application may start today.
    ///
    /// # Errors
    /// When nobody can tell.
    pub fn start_budget(&self, application: &Arc<str>, limits: StartLimits) -> Pending<StartBudget, Unavailable> {
        self.store.start_budget(application, limits)
    }

    /// Opens a session that was started.
    ///
    /// # Errors
    /// When there is no id for it.
    pub async fn open(&self, record: Record) -> Result<OpenedSession, JoinError> {
        let store = Arc::clone(&self.store);
        let record = Arc::new(record);
        let begun = store.open(Arc::clone(&record));
        // A task of its own, so that nothing stays behind when nobody waits for the answer any more.
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

    /// Takes a session over from whoever has it.
    ///
    /// # Errors
    /// When it cannot go on from where the client says that it is.
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

    /// What the log of an application has behind this position, up to a page.
    ///
    /// # Errors
    /// When it does not lead on from there, or cannot be reached.
    pub fn read(&self, application: &Arc<str>, after: Position) -> Pending<LogPage, ReadError> {
        self.store.read(application, after)
    }

    /// A guild of an application, if there is one. `None` where what was delivered here is all that is known of guilds.
    ///
    /// # Errors
    /// When nobody can tell.
    pub fn guild(&self, application: &Arc<str>, id: u64) -> Pending<Option<Guilds>, Unavailable> {
        self.store.guild(application, id)
    }

    /// The ids of an application's guilds in their order behind this one, at most `most`. `None` where what was delivered
    /// here is all that is known of guilds.
    ///
    /// # Errors
    /// When nobody can tell.
    pub fn guild_ids(
        &self,
        application: &Arc<str>,
        after: Option<u64>,
        most: usize,
    ) -> Pending<Option<Vec<u64>>, Unavailable> {
        self.store.guild_ids(application, after, most)
    }
}
