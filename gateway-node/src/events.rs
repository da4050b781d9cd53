//! The current table of application events.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use shared::routing::EventTable;

/// The event table. A reload replaces it as a whole. Clones share it.
#[derive(Clone)]
pub struct Events(Arc<ArcSwap<EventTable>>);

impl Events {
    /// Creates the handle with `table` as the current one.
    pub fn new(table: EventTable) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(table)))
    }

    /// Returns the current table. Hold it for as long as one payload is processed, so that a reload in between has no
    /// effect.
    pub fn current(&self) -> Guard<Arc<EventTable>> {
        self.0.load()
    }

    /// Replaces the table.
    pub fn replace(&self, table: EventTable) {
        self.0.store(Arc::new(table));
    }
}
