//! The Discord sessions of a single node, in its memory.

use std::{future::ready, sync::Arc, time::Duration};

use futures_util::FutureExt;
use parking_lot::{Mutex, MutexGuard};
use rustc_hash::FxHashMap;
use shared::{client_type::ClientType, discord::Shard, session_id::SessionId};
use tokio::time::{Instant, sleep};

use super::session_table::SessionTable;
use crate::{
    backplane::{
        Backplane, Deliver, Epoch, JoinError, Joined, Joining, Owner, Pending, Position, Publication, Publishing,
        Unavailable, WhenUnavailable,
    },
    guilds::Guilds,
    resume::{
        Checkpoint, LogPage, OpenedRow, PresenceChange, PresenceQueue, PrivateRecord, ReadError, Record, ResumeError,
        ResumeParams, ResumedRow, StartBudget, StartLimits, Starts, Store,
        presence::PresenceEvent,
        presence_queue::{AT_ONCE, pause_after},
    },
};

/// How often expired sessions are removed.
const SWEEP: Duration = Duration::from_secs(1);
/// The delay before a failed publication is retried.
const RETRY: Duration = Duration::from_millis(200);

/// Every session that was opened on this node and can still be resumed.
pub struct MemorySessions {
    shared: Arc<SessionsShared>,
}

struct SessionsShared {
    backplane: Arc<dyn Backplane>,
    deliver: Arc<dyn Deliver>,
    window: Duration,
    applications: Mutex<FxHashMap<Arc<str>, ApplicationSessions>>,
    presence_queue: PresenceQueue,
}

struct ApplicationSessions {
    table: SessionTable,
    starts: Starts,
}

impl MemorySessions {
    /// Creates an empty store, and the task that removes expired sessions and publishes presences and voice states
    /// while it is polled. A disconnected session can be resumed for `window`.
    pub fn new(
        backplane: Arc<dyn Backplane>,
        deliver: Arc<dyn Deliver>,
        window: Duration,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let shared = Arc::new(SessionsShared {
            backplane,
            deliver,
            window,
            applications: Mutex::default(),
            presence_queue: PresenceQueue::default(),
        });
        let (sweeping, telling) = (Arc::clone(&shared).sweep(), Arc::clone(&shared).publish_pending());
        let working = async move {
            futures_util::future::join(sweeping, telling).await;
        };
        (Self { shared }, working)
    }
}

impl SessionsShared {
    async fn open(self: Arc<Self>, record: Arc<Record>) -> Result<OpenedRow, JoinError> {
        // The id is unique among the sessions of both protocols.
        let joining = self.backplane.join(Joining {
            application: Arc::clone(&record.application),
            kind: ClientType::Bot,
            ticket: None,
            worker: None,
        });
        let Joined { id, since, .. } = joining.await?;
        let fencing_token = self.with(&record.application, |application| {
            application.table.open(id, Arc::clone(&record), since)
        });
        Ok(OpenedRow {
            id,
            fencing_token,
            since,
            presence: Box::new(()),
        })
    }

    fn resume(&self, params: &ResumeParams) -> Result<ResumedRow, ResumeError> {
        let (continued, was_known, is_known) = self.with(&params.application, |application| {
            let was_known = application.table.has(params.id);
            let continued = application.table.resume(params, Instant::now());
            (continued, was_known, application.table.has(params.id))
        });
        if was_known && !is_known {
            self.ended(&params.application, params.id);
        }
        let continued = continued?;
        self.deliver.superseded(&Owner {
            application: Arc::clone(&params.application),
            id: params.id,
            fencing_token: continued.fencing_token,
        });
        Ok(ResumedRow {
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
                let ids = application.table.expire(now);
                gone.extend(ids.into_iter().map(|id| (Arc::clone(name), id)));
            }
            for (application, id) in gone {
                self.ended(&application, id);
            }
        }
    }

    fn ended(&self, application: &str, id: SessionId) {
        self.backplane.leave(application, id);
        self.presence_queue.look();
    }

    /// Publishes the updates of ended and of connected sessions, at a bounded rate.
    async fn publish_pending(self: Arc<Self>) {
        loop {
            let left = self.publish_departures();
            let published = self.publish_changes();
            match (left, published) {
                (Ok(0), Ok(0)) => self.presence_queue.changed().await,
                (Ok(left), Ok(published)) => sleep(pause_after(left + published)).await,
                _ => sleep(RETRY).await,
            }
        }
    }

    fn publish_departures(&self) -> Result<usize, Unavailable> {
        let mut published = 0;
        for (name, application) in &mut *self.lock() {
            let seen = &mut application.table.seen;
            let events = seen.leaving(AT_ONCE);
            let count = events.len();
            if count > 0 {
                self.publish(name, events)?;
                seen.left(count);
                published += count;
            }
        }
        Ok(published)
    }

    fn publish_changes(&self) -> Result<usize, Unavailable> {
        let mut ack = self.presence_queue.take();
        let mut published = 0;
        while let Some((owner, presence_queue)) = ack.last() {
            let is_told = self.with(&owner.application, |application| {
                let table = &mut application.table;
                let Some((coverage, news)) = table.news(owner.id, owner.fencing_token, presence_queue.clone()) else {
                    return Ok(0);
                };
                if !news.is_empty() {
                    self.publish(&owner.application, news.iter().map(PresenceEvent::event).collect())?;
                }
                for event in &news {
                    table.seen.published(coverage, event);
                }
                Ok(news.len())
            });
            match is_told {
                Ok(count) => published += count,
                Err(away) => {
                    self.presence_queue.requeue(ack);
                    return Err(away);
                }
            }
            ack.pop();
        }
        self.presence_queue.published();
        Ok(published)
    }

    /// Appends events while the table that they describe is locked, so that the log has them in the order of the
    /// changes. The backplane is in memory too, and answers at once.
    fn publish(&self, application: &Arc<str>, events: Vec<Publication>) -> Result<(), Unavailable> {
        let published = self.backplane.publish(Publishing {
            application: Arc::clone(application),
            events,
            idempotency: None,
            when_unavailable: WhenUnavailable::Hold,
        });
        match published.now_or_never() {
            Some(Ok(_)) => Ok(()),
            _ => Err(Unavailable),
        }
    }

    fn with<T>(&self, name: &Arc<str>, act: impl FnOnce(&mut ApplicationSessions) -> T) -> T {
        let mut applications = self.lock();
        let application = applications
            .entry(Arc::clone(name))
            .or_insert_with(|| ApplicationSessions {
                table: SessionTable::new(self.window),
                starts: Starts::default(),
            });
        act(application)
    }

    fn lock(&self) -> MutexGuard<'_, FxHashMap<Arc<str>, ApplicationSessions>> {
        // No code panics between two changes that belong together.
        self.applications.lock()
    }
}

impl Store for MemorySessions {
    fn start(&self, application: &Arc<str>, shard: Shard, limits: StartLimits) -> Pending<bool, Unavailable> {
        let may = self.shared.with(application, |application| {
            application.starts.take(shard, limits, Instant::now())
        });
        Box::pin(ready(Ok(may)))
    }

    fn start_budget(&self, application: &Arc<str>, limits: StartLimits) -> Pending<StartBudget, Unavailable> {
        let budget = self.shared.with(application, |application| {
            application.starts.budget(limits, Instant::now())
        });
        Box::pin(ready(Ok(budget)))
    }

    fn open(&self, record: Arc<Record>) -> Pending<OpenedRow, JoinError> {
        Box::pin(Arc::clone(&self.shared).open(record))
    }

    fn resume(&self, params: ResumeParams) -> Pending<ResumedRow, ResumeError> {
        Box::pin(ready(self.shared.resume(&params)))
    }

    fn keep(&self, owner: &Owner, privates: Vec<PrivateRecord>, _: Option<Epoch>) -> Pending<bool, Unavailable> {
        let is_theirs = self.shared.with(&owner.application, |application| {
            application.table.keep(owner.id, owner.fencing_token, privates)
        });
        Box::pin(ready(Ok(is_theirs)))
    }

    fn set_live(&self, _: &Owner, _: bool) {}

    fn checkpoint(&self, owner: &Owner, checkpoint: Option<Checkpoint>) {
        if let Some(checkpoint) = checkpoint {
            self.shared.with(&owner.application, |application| {
                application.table.checkpoint(owner.id, owner.fencing_token, checkpoint);
            });
        }
    }

    fn detach(&self, owner: &Owner, is_slow: bool) {
        self.shared.with(&owner.application, |application| {
            application
                .table
                .detach(owner.id, owner.fencing_token, is_slow, Instant::now());
        });
    }

    fn end(&self, owner: &Owner) {
        let ended = self.shared.with(&owner.application, |application| {
            application.table.end(owner.id, owner.fencing_token)
        });
        if ended {
            self.shared.ended(&owner.application, owner.id);
        }
    }

    fn change_presence(&self, owner: &Owner, change: PresenceChange) -> bool {
        self.shared.presence_queue.change(owner, change)
    }

    fn read(&self, _: &Arc<str>, _: Position) -> Pending<LogPage, ReadError> {
        // There is no log beyond the replay buffer of the node.
        Box::pin(ready(Err(ReadError::Severed)))
    }

    fn guild(&self, _: &Arc<str>, _: u64) -> Pending<Option<Guilds>, Unavailable> {
        Box::pin(ready(Ok(None)))
    }

    fn guild_ids(&self, _: &Arc<str>, _: Option<u64>, _: usize) -> Pending<Option<Vec<u64>>, Unavailable> {
        Box::pin(ready(Ok(None)))
    }
}
