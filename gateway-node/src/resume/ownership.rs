//! A connection's hold on its session.

use std::{fmt, sync::Arc};

use super::{Checkpoint, FollowGuard, PresencePublisher, PrivateRecord, Store};
use crate::backplane::{Epoch, Owner, Pending, Unavailable};

/// What the connection that has a session may say about it. Dropped, it leaves the session to whoever resumes it.
pub struct SessionOwnership {
    store: Arc<dyn Store>,
    owner: Owner,
    is_slow: bool,
    _presence: FollowGuard,
}

/// What is to be kept for one session alone, and where.
#[derive(Clone)]
pub struct PrivateWrite {
    store: Arc<dyn Store>,
    owner: Owner,
    privates: Vec<PrivateRecord>,
    epoch: Option<Epoch>,
}

impl SessionOwnership {
    pub(crate) const fn new(store: Arc<dyn Store>, owner: Owner, presence: FollowGuard) -> Self {
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
    pub fn private_write(&self, privates: Vec<PrivateRecord>) -> PrivateWrite {
        PrivateWrite {
            store: Arc::clone(&self.store),
            owner: self.owner.clone(),
            privates,
            epoch: None,
        }
    }

    /// What the session may say about how it is seen.
    pub fn presence_publisher(&self) -> PresencePublisher {
        PresencePublisher {
            store: Arc::clone(&self.store),
            owner: self.owner.clone(),
        }
    }

    /// Everything stands in this life of the log that the client has seen. To be kept before anything is sent that does not
    /// stand in the one before.
    pub fn carry_to(&self, epoch: Epoch) -> PrivateWrite {
        PrivateWrite {
            epoch: Some(epoch),
            ..self.private_write(Vec::new())
        }
    }

    /// Notes whether the session gets what its node delivers, and has nothing else from the log.
    pub fn set_live(&self, set_live: bool) {
        self.store.set_live(&self.owner, set_live);
    }

    /// Notes what the client has, if that is known, and that it is there.
    pub fn checkpoint(&self, checkpoint: Option<Checkpoint>) {
        self.store.checkpoint(&self.owner, checkpoint);
    }

    /// Notes that the connection ends because its client reads slowly.
    pub const fn set_slow(&mut self) {
        self.is_slow = true;
    }

    /// Ends the session: nobody can resume it.
    pub fn end(&self) {
        self.store.end(&self.owner);
    }
}

impl PrivateWrite {
    /// Has it kept. False where the session has another owner by now. Without an answer it may be tried again, and nothing
    /// else may be said under these numbers.
    ///
    /// # Errors
    /// When it is not known whether it is kept.
    pub fn attempt(&self) -> Pending<bool, Unavailable> {
        self.store.keep(&self.owner, self.privates.clone(), self.epoch)
    }

    /// What is to be kept.
    pub fn privates(&self) -> &[PrivateRecord] {
        &self.privates
    }
}

impl Drop for SessionOwnership {
    fn drop(&mut self) {
        self.store.detach(&self.owner, self.is_slow);
    }
}

impl fmt::Debug for SessionOwnership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Attachment").field(&self.owner).finish()
    }
}

impl fmt::Debug for PrivateWrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Keeping")
            .field(&self.owner)
            .field(&self.privates)
            .finish()
    }
}
