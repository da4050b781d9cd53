//! The table of application events that is in force.

use std::sync::{Arc, PoisonError, RwLock};

use shared::routing::EventTable;

/// The table, replaced as a whole. Clones are the same.
#[derive(Clone)]
pub struct Events(Arc<RwLock<Arc<EventTable>>>);

impl Events {
    /// Begins with `table`.
    pub fn new(table: EventTable) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(table))))
    }

    /// The table now. What holds it keeps it for the payload it is about.
    pub fn current(&self) -> Arc<EventTable> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another table in force.
    pub fn replace(&self, table: EventTable) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
    }
}
