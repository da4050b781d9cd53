//! A connection's ownership of its session.

use std::{fmt, sync::Arc};

use super::{
    presence_publisher::PresencePublisher,
    record::{Checkpoint, PrivateRecord},
    store::{FollowGuard, Store},
};
use crate::backplane::{Epoch, Owner, Pending, Unavailable};

/// The ownership of a session by a connection. Dropping it detaches the session, which can then be resumed.
pub struct SessionOwnership {
    store: Arc<dyn Store>,
    owner: Owner,
    is_slow: bool,
    _presence: FollowGuard,
}

/// A pending write of private events, or of an epoch, for one session.
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

    /// The owner of the session.
    pub const fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Prepares to persist events that are about to be sent to this session only. They must be persisted before they
    /// are sent.
    pub fn private_write(&self, privates: Vec<PrivateRecord>) -> PrivateWrite {
        PrivateWrite {
            store: Arc::clone(&self.store),
            owner: self.owner.clone(),
            privates,
            epoch: None,
        }
    }

    /// Returns the publisher of its presence and voice states.
    pub fn presence_publisher(&self) -> PresencePublisher {
        PresencePublisher {
            store: Arc::clone(&self.store),
            owner: self.owner.clone(),
        }
    }

    /// Prepares to record that everything the client has seen belongs to `epoch`. It must be recorded before anything
    /// from that epoch is sent.
    pub fn carry_to(&self, epoch: Epoch) -> PrivateWrite {
        PrivateWrite {
            epoch: Some(epoch),
            ..self.private_write(Vec::new())
        }
    }

    /// Sets whether the session is live: it receives what its node delivers, and nothing else from the log.
    pub fn set_live(&self, is_live: bool) {
        self.store.set_live(&self.owner, is_live);
    }

    /// Records how far the client is, if that is known, and that it is still connected.
    pub fn checkpoint(&self, checkpoint: Option<Checkpoint>) {
        self.store.checkpoint(&self.owner, checkpoint);
    }

    /// Marks the connection as closed because its client reads too slowly.
    pub const fn set_slow(&mut self) {
        self.is_slow = true;
    }

    /// Ends the session, so that it cannot be resumed.
    pub fn end(&self) {
        self.store.end(&self.owner);
    }
}

impl PrivateWrite {
    /// Persists the write. Returns `false` if the session has a newer owner. Without an answer it may be retried;
    /// nothing else may be sent under the same sequence numbers.
    ///
    /// # Errors
    /// When it is unknown whether it was persisted.
    pub fn attempt(&self) -> Pending<bool, Unavailable> {
        self.store.keep(&self.owner, self.privates.clone(), self.epoch)
    }

    /// The private events to persist.
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
