//! The Discord sessions of a node: opening, resuming, and everything that is noted about them meanwhile.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustc_hash::FxHashMap;
use shared::{client_type::ClientType, discord::Shard, session_id::SessionId};
use tokio::time::Instant;

use super::{
    super::{Backplane, Deliver, JoinError, Joined, Joining},
    Attachment, Book, Checkpoint, Opened, Owner, Private, Record, ResumeError, Resumed, Resuming, StartBudget,
    StartLimits, Starts,
    book::Continued,
};

/// How often sessions are forgotten whose time is up.
const SWEEP: Duration = Duration::from_secs(5);

/// Every session that was opened on this node and can still go on.
pub struct DiscordSessions {
    backplane: Arc<dyn Backplane>,
    deliver: Arc<dyn Deliver>,
    window: Duration,
    applications: Mutex<FxHashMap<Arc<str>, Application>>,
}

struct Application {
    book: Book,
    starts: Starts,
}

impl DiscordSessions {
    /// No sessions yet. One that is not connected stays for `window`.
    pub fn new(backplane: Arc<dyn Backplane>, deliver: Arc<dyn Deliver>, window: Duration) -> Self {
        Self {
            backplane,
            deliver,
            window,
            applications: Mutex::default(),
        }
    }

    /// Counts the start of a session, if its application may start one now.
    pub fn start(&self, application: &Arc<str>, shard: Shard, limits: StartLimits) -> bool {
        self.with(application, |application| {
            application.starts.take(shard, limits, Instant::now())
        })
    }

    /// Opens a session that was started.
    ///
    /// # Errors
    /// When there is no id for it.
    pub async fn open(self: &Arc<Self>, record: Record) -> Result<Opened, JoinError> {
        // Its id is one that no session of the cluster has, whatever its protocol.
        let joining = self.backplane.join(Joining {
            application: Arc::clone(&record.application),
            kind: ClientType::Bot,
        });
        let sessions = Arc::clone(self);
        // A task of its own, so that nothing stays behind when nobody waits for the answer any more.
        let opening = tokio::spawn(async move {
            let Joined { id, since, .. } = joining.await?;
            let record = Arc::new(record);
            let generation = sessions.with(&record.application, |application| {
                application.book.open(id, Arc::clone(&record), since)
            });
            let owner = Owner {
                application: Arc::clone(&record.application),
                id,
                generation,
            };
            Ok(Opened {
                attachment: Attachment::new(sessions, owner),
                record,
                since,
            })
        });
        opening.await.unwrap_or(Err(JoinError::Away))
    }

    /// Takes a session over from whoever has it.
    ///
    /// # Errors
    /// When it cannot go on from where the client says that it is.
    pub fn resume(self: &Arc<Self>, resuming: &Resuming) -> Result<Resumed, ResumeError> {
        let (continued, was_known, is_known) = self.with(&resuming.application, |application| {
            let was_known = application.book.has(resuming.id);
            let continued = application.book.resume(resuming, Instant::now());
            (continued, was_known, application.book.has(resuming.id))
        });
        if was_known && !is_known {
            self.backplane.leave(&resuming.application, resuming.id);
        }
        let Continued {
            record,
            generation,
            checkpoint,
            privates,
        } = continued?;
        let owner = Owner {
            application: Arc::clone(&resuming.application),
            id: resuming.id,
            generation,
        };
        self.deliver.superseded(&owner);
        Ok(Resumed {
            attachment: Attachment::new(Arc::clone(self), owner),
            record,
            checkpoint,
            privates,
        })
    }

    /// Keeps what is about to be sent to one session alone. False where it has another owner by now.
    pub fn keep(&self, owner: &Owner, privates: Vec<Private>) -> bool {
        self.with(&owner.application, |application| {
            application.book.keep(owner.id, owner.generation, privates)
        })
    }

    /// Notes what a client has.
    pub fn checkpoint(&self, owner: &Owner, checkpoint: Checkpoint) {
        self.with(&owner.application, |application| {
            application.book.checkpoint(owner.id, owner.generation, checkpoint);
        });
    }

    /// Notes that a session has lost its connection; `is_slow` says that it was cut for reading slowly.
    pub fn detach(&self, owner: &Owner, is_slow: bool) {
        self.with(&owner.application, |application| {
            application
                .book
                .detach(owner.id, owner.generation, is_slow, Instant::now());
        });
    }

    /// Ends a session: nobody can resume it.
    pub fn end(&self, owner: &Owner) {
        let ended = self.with(&owner.application, |application| {
            application.book.end(owner.id, owner.generation)
        });
        if ended {
            self.backplane.leave(&owner.application, owner.id);
        }
    }

    /// Forgets a session whoever has it. False where there is none.
    pub fn forget(&self, application: &Arc<str>, id: SessionId) -> bool {
        let forgotten = self.with(application, |application| application.book.forget(id));
        if forgotten {
            self.backplane.leave(application, id);
        }
        forgotten
    }

    /// What is left of the sessions that an application may start today.
    pub fn start_budget(&self, application: &Arc<str>, limits: StartLimits) -> StartBudget {
        self.with(application, |application| {
            application.starts.budget(limits, Instant::now())
        })
    }

    /// Forgets sessions whose time is up, for as long as it is polled.
    pub async fn sweep(self: Arc<Self>) {
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
