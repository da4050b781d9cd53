//! From the log to the shards: one queue for the node, in which every shard has its own place.
//!
//! An entry stays until the slowest shard has read it. What does not fit is refused at the entrance
//! ([`Feed::has_room`]), so that nothing is ever dropped between acceptance and delivery.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;

use crate::encode::encoded_event::Prepared;

/// The most entries that a shard takes at once.
const BATCH: usize = 64;

pub(crate) struct Feed {
    state: Mutex<State>,
    readers: Box<[AtomicWaker]>,
    limit: usize,
}

/// What shards read, in order.
enum Item {
    Entry(Arc<Prepared>),
    /// What follows of this application's log is from another side of a split.
    Divergence(Arc<str>),
}

/// What a shard reads at once.
pub(crate) enum Portion {
    Entries(Vec<Arc<Prepared>>),
    /// The application whose log continues on another side of a split.
    Divergence(Arc<str>),
}

struct State {
    queue: VecDeque<Item>,
    /// The number of the first item in `queue`.
    first: u64,
    bytes: usize,
    /// The number of the next item that each shard reads.
    next: Box<[u64]>,
}

impl State {
    /// The number that the next item will get.
    fn end(&self) -> u64 {
        self.first + self.queue.len() as u64
    }

    /// Forgets what every shard has read.
    fn trim(&mut self) {
        let slowest = self.next.iter().copied().min().unwrap_or(self.first);
        while self.first < slowest {
            let Some(item) = self.queue.pop_front() else { break };
            if let Item::Entry(entry) = item {
                self.bytes -= entry.entry.weight();
            }
            self.first += 1;
        }
    }
}

impl Feed {
    /// A queue for `readers` shards that holds up to `limit` bytes.
    pub(crate) fn new(readers: usize, limit: usize) -> Self {
        Self {
            state: Mutex::new(State {
                queue: VecDeque::new(),
                first: 0,
                bytes: 0,
                next: vec![0; readers].into(),
            }),
            readers: (0..readers).map(|_| AtomicWaker::new()).collect(),
            limit,
        }
    }

    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        let state = self.lock();
        // One that is larger than the whole queue passes when it would be alone.
        state.queue.is_empty() || state.bytes.saturating_add(bytes) <= self.limit
    }

    pub(crate) fn push(&self, entry: Arc<Prepared>) {
        {
            let mut state = self.lock();
            state.bytes += entry.entry.weight();
            state.queue.push_back(Item::Entry(entry));
        }
        self.wake();
    }

    /// Marks the place from which on the entries of this application are from another side of a split.
    pub(crate) fn diverge(&self, application: Arc<str>) {
        self.lock().queue.push_back(Item::Divergence(application));
        self.wake();
    }

    fn wake(&self) {
        for reader in &self.readers {
            reader.wake();
        }
    }

    /// The number that the next item will get: everything accepted by now has a lower one.
    pub(crate) fn end(&self) -> u64 {
        self.lock().end()
    }

    /// The next items for a shard, and the number that follows them.
    pub(crate) fn poll_read(&self, reader: usize, cx: &mut Context<'_>) -> Poll<(Portion, u64)> {
        self.readers[reader].register(cx.waker());
        let mut state = self.lock();
        let next = state.next[reader];
        if next == state.end() {
            return Poll::Pending;
        }
        let skip = usize::try_from(next - state.first).unwrap_or(usize::MAX);
        let mut items = state.queue.iter().skip(skip).take(BATCH);
        let (portion, count) = match items.next() {
            Some(Item::Divergence(application)) => (Portion::Divergence(Arc::clone(application)), 1),
            first => {
                let entries = first.into_iter().chain(items).map_while(|item| match item {
                    Item::Entry(entry) => Some(Arc::clone(entry)),
                    Item::Divergence(_) => None,
                });
                let entries: Vec<_> = entries.collect();
                let count = entries.len() as u64;
                (Portion::Entries(entries), count)
            }
        };
        let next = next + count;
        state.next[reader] = next;
        state.trim();
        Poll::Ready((portion, next))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use shared::client_type::{ClientType, ClientTypes};

    use super::*;
    use crate::{
        backplane::{Audience, Entry, Epoch, Position},
        metrics::Metrics,
    };

    fn entry(offset: u64) -> Arc<Prepared> {
        let entry = Entry {
            position: Position {
                offset,
                epoch: Epoch::from_raw(1),
            },
            application: "a".into(),
            name: "n".into(),
            audience: Audience::Types(ClientTypes::from(ClientType::Bot)),
            author: None,
            discord: None,
            d: "{}".into(),
        };
        Arc::new(Prepared::new(
            entry,
            offset,
            shared::compression::Level::default(),
            Arc::new(Metrics::default()),
        ))
    }

    fn read(feed: &Feed, reader: usize) -> Vec<u64> {
        match feed.poll_read(reader, &mut Context::from_waker(Waker::noop())) {
            Poll::Ready((Portion::Entries(batch), _)) => {
                batch.iter().map(|entry| entry.entry.position.offset).collect()
            }
            Poll::Ready((Portion::Divergence(application), _)) => panic!("{application} diverges"),
            Poll::Pending => Vec::new(),
        }
    }

    #[test]
    fn every_shard_reads_everything_in_order() {
        let feed = Feed::new(2, 1 << 20);
        for offset in 0..100 {
            feed.push(entry(offset));
        }
        assert_eq!([read(&feed, 0), read(&feed, 0)].concat(), (0..100).collect::<Vec<_>>());
        assert_eq!(feed.lock().queue.len(), 100);
        assert_eq!([read(&feed, 1), read(&feed, 1)].concat(), (0..100).collect::<Vec<_>>());
        let weight = feed.lock().bytes;
        assert_eq!(weight, 0);
        assert_eq!(read(&feed, 0), Vec::<u64>::new());
    }

    #[test]
    fn a_divergence_is_read_in_its_place_by_every_shard() {
        let feed = Feed::new(2, 1 << 20);
        feed.push(entry(0));
        feed.diverge("a".into());
        feed.push(entry(1));
        for reader in 0..2 {
            assert_eq!(read(&feed, reader), [0]);
            let portion = feed.poll_read(reader, &mut Context::from_waker(Waker::noop()));
            assert!(matches!(portion, Poll::Ready((Portion::Divergence(_), 2))));
            assert_eq!(read(&feed, reader), [1]);
        }
        let state = feed.lock();
        assert_eq!((state.queue.len(), state.bytes), (0, 0));
    }

    #[test]
    fn the_slowest_shard_decides_what_has_room() {
        let weight = entry(0).entry.weight();
        let feed = Feed::new(2, 2 * weight);
        assert!(feed.has_room(10 * weight));
        feed.push(entry(0));
        feed.push(entry(1));
        assert!(!feed.has_room(weight));
        read(&feed, 0);
        assert!(!feed.has_room(weight));
        read(&feed, 1);
        assert!(feed.has_room(weight));
    }
}
