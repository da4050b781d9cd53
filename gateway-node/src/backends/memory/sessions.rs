//! The Discord sessions of a node that is alone, in its memory.

use std::{
    future::ready,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::FutureExt;
use rustc_hash::FxHashMap;
use shared::{client_type::ClientType, discord::Shard, session_id::SessionId};
use tokio::time::{Instant, sleep};

use super::session_table::Book;
use crate::{
    backplane::{
        Away, Backplane, Deliver, Epoch, Haste, JoinError, Joined, Joining, Owner, Pending, Position, Publication,
        Publishing,
    },
    guilds::Guilds,
    resume::{
        Appearances, Begun, Checkpoint, LogPage, Private, ReadError, Record, ResumeError, Resuming, StartBudget,
        StartLimits, Starts, Store, Taken, Wish,
        presence::Appearance,
        presence_queue::{AT_ONCE, pause_after},
    },
};

/// How often sessions are forgotten whose time is up.
const SWEEP: Duration = Duration::from_secs(1);
/// How long it takes until it is tried again to tell what the node had no room for.
const RETRY: Duration = Duration::from_millis(200);

/// Every session that was opened on this node and can still go on.
pub struct MemorySessions {
    shared: Arc<Shared>,
}

struct Shared {
    backplane: Arc<dyn Backplane>,
    deliver: Arc<dyn Deliver>,
    window: Duration,
    applications: Mutex<FxHashMap<Arc<str>, Application>>,
    appearances: Appearances,
}

struct Application {
    book: Book,
    starts: Starts,
}

impl MemorySessions {
    /// No sessions yet, and what forgets those whose time is up and tells how they are seen, for as long as it is polled. One that is not connected
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
            appearances: Appearances::default(),
        });
        let (sweeping, telling) = (Arc::clone(&shared).sweep(), Arc::clone(&shared).tell());
        let working = async move {
            futures_util::future::join(sweeping, telling).await;
        };
        (Self { shared }, working)
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
            self.ended(&resuming.application, resuming.id);
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
                self.ended(&application, id);
            }
        }
    }

    fn ended(&self, application: &str, id: SessionId) {
        self.backplane.leave(application, id);
        self.appearances.look();
    }

    /// Tells how sessions are seen, and that they are seen no more, in their turn.
    async fn tell(self: Arc<Self>) {
        loop {
            let left = self.tell_of_those_who_left();
            let told = self.tell_of_those_who_are_there();
            match (left, told) {
                (Ok(0), Ok(0)) => self.appearances.changed().await,
                (Ok(left), Ok(told)) => sleep(pause_after(left + told)).await,
                _ => sleep(RETRY).await,
            }
        }
    }

    fn tell_of_those_who_left(&self) -> Result<usize, Away> {
        let mut told = 0;
        for (name, application) in &mut *self.lock() {
            let seen = &mut application.book.seen;
            let events = seen.leaving(AT_ONCE);
            let count = events.len();
            if count > 0 {
                self.publish(name, events)?;
                seen.left(count);
                told += count;
            }
        }
        Ok(told)
    }

    fn tell_of_those_who_are_there(&self) -> Result<usize, Away> {
        let mut taken = self.appearances.take();
        let mut told = 0;
        while let Some((owner, appearances)) = taken.last() {
            let is_told = self.with(&owner.application, |application| {
                let book = &mut application.book;
                let Some((cover, news)) = book.news(owner.id, owner.generation, appearances.clone()) else {
                    return Ok(0);
                };
                if !news.is_empty() {
                    self.publish(&owner.application, news.iter().map(Appearance::event).collect())?;
                }
                for appearance in &news {
                    book.seen.told(cover, appearance);
                }
                Ok(news.len())
            });
            match is_told {
                Ok(count) => told += count,
                Err(away) => {
                    self.appearances.take_back(taken);
                    return Err(away);
                }
            }
            taken.pop();
        }
        self.appearances.told();
        Ok(told)
    }

    /// Appends events while what they say is locked, so that the log has them in the order in which it changed. The
    /// backplane is in memory too, and answers at once.
    fn publish(&self, application: &Arc<str>, events: Vec<Publication>) -> Result<(), Away> {
        let published = self.backplane.publish(Publishing {
            application: Arc::clone(application),
            events,
            haste: Haste::Patient,
        });
        match published.now_or_never() {
            Some(Ok(_)) => Ok(()),
            _ => Err(Away),
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

    fn keep(&self, owner: &Owner, privates: Vec<Private>, _: Option<Epoch>) -> Pending<bool, Away> {
        let is_theirs = self.shared.with(&owner.application, |application| {
            application.book.keep(owner.id, owner.generation, privates)
        });
        Box::pin(ready(Ok(is_theirs)))
    }

    fn is_live(&self, _: &Owner, _: bool) {}

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
            self.shared.ended(&owner.application, owner.id);
        }
    }

    fn appear(&self, owner: &Owner, wish: Wish) -> bool {
        self.shared.appearances.wish(owner, wish)
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
