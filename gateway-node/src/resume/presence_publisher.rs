//! The way in which a session publishes its presence.

use std::{fmt, sync::Arc};

use super::{presence::PresenceChange, store::Store};
use crate::backplane::Owner;

/// Publishes the presence and voice states of a session, for as long as the connection owns the session.
#[derive(Clone)]
pub struct PresencePublisher {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) owner: Owner,
}

impl PresencePublisher {
    /// The owner of the session.
    pub const fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Queues a change. Returns `false` if too many changes are waiting already.
    pub fn change(&self, change: PresenceChange) -> bool {
        self.store.change_presence(&self.owner, change)
    }
}

impl fmt::Debug for PresencePublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PresencePublisher").field(&self.owner).finish()
    }
}
