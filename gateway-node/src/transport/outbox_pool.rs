//! Limits the bytes in all outboxes of a node together, and condemns the fullest ones beyond the limit.
//!
//! An outbox is in the pool only while its socket is blocked. Its driver adds it, reports its bytes at the end of each
//! turn, and removes it when it is empty. So a connection whose peer keeps up costs nothing here.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::Waker,
};

use parking_lot::{Mutex, MutexGuard};
/// The blocked outboxes of a node. Clones share the pool.
#[derive(Debug, Clone)]
pub struct OutboxPool(Arc<PoolInner>);

#[derive(Debug)]
struct PoolInner {
    limit: usize,
    state: Mutex<PoolState>,
}

#[derive(Debug, Default)]
struct PoolState {
    next: u64,
    waiting: HashMap<u64, PooledOutbox>,
    /// The outboxes that are not condemned, ordered by their bytes.
    by_bytes: BTreeSet<(usize, u64)>,
    /// Bytes in all outboxes.
    bytes: usize,
    /// Bytes in the condemned ones.
    condemned_bytes: usize,
    condemned: u64,
}

#[derive(Debug)]
struct PooledOutbox {
    bytes: usize,
    is_condemned: Arc<AtomicBool>,
    driver: Waker,
}

impl OutboxPool {
    /// Creates a pool that holds up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(PoolInner {
            limit,
            state: Mutex::default(),
        }))
    }

    /// The number of bytes in all outboxes of the pool.
    pub fn bytes(&self) -> usize {
        self.state().bytes
    }

    /// The number of bytes in the fullest outbox.
    pub fn largest(&self) -> usize {
        let state = self.state();
        state.waiting.values().map(|waiting| waiting.bytes).max().unwrap_or(0)
    }

    /// How many outboxes have been condemned so far.
    pub fn condemned(&self) -> u64 {
        self.state().condemned
    }

    /// Adds an outbox. `driver` is woken if the outbox is condemned.
    pub(super) fn enter(&self, driver: &Waker) -> PoolCharge {
        let is_condemned = Arc::<AtomicBool>::default();
        let mut state = self.state();
        let id = state.next;
        state.next += 1;
        state.by_bytes.insert((0, id));
        let waiting = PooledOutbox {
            bytes: 0,
            is_condemned: Arc::clone(&is_condemned),
            driver: driver.clone(),
        };
        state.waiting.insert(id, waiting);
        drop(state);
        PoolCharge {
            pool: self.clone(),
            id,
            is_condemned,
        }
    }

    fn state(&self) -> MutexGuard<'_, PoolState> {
        self.0.state.lock()
    }
}

impl PoolState {
    /// Sets the bytes of an outbox.
    fn set(&mut self, id: u64, bytes: usize) {
        let Some(waiting) = self.waiting.get_mut(&id) else {
            return;
        };
        let before = std::mem::replace(&mut waiting.bytes, bytes);
        self.bytes = self.bytes - before + bytes;
        if waiting.is_condemned.load(Relaxed) {
            self.condemned_bytes = self.condemned_bytes - before + bytes;
        } else {
            self.by_bytes.remove(&(before, id));
            self.by_bytes.insert((bytes, id));
        }
    }

    /// Condemns the fullest outboxes until the others are within `limit`.
    fn condemn(&mut self, limit: usize) {
        while self.bytes - self.condemned_bytes > limit
            && let Some((bytes, id)) = self.by_bytes.pop_last()
        {
            self.condemned_bytes += bytes;
            self.condemned += 1;
            if let Some(waiting) = self.waiting.get(&id) {
                waiting.is_condemned.store(true, Relaxed);
                waiting.driver.wake_by_ref();
            }
        }
    }

    fn leave(&mut self, id: u64) {
        self.set(id, 0);
        if let Some(waiting) = self.waiting.remove(&id)
            && !waiting.is_condemned.load(Relaxed)
        {
            self.by_bytes.remove(&(0, id));
        }
    }
}

/// The entry of an outbox in the pool. Dropping it removes the outbox from the pool.
#[derive(Debug)]
pub(super) struct PoolCharge {
    pool: OutboxPool,
    id: u64,
    is_condemned: Arc<AtomicBool>,
}

impl PoolCharge {
    /// Reports how many bytes are queued, and condemns outboxes if the pool is over its limit.
    pub(super) fn set(&self, bytes: usize) {
        let mut state = self.pool.state();
        state.set(self.id, bytes);
        state.condemn(self.pool.0.limit);
    }

    /// Whether the connection has to be closed because the pool is over its limit.
    pub(super) fn is_condemned(&self) -> bool {
        self.is_condemned.load(Relaxed)
    }
}

impl Drop for PoolCharge {
    fn drop(&mut self) {
        self.pool.state().leave(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(pool: &OutboxPool, bytes: usize) -> PoolCharge {
        let charge = pool.enter(Waker::noop());
        charge.set(bytes);
        charge
    }

    #[test]
    fn the_fullest_outboxes_are_condemned_first_and_no_more_than_needed() {
        let pool = OutboxPool::new(100);
        let charges = [30, 50, 20].map(|bytes| enter(&pool, bytes));
        assert_eq!(pool.condemned(), 0);
        charges[2].set(40);
        assert_eq!(charges.each_ref().map(PoolCharge::is_condemned), [false, true, false]);
        // The bytes of a condemned outbox do not condemn another one.
        charges[1].set(60);
        assert_eq!(charges.each_ref().map(PoolCharge::is_condemned), [false, true, false]);
        charges[0].set(70);
        assert_eq!(charges.each_ref().map(PoolCharge::is_condemned), [true, true, false]);
        assert_eq!((pool.condemned(), pool.bytes()), (2, 170));
        drop(charges);
        let state = pool.state();
        assert_eq!((state.bytes, state.condemned_bytes), (0, 0));
        assert!(state.waiting.is_empty() && state.by_bytes.is_empty());
    }

    #[test]
    fn an_outbox_that_drains_makes_room_for_others() {
        let pool = OutboxPool::new(100);
        let (first, second) = (enter(&pool, 100), enter(&pool, 0));
        first.set(10);
        second.set(90);
        assert!(!first.is_condemned() && !second.is_condemned());
        drop(first);
        second.set(100);
        assert!(!second.is_condemned());
    }
}
