//! The current table of application events.

use std::{
    cell::{RefCell, RefMut},
    sync::Arc,
};

use arc_swap::{ArcSwap, Cache, Guard};
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

    /// Creates a reader for one thread.
    pub fn reader(&self) -> EventsReader {
        EventsReader(RefCell::new(Cache::new(Arc::clone(&self.0))))
    }
}

/// One thread's view of the table. It keeps the table that it read last, so that reading an unchanged one costs a
/// comparison.
#[derive(Clone)]
pub struct EventsReader(RefCell<Cache<Arc<ArcSwap<EventTable>>, Arc<EventTable>>>);

impl EventsReader {
    /// Locks the reader. Hold it for as long as one payload is processed.
    pub fn lock(&self) -> EventsGuard<'_> {
        EventsGuard(self.0.borrow_mut())
    }
}

/// A locked [`EventsReader`].
pub struct EventsGuard<'a>(RefMut<'a, Cache<Arc<ArcSwap<EventTable>>, Arc<EventTable>>>);

impl EventsGuard<'_> {
    /// Returns the current table.
    pub fn current(&mut self) -> &EventTable {
        self.0.load()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::development_events;

    #[test]
    fn a_reader_sees_a_replaced_table() {
        let events = Events::new(EventTable::default());
        let reader = events.reader();
        assert_eq!(reader.lock().current().len(), 0);
        let table = EventTable::build(development_events()).unwrap();
        let count = table.len();
        events.replace(table);
        assert_eq!(reader.lock().current().len(), count);
    }
}
