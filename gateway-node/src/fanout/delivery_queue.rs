//! The delivery queue between the log and the shards: one for the node, in which every shard has its own cursor.
//!
//! An entry stays until the slowest shard has read it. If there is no room for an event, its publication is refused
//! ([`DeliveryQueue::has_room`]), so no event is dropped between acceptance and delivery.
//!
//! Waking a shard costs more than what it does with an entry that none of its sessions receives. So an entry that no
//! session of this node can receive wakes none: the shards read it with the next one that a session can receive, when
//! many have gathered, or when a shard asks ([`DeliveryQueue::announce`]).

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::encode::encoded_event::EncodedEvent;

/// The most entries that a shard reads at once.
const BATCH: usize = 64;
/// The most items that wait for shards which are not woken for them.
const UNANNOUNCED_ITEMS: usize = 256;

pub(crate) struct DeliveryQueue {
    state: Mutex<DeliveryQueueState>,
    readers: Box<[AtomicWaker]>,
    limit: usize,
    /// Wakes whoever waits for room.
    trimmed: Notify,
    /// How many waits there are for an entry that may be in the queue or come next.
    awaited: Arc<AtomicUsize>,
}

/// A wait for an entry, for as long as it lives: meanwhile the shards are woken for each.
pub(crate) struct AwaitedEntry {
    awaited: Arc<AtomicUsize>,
}

impl Drop for AwaitedEntry {
    fn drop(&mut self) {
        self.awaited.fetch_sub(1, Relaxed);
    }
}

/// One element of the queue.
enum QueuedItem {
    Entry(Arc<EncodedEvent>),
    /// Before the next entries of this application there were others, which this node does not have, or has in another
    /// version.
    Gap(Arc<str>),
}

/// What a shard reads in one call.
pub(crate) enum QueueRead {
    Entries(Vec<Arc<EncodedEvent>>),
    /// The application that has a gap.
    Gap(Arc<str>),
}

struct DeliveryQueueState {
    queue: VecDeque<QueuedItem>,
    /// The number of the first item in `queue`.
    first: u64,
    bytes: usize,
    /// The number of the next item that each shard reads.
    next: Box<[u64]>,
    /// How many have been added since the shards were woken.
    unannounced: usize,
}

impl DeliveryQueueState {
    /// Returns the number of the next item.
    fn end(&self) -> u64 {
        self.first + self.queue.len() as u64
    }

    /// Removes the items that every shard has read.
    fn trim(&mut self) -> bool {
        let first = self.first;
        let slowest = self.next.iter().copied().min().unwrap_or(self.first);
        while self.first < slowest {
            let Some(item) = self.queue.pop_front() else { break };
            if let QueuedItem::Entry(entry) = item {
                self.bytes -= entry.entry.weight();
            }
            self.first += 1;
        }
        self.first > first
    }
}

impl DeliveryQueue {
    /// Creates a queue for `readers` shards that holds up to `limit` bytes.
    pub(crate) fn new(readers: usize, limit: usize) -> Self {
        Self {
            state: Mutex::new(DeliveryQueueState {
                queue: VecDeque::new(),
                first: 0,
                bytes: 0,
                next: vec![0; readers].into(),
                unannounced: 0,
            }),
            readers: (0..readers).map(|_| AtomicWaker::new()).collect(),
            limit,
            trimmed: Notify::new(),
            awaited: Arc::default(),
        }
    }

    /// Returns the number of shards that read every entry.
    pub(crate) fn readers(&self) -> usize {
        self.readers.len()
    }

    /// Returns the bytes of the entries that the slowest shard has not read.
    pub(crate) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        let state = self.lock();
        // An entry larger than the whole limit is accepted if the queue is empty.
        state.queue.is_empty() || state.bytes.saturating_add(bytes) <= self.limit
    }

    /// Waits until there is room for `bytes` more.
    pub(crate) async fn wait_for_room(&self, bytes: usize) {
        loop {
            let trimmed = self.trimmed.notified();
            if self.has_room(bytes) {
                return;
            }
            trimmed.await;
        }
    }

    /// Adds an entry. `can_wait` says whether no session of this node can receive it; it is called under the lock of the
    /// queue, so that a session which becomes a receiver and then calls [`announce`](Self::announce) misses nothing.
    pub(crate) fn push(&self, entry: Arc<EncodedEvent>, can_wait: impl FnOnce(&EncodedEvent) -> bool) {
        let mut state = self.lock();
        let can_wait = self.awaited.load(Relaxed) == 0 && can_wait(&entry);
        state.bytes += entry.entry.weight();
        state.queue.push_back(QueuedItem::Entry(entry));
        state.unannounced += 1;
        if !can_wait || state.unannounced >= UNANNOUNCED_ITEMS || state.bytes > self.limit / 2 {
            self.wake(state);
        }
    }

    /// Marks that the following entries of this application do not continue those before.
    pub(crate) fn gap(&self, application: Arc<str>) {
        let mut state = self.lock();
        state.queue.push_back(QueuedItem::Gap(application));
        self.wake(state);
    }

    /// Wakes the shards if there are entries for which they have not been woken.
    pub(crate) fn announce(&self) {
        let state = self.lock();
        if state.unannounced > 0 {
            self.wake(state);
        }
    }

    /// Begins a wait for an entry.
    pub(crate) fn await_entry(&self) -> AwaitedEntry {
        self.awaited.fetch_add(1, Relaxed);
        self.announce();
        AwaitedEntry {
            awaited: Arc::clone(&self.awaited),
        }
    }

    fn wake(&self, mut state: MutexGuard<'_, DeliveryQueueState>) {
        state.unannounced = 0;
        drop(state);
        for reader in &self.readers {
            reader.wake();
        }
    }

    /// Returns the number of the next item. Every entry that was accepted before has a lower one.
    pub(crate) fn end(&self) -> u64 {
        self.lock().end()
    }

    /// Returns how many items a shard has not read.
    pub(crate) fn waiting(&self, reader: usize) -> usize {
        let state = self.lock();
        usize::try_from(state.end() - state.next[reader]).unwrap_or(usize::MAX)
    }

    /// Returns the next items for a shard, and the number of the item after them.
    pub(crate) fn poll_read(&self, reader: usize, cx: &mut Context<'_>) -> Poll<(QueueRead, u64)> {
        self.readers[reader].register(cx.waker());
        let mut state = self.lock();
        let next = state.next[reader];
        if next == state.end() {
            return Poll::Pending;
        }
        let skip = usize::try_from(next - state.first).unwrap_or(usize::MAX);
        let mut items = state.queue.iter().skip(skip).take(BATCH);
        let (next_read, count) = match items.next() {
            Some(QueuedItem::Gap(application)) => (QueueRead::Gap(Arc::clone(application)), 1),
            first => {
                let entries = first.into_iter().chain(items).map_while(|item| match item {
                    QueuedItem::Entry(entry) => Some(Arc::clone(entry)),
                    QueuedItem::Gap(_) => None,
                });
                let entries: Vec<_> = entries.collect();
                let count = entries.len() as u64;
                (QueueRead::Entries(entries), count)
            }
        };
        let next = next + count;
        state.next[reader] = next;
        let is_trimmed = state.trim();
        drop(state);
        if is_trimmed {
            self.trimmed.notify_waiters();
        }
        Poll::Ready((next_read, next))
    }

    fn lock(&self) -> MutexGuard<'_, DeliveryQueueState> {
        // No code that holds the lock panics halfway through a change.
        self.state.lock()
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Wake, Waker};

    use shared::client_type::{ClientType, ClientTypes};

    use super::*;
    use crate::{
        backplane::{Audience, Entry, Epoch, Position},
        metrics::Metrics,
    };

    fn entry(offset: u64) -> Arc<EncodedEvent> {
        let position = Position {
            offset,
            epoch: Epoch::from_raw(1),
        };
        let entry = Entry {
            position,
            ..Entry::example(Audience::Types(ClientTypes::from(ClientType::Bot)))
        };
        Arc::new(EncodedEvent::new(
            entry,
            offset,
            shared::compression::Level::default(),
            Arc::new(Metrics::default()),
        ))
    }

    fn read(delivery_queue: &DeliveryQueue, reader: usize) -> Vec<u64> {
        match delivery_queue.poll_read(reader, &mut Context::from_waker(Waker::noop())) {
            Poll::Ready((QueueRead::Entries(batch), _)) => {
                batch.iter().map(|entry| entry.entry.position.offset).collect()
            }
            Poll::Ready((QueueRead::Gap(application), _)) => panic!("{application} has a gap"),
            Poll::Pending => Vec::new(),
        }
    }

    #[test]
    fn every_shard_reads_every_entry_in_order() {
        let delivery_queue = DeliveryQueue::new(2, 1 << 20);
        for offset in 0..100 {
            delivery_queue.push(entry(offset), |_| false);
        }
        assert_eq!(
            [read(&delivery_queue, 0), read(&delivery_queue, 0)].concat(),
            (0..100).collect::<Vec<_>>()
        );
        assert_eq!(delivery_queue.lock().queue.len(), 100);
        assert_eq!(
            [read(&delivery_queue, 1), read(&delivery_queue, 1)].concat(),
            (0..100).collect::<Vec<_>>()
        );
        let weight = delivery_queue.lock().bytes;
        assert_eq!(weight, 0);
        assert_eq!(read(&delivery_queue, 0), Vec::<u64>::new());
    }

    #[test]
    fn every_shard_reads_a_gap_in_order() {
        let delivery_queue = DeliveryQueue::new(2, 1 << 20);
        delivery_queue.push(entry(0), |_| false);
        delivery_queue.gap("a".into());
        delivery_queue.push(entry(1), |_| false);
        for reader in 0..2 {
            assert_eq!(read(&delivery_queue, reader), [0]);
            let next_read = delivery_queue.poll_read(reader, &mut Context::from_waker(Waker::noop()));
            assert!(matches!(next_read, Poll::Ready((QueueRead::Gap(_), 2))));
            assert_eq!(read(&delivery_queue, reader), [1]);
        }
        let state = delivery_queue.lock();
        assert_eq!((state.queue.len(), state.bytes), (0, 0));
    }

    #[test]
    fn the_slowest_registry_shard_limits_the_free_space() {
        let weight = entry(0).entry.weight();
        let delivery_queue = DeliveryQueue::new(2, 2 * weight);
        assert!(delivery_queue.has_room(10 * weight));
        delivery_queue.push(entry(0), |_| false);
        delivery_queue.push(entry(1), |_| false);
        assert!(!delivery_queue.has_room(weight));
        read(&delivery_queue, 0);
        assert!(!delivery_queue.has_room(weight));
        read(&delivery_queue, 1);
        assert!(delivery_queue.has_room(weight));
    }

    /// A waker that counts how often it is woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    /// Reads everything, then has `push` add to the queue. Returns whether the reader is woken.
    fn is_woken(delivery_queue: &DeliveryQueue, push: impl FnOnce()) -> bool {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        while delivery_queue.poll_read(0, &mut Context::from_waker(&waker)).is_ready() {}
        push();
        woken.0.load(Relaxed) > 0
    }

    #[test]
    fn an_entry_without_receivers_wakes_a_shard_only_when_asked() {
        let delivery_queue = DeliveryQueue::new(1, 1 << 20);
        let push_without_receiver = || delivery_queue.push(entry(1), |_| true);
        assert!(!is_woken(&delivery_queue, push_without_receiver));
        assert!(is_woken(&delivery_queue, || {
            push_without_receiver();
            delivery_queue.announce();
        }));
        assert!(is_woken(&delivery_queue, || {
            push_without_receiver();
            delivery_queue.push(entry(2), |_| false);
        }));
        // It was woken for all that there is.
        assert!(!is_woken(&delivery_queue, || delivery_queue.announce()));
        assert!(is_woken(&delivery_queue, || delivery_queue.gap("a".into())));
    }

    #[test]
    fn an_awaited_entry_makes_each_push_wake_the_shards() {
        let delivery_queue = DeliveryQueue::new(1, 1 << 20);
        let push_without_receiver = || delivery_queue.push(entry(1), |_| true);
        let mut awaited = None;
        assert!(is_woken(&delivery_queue, || {
            push_without_receiver();
            awaited = Some(delivery_queue.await_entry());
        }));
        assert!(is_woken(&delivery_queue, push_without_receiver));
        drop(awaited);
        assert!(!is_woken(&delivery_queue, push_without_receiver));
    }

    #[test]
    fn entries_without_receivers_do_not_fill_the_queue() {
        let many = DeliveryQueue::new(1, 1 << 20);
        assert!(is_woken(&many, || {
            for offset in 0..UNANNOUNCED_ITEMS as u64 {
                many.push(entry(offset), |_| true);
            }
        }));
        let small = DeliveryQueue::new(1, 3 * entry(0).entry.weight());
        let push_without_receiver = || small.push(entry(0), |_| true);
        assert!(!is_woken(&small, push_without_receiver));
        assert!(is_woken(&small, || {
            push_without_receiver();
            push_without_receiver();
        }));
    }
}
