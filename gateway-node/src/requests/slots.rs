//! How many requests each key has in flight over HTTP.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

/// The application and the id of a key.
type KeyName = (Arc<str>, Arc<str>);

/// The requests in flight of each key at this node. Clones share their counts.
#[derive(Debug, Clone)]
pub struct RequestSlots {
    limit: usize,
    taken: Arc<Mutex<HashMap<KeyName, usize>>>,
}

impl RequestSlots {
    /// Lets each key have `limit` requests in flight.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            taken: Arc::default(),
        }
    }

    /// Takes a slot of a key, until it is dropped. Returns `None` if the key has none left.
    pub fn take(&self, application: &Arc<str>, key: &Arc<str>) -> Option<RequestSlot> {
        let name = (Arc::clone(application), Arc::clone(key));
        let mut taken = self.taken.lock();
        let count = taken.entry(name.clone()).or_default();
        if *count >= self.limit {
            return None;
        }
        *count += 1;
        Some(RequestSlot {
            slots: self.clone(),
            name,
        })
    }
}

/// A place for one request in flight. Dropping it frees the place.
#[derive(Debug)]
pub struct RequestSlot {
    slots: RequestSlots,
    name: KeyName,
}

impl Drop for RequestSlot {
    fn drop(&mut self) {
        let mut taken = self.slots.taken.lock();
        if let Some(count) = taken.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_own_slots() {
        let slots = RequestSlots::new(2);
        let take = |key: &str| slots.take(&"app".into(), &key.into());
        let held = [take("a"), take("a"), take("b")];
        assert!(held.iter().all(Option::is_some));
        assert!(take("a").is_none());
        let [first, others @ ..] = held;
        drop(first);
        assert!(take("a").is_some());
        drop(others);
        assert!(slots.taken.lock().is_empty(), "keys without requests are forgotten");
    }
}
