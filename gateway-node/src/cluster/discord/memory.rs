//! The Discord sessions of a node that is alone, in its memory.

use std::{
    future::ready,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustc_hash::FxHashMap;
use shared::{client_type::ClientType, discord::Shard};
use tokio::time::Instant;

use super::{
    super::{Away, Backplane, Deliver, JoinError, Joined, Joining, Pending, Position},
    Begun, Book, Checkpoint, LogPage, Owner, Private, ReadError, Record, ResumeError, Resuming, StartBudget,
    StartLimits, Starts, Store, Taken,
};
use crate::guilds::Guilds;

/// How often sessions are forgotten whose time is up.
const SWEEP: Duration = Duration::from_secs(5);

/// Every session that was opened on this node and can still go on.
pub struct MemorySessions {
    shared: Arc<Shared>,
}

struct Shared {
    backplane: Arc<dyn Backplane>,
    deliver: Arc<dyn Deliver>,
    window: Duration,
    applications: Mutex<FxHashMap<Arc<str>, Application>>,
}

struct Application {
    book: Book,
    starts: Starts,
}

impl MemorySessions {
    /// No sessions yet, and what forgets those whose time is up, for as long as it is polled. One that is not connected
    /// stays for `window`.
    pub fn new(
        backplane: Arc<dyn Backplane>,
        deliver: Arc<dyn Deliver>,
        window: Duration,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let shared = Arc::new(Shared {
            backplane,
            deliver,
            window,
            applications: Mutex::default(),
        });
        let sweeping = Arc::clone(&shared).sweep();
        (Self { shared }, sweeping)
    }
}

impl Shared {
    async fn open(self: Arc<Self>, record: Arc<Record>) -> Result<Begun, JoinError> {
        // Its id is one that no session has, whatever its protocol.
        let joining = self.backplane.join(Joining {
            application: Arc::clone(&record.application),
            kind: ClientType::Bot,
        });
        let Joined { id, since, .. } = joining.await?;
        let generation = self.with(&record.application, |application| {
            application.book.open(id, Arc::clone(&record), since)
        });
        Ok(Begun {
            id,
            generation,
            since,
            presence: Box::new(()),
        })
    }

    fn resume(&self, resuming: &Resuming) -> Result<Taken, ResumeError> {
        let (continued, was_known, is_known) = self.with(&resuming.application, |application| {
            let was_known = application.book.has(resuming.id);
            let continued = application.book.resume(resuming, Instant::now());
            (continued, was_known, application.book.has(resuming.id))
        });
        if was_known && !is_known {
            self.backplane.leave(&resuming.application, resuming.id);
        }
        let continued = continued?;
        self.deliver.superseded(&Owner {
            application: Arc::clone(&resuming.application),
            id: resuming.id,
            generation: continued.generation,
        });
        Ok(Taken {
            continued,
            presence: Box::new(()),
        })
    }

    async fn sweep(self: Arc<Self>) {
        loop {
            tokio::time::sleep(SWEEP).await;
            let now = Instant::now();
            let mut gone = Vec::new();
            for (name, application) in &mut *self.lock() {
                let ids = application.book.expire(now);
                gone.extend(ids.into_iter().map(|id| (Arc::clone(name), id)));
            }
            for (application, id) in gone {
                self.backplane.leave(&application, id);
            }
        }
    }

    fn with<T>(&self, name: &Arc<str>, act: impl FnOnce(&mut Application) -> T) -> T {
        let mut applications = self.lock();
        let application = applications.entry(Arc::clone(name)).or_insert_with(|| Application {
            book: Book::new(self.window),
            starts: Starts::default(),
        });
        act(application)
    }

    fn lock(&self) -> MutexGuard<'_, FxHashMap<Arc<str>, Application>> {
        // What is changed under it does not panic between two changes that belong together.
        self.applications.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemorySessions {
    fn start(&self, application: &Arc<str>, shard: Shard, limits: StartLimits) -> Pending<bool, Away> {
        let may = self.shared.with(application, |application| {
            application.starts.take(shard, limits, Instant::now())
        });
        Box::pin(ready(Ok(may)))
    }

    fn start_budget(&self, application: &Arc<str>, limits: StartLimits) -> Pending<StartBudget, Away> {
        let budget = self.shared.with(application, |application| {
            application.starts.budget(limits, Instant::now())
        });
        Box::pin(ready(Ok(budget)))
    }

    fn open(&self, record: Arc<Record>) -> Pending<Begun, JoinError> {
        Box::pin(Arc::clone(&self.shared).open(record))
    }

    fn resume(&self, resuming: Resuming) -> Pending<Taken, ResumeError> {
        Box::pin(ready(self.shared.resume(&resuming)))
    }

    fn keep(&self, owner: &Owner, privates: Vec<Private>) -> Pending<bool, Away> {
        let is_theirs = self.shared.with(&owner.application, |application| {
            application.book.keep(owner.id, owner.generation, privates)
        });
        Box::pin(ready(Ok(is_theirs)))
    }

    fn checkpoint(&self, owner: &Owner, checkpoint: Option<Checkpoint>) {
        if let Some(checkpoint) = checkpoint {
            self.shared.with(&owner.application, |application| {
                application.book.checkpoint(owner.id, owner.generation, checkpoint);
            });
        }
    }

    fn detach(&self, owner: &Owner, is_slow: bool) {
        self.shared.with(&owner.application, |application| {
            application
                .book
                .detach(owner.id, owner.generation, is_slow, Instant::now());
        });
    }

    fn end(&self, owner: &Owner) {
        let ended = self.shared.with(&owner.application, |application| {
            application.book.end(owner.id, owner.generation)
        });
        if ended {
            self.shared.backplane.leave(&owner.application, owner.id);
        }
    }

    fn read(&self, _: &Arc<str>, _: Position) -> Pending<LogPage, ReadError> {
        // There is nothing but what the node remembers.
        Box::pin(ready(Err(ReadError::Severed)))
    }

    fn guild(&self, _: &Arc<str>, _: u64) -> Pending<Option<Guilds>, Away> {
        Box::pin(ready(Ok(None)))
    }

    fn guild_ids(&self, _: &Arc<str>, _: Option<u64>, _: usize) -> Pending<Option<Vec<u64>>, Away> {
        Box::pin(ready(Ok(None)))
    }
}
