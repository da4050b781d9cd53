//! The current table of application events.

use std::sync::{Arc, PoisonError, RwLock};

use shared::routing::EventTable;

/// The event table. A reload replaces it as a whole. Clones share it.
#[derive(Clone)]
pub struct Events(Arc<RwLock<Arc<EventTable>>>);

impl Events {
    /// Creates the handle with `table` as the current one.
    pub fn new(table: EventTable) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(table))))
    }

    /// Returns the current table. Hold it for as long as one payload is processed, so that a reload in between has no
    /// effect.
    pub fn current(&self) -> Arc<EventTable> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the table.
    pub fn replace(&self, table: EventTable) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
    }
}
