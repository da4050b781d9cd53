//! A connection's hold on its session.

use std::{fmt, sync::Arc};

use super::{Appearing, Checkpoint, Presence, Private, Store};
use crate::backplane::{Away, Epoch, Owner, Pending};

/// What the connection that has a session may say about it. Dropped, it leaves the session to whoever resumes it.
pub struct Attachment {
    store: Arc<dyn Store>,
    owner: Owner,
    is_slow: bool,
    _presence: Presence,
}

/// What is to be kept for one session alone, and where.
#[derive(Clone)]
pub struct Keeping {
    store: Arc<dyn Store>,
    owner: Owner,
    privates: Vec<Private>,
    epoch: Option<Epoch>,
}

impl Attachment {
    pub(crate) const fn new(store: Arc<dyn Store>, owner: Owner, presence: Presence) -> Self {
        Self {
            store,
            owner,
            is_slow: false,
            _presence: presence,
        }
    }

    /// Who has the session.
    pub const fn owner(&self) -> &Owner {
        &self.owner
    }

    /// What is about to be sent to this session alone, to be kept before it is.
    pub fn keeping(&self, privates: Vec<Private>) -> Keeping {
        Keeping {
            store: Arc::clone(&self.store),
            owner: self.owner.clone(),
            privates,
            epoch: None,
        }
    }

    /// What the session may say about how it is seen.
    pub fn appearing(&self) -> Appearing {
        Appearing {
            store: Arc::clone(&self.store),
            owner: self.owner.clone(),
        }
    }

    /// Everything stands in this life of the log that the client has seen. To be kept before anything is sent that does not
    /// stand in the one before.
    pub fn carrying(&self, epoch: Epoch) -> Keeping {
        Keeping {
            epoch: Some(epoch),
            ..self.keeping(Vec::new())
        }
    }

    /// Notes whether the session gets what its node delivers, and has nothing else from the log.
    pub fn is_live(&self, is_live: bool) {
        self.store.is_live(&self.owner, is_live);
    }

    /// Notes what the client has, if that is known, and that it is there.
    pub fn checkpoint(&self, checkpoint: Option<Checkpoint>) {
        self.store.checkpoint(&self.owner, checkpoint);
    }

    /// Notes that the connection ends because its client reads slowly.
    pub const fn is_cut(&mut self) {
        self.is_slow = true;
    }

    /// Ends the session: nobody can resume it.
    pub fn end(&self) {
        self.store.end(&self.owner);
    }
}

impl Keeping {
    /// Has it kept. False where the session has another owner by now. Without an answer it may be tried again, and nothing
    /// else may be said under these numbers.
    ///
    /// # Errors
    /// When it is not known whether it is kept.
    pub fn attempt(&self) -> Pending<bool, Away> {
        self.store.keep(&self.owner, self.privates.clone(), self.epoch)
    }

    /// What is to be kept.
    pub fn privates(&self) -> &[Private] {
        &self.privates
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.store.detach(&self.owner, self.is_slow);
    }
}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Attachment").field(&self.owner).finish()
    }
}

impl fmt::Debug for Keeping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Keeping")
            .field(&self.owner)
            .field(&self.privates)
            .finish()
    }
}
