//! The backplane of a single node. Its state is in memory, and is lost when the node stops.

mod application;
mod ids;
mod jobs;
mod receivers;
mod report_state;
mod reports;
mod requests;
mod rotation;
mod scopes;
mod session_table;
mod sessions;
#[cfg(test)]
mod tests;
mod tickets;
mod waiting;

use std::{sync::Arc, time::Duration};

use parking_lot::{Mutex, MutexGuard};
use rustc_hash::FxHashMap;
use shared::{
    job::{JobDelivery, JobId},
    session_id::SessionId,
    v1::{Receipt, Report},
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use self::{application::MemoryApplication, waiting::WaitingLimits};
pub use self::{ids::IdSource, sessions::MemorySessions, tickets::MemoryTickets};
use crate::backplane::{
    Backplane, BackplaneStatus, CommandReach, Deliver, Entry, Epoch, JobLimits, JobRecord, JobState, Jobs, JoinError,
    Joined, Joining, LogRange, LogStatus, Peer, Pending, Position, PublishError, Publishing, Reply, ReplyAddress,
    ReportLimits, Settlement, Unavailable,
};

/// How many ids are tried before a join fails.
const ID_ATTEMPTS: usize = 3;

/// The limits of the backplane.
#[derive(Debug, Clone, Copy)]
pub struct MemoryLimits {
    /// The minimum time between two broadcasts of an application's counts.
    pub count_interval: Duration,
    /// How fast the sessions of a key may change what they report.
    pub reports: ReportLimits,
    /// How long idempotency keys are remembered, and how long an event waits for another receiver after its own have
    /// ended.
    pub retention: Duration,
    /// The maximum bytes of an application's events that wait because their receivers have ended.
    pub waiting_bytes: usize,
    /// The maximum number of idempotency keys remembered for an application.
    pub idempotency_keys: usize,
    /// The bounds of an application's jobs.
    pub jobs: JobLimits,
}

/// A backplane in memory, behind one lock. Assigning an offset and handing the entry on happen under the same lock,
/// which gives all entries one order. The lock is held for a few hash look-ups.
pub struct MemoryBackplane {
    shared: Arc<MemoryShared>,
}

/// The jobs of a [`MemoryBackplane`].
pub struct MemoryJobs {
    shared: Arc<MemoryShared>,
}

struct MemoryShared {
    state: Mutex<MemoryState>,
    deliver: Arc<dyn Deliver>,
    epoch: Epoch,
    limits: MemoryLimits,
    /// Notified when a report starts to wait.
    report_waits: Notify,
    /// Notified when a job may have to be delivered earlier than expected.
    jobs_changed: Notify,
    /// Notified when an application's counts may differ from those broadcast last.
    counts_changed: Notify,
}

struct MemoryState {
    ids: IdSource,
    applications: FxHashMap<Arc<str>, MemoryApplication>,
}

impl MemoryBackplane {
    /// Creates an empty backplane in the epoch `epoch`, and the task that broadcasts counts and applies delayed reports
    /// while it is polled.
    pub fn new(
        ids: IdSource,
        epoch: Epoch,
        limits: MemoryLimits,
        deliver: Arc<dyn Deliver>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let shared = Arc::new(MemoryShared {
            state: Mutex::new(MemoryState {
                ids,
                applications: FxHashMap::default(),
            }),
            deliver,
            epoch,
            limits,
            report_waits: Notify::new(),
            jobs_changed: Notify::new(),
            counts_changed: Notify::new(),
        });
        let (counts, reports, jobs) = (Arc::clone(&shared), Arc::clone(&shared), Arc::clone(&shared));
        let broadcast = async move {
            tokio::join!(counts.broadcast_counts(), reports.apply_reports(), jobs.deliver_jobs());
        };
        (Self { shared }, broadcast)
    }
}

impl MemoryBackplane {
    /// Returns the jobs that it delivers.
    pub fn jobs(&self) -> MemoryJobs {
        MemoryJobs {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl MemoryShared {
    fn lock(&self) -> MutexGuard<'_, MemoryState> {
        // No code panics between two changes that belong together.
        self.state.lock()
    }

    /// Broadcasts each application's counts when they have changed, at most once per interval.
    async fn broadcast_counts(self: Arc<Self>) {
        loop {
            self.counts_changed.notified().await;
            let next = Instant::now() + self.limits.count_interval;
            {
                let mut state = self.lock();
                for application in state.applications.values_mut() {
                    if let Some(entry) = application.broadcast_counts(self.epoch) {
                        self.deliver.deliver(entry);
                    }
                }
            }
            tokio::time::sleep_until(next).await;
        }
    }

    /// Applies delayed reports, each as soon as its key has an allowance again.
    async fn apply_reports(self: Arc<Self>) {
        loop {
            let waits = self.report_waits.notified();
            let (next, changed) = {
                let mut state = self.lock();
                let now = Instant::now();
                let applications = state.applications.values_mut();
                applications.fold((None::<Instant>, false), |(next, changed), application| {
                    let (of_this, entries) = application.apply_waiting(self.epoch, now);
                    self.deliver_all(entries);
                    let next = next.into_iter().chain(of_this).min();
                    (next, changed || application.counts_changed())
                })
            };
            if changed {
                self.counts_changed.notify_one();
            }
            tokio::select! {
                () = waits => {}
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
        }
    }

    /// Delivers jobs, and takes them back from workers that take too long.
    async fn deliver_jobs(self: Arc<Self>) {
        loop {
            let changed = self.jobs_changed.notified();
            let next = {
                let mut state = self.lock();
                let now = Instant::now();
                let applications = state.applications.values_mut();
                let nexts = applications.filter_map(|application| {
                    let undeliverable = application.jobs.expire(self.limits.jobs.kept, now);
                    self.report_undeliverable(&application.name, undeliverable);
                    self.deliver_all(application.assign_jobs(self.epoch, now));
                    application.jobs.next_look(now)
                });
                nexts.min()
            };
            tokio::select! {
                () = changed => {}
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
        }
    }

    /// Delivers the jobs for which there are workers, and has their deadlines watched.
    fn assign_jobs(&self, application: &mut MemoryApplication, now: Instant) {
        if !application.jobs.is_empty() {
            self.deliver_all(application.assign_jobs(self.epoch, now));
            self.jobs_changed.notify_one();
        }
    }

    fn report_undeliverable(&self, application: &str, jobs: impl IntoIterator<Item = (JobId, Arc<str>)>) {
        for (job, event) in jobs {
            self.deliver.undeliverable(application, job, &event);
        }
    }

    /// Changes the jobs of an application, and delivers those for which there is a worker now.
    fn change_jobs<T: Default>(
        &self,
        application: &str,
        change: impl FnOnce(&mut MemoryApplication, Instant) -> T,
    ) -> T {
        let mut state = self.lock();
        let Some(application) = state.applications.get_mut(application) else {
            return T::default();
        };
        let now = Instant::now();
        let result = change(application, now);
        self.assign_jobs(application, now);
        result
    }

    /// Delivers entries. Called under the lock, so that they are delivered in offset order.
    fn deliver_all(&self, entries: Vec<Entry>) {
        for entry in entries {
            self.deliver.deliver(entry);
        }
    }

    const fn waiting_limits(&self) -> WaitingLimits {
        WaitingLimits {
            age: self.limits.retention,
            bytes: self.limits.waiting_bytes,
        }
    }

    fn join(&self, joining: &Joining) -> Result<Joined, JoinError> {
        let mut state = self.lock();
        let MemoryState { ids, applications } = &mut *state;
        for _ in 0..ID_ATTEMPTS {
            let id = ids.next()?;
            // Ids are unique across applications, so that an id identifies one session of the cluster.
            if applications.values().any(|application| application.has(id)) {
                continue;
            }
            let application = applications
                .entry(Arc::clone(&joining.application))
                .or_insert_with(|| MemoryApplication::new(Arc::clone(&joining.application), self.limits.reports));
            return Ok(application.join(id, joining, self.epoch));
        }
        Err(JoinError::IdTaken)
    }

    fn publish(&self, publishing: Publishing) -> Result<Vec<Position>, PublishError> {
        let mut state = self.lock();
        let application = state
            .applications
            .entry(publishing.application)
            .or_insert_with_key(|name| MemoryApplication::new(Arc::clone(name), self.limits.reports));
        let (now, limits) = (Instant::now(), self.limits);
        let is_job: Vec<_> = publishing.events.iter().map(|event| event.job.is_some()).collect();
        let idempotency = publishing.idempotency;
        if let Some(answer) = idempotency
            .as_ref()
            .and_then(|request| application.requests.answer(request, now, limits.retention))
        {
            return answer.map(|first| positions(first, &is_job));
        }
        if idempotency.is_some() {
            application
                .requests
                .make_room(now, limits.retention, limits.idempotency_keys)?;
        }
        let has_room = |bytes| self.deliver.has_room(bytes);
        let (entries, gone) = application.append(
            publishing.events,
            self.epoch,
            self.waiting_limits(),
            limits.jobs,
            has_room,
        )?;
        self.deliver.accepted(&application.name, is_job.len(), now.elapsed());
        for event in gone {
            self.deliver.no_receiver(&application.name, &event);
        }
        let end = Position {
            offset: application.top(),
            epoch: self.epoch,
        };
        let first = entries.first().map_or(end, |entry| entry.position);
        if let Some(request) = idempotency {
            application.requests.remember(request, first, now);
        }
        // Still under the lock, so that entries are delivered in offset order.
        for entry in entries {
            if application.is_unheard(&entry) {
                self.deliver.no_receiver(&entry.application, &entry.name);
            }
            self.deliver.deliver(entry);
        }
        if is_job.contains(&true) {
            self.assign_jobs(application, now);
        }
        Ok(positions(first, &is_job))
    }

    fn change(&self, application: &str, change: impl FnOnce(&mut MemoryApplication)) {
        let changed = {
            let mut state = self.lock();
            state.applications.get_mut(application).is_some_and(|application| {
                change(application);
                application.counts_changed()
            })
        };
        if changed {
            self.counts_changed.notify_one();
        }
    }
}

impl Backplane for MemoryBackplane {
    fn join(&self, joining: Joining) -> Pending<Joined, JoinError> {
        Box::pin(std::future::ready(self.shared.join(&joining)))
    }

    fn ready(&self, application: &str, id: SessionId) {
        let shared = &self.shared;
        shared.change(application, |members| {
            for event in members.expire(shared.waiting_limits(), Instant::now()) {
                shared.deliver.no_receiver(application, &event);
            }
            shared.deliver_all(members.ready(id, shared.epoch));
            shared.assign_jobs(members, Instant::now());
        });
    }

    fn leave(&self, application: &str, id: SessionId) {
        let shared = &self.shared;
        shared.change(application, |application| {
            application.leave(id);
            let now = Instant::now();
            let undeliverable = application.jobs.leave(id, shared.limits.jobs.kept, now);
            shared.report_undeliverable(&application.name, undeliverable);
            shared.assign_jobs(application, now);
        });
    }

    fn report(
        &self,
        application: &str,
        id: SessionId,
        key: &Arc<str>,
        report: Report,
    ) -> Pending<Position, Unavailable> {
        let shared = &self.shared;
        let mut applied = Err(Unavailable);
        let mut delayed = None;
        shared.change(application, |application| {
            match application.report(id, key, report, shared.epoch, Instant::now()) {
                Ok(entries) => shared.deliver_all(entries),
                Err(receiver) => delayed = Some(receiver),
            }
            applied = Ok(Position {
                offset: application.top(),
                epoch: shared.epoch,
            });
        });
        let Some(delayed) = delayed else {
            return Box::pin(std::future::ready(applied));
        };
        self.shared.report_waits.notify_one();
        Box::pin(async { delayed.await.map_err(|_| Unavailable) })
    }

    fn publish(&self, publishing: Publishing) -> Pending<Vec<Position>, PublishError> {
        Box::pin(std::future::ready(self.shared.publish(publishing)))
    }

    fn log_range(&self, application: &str) -> Pending<LogRange, Unavailable> {
        let state = self.shared.lock();
        let end = Position {
            offset: state.applications.get(application).map_or(0, MemoryApplication::top),
            epoch: self.shared.epoch,
        };
        Box::pin(std::future::ready(Ok(LogRange { start: None, end })))
    }

    fn ack(&self, _: &Entry) {}

    fn redeliver(&self, entry: &Entry) {
        let shared = &self.shared;
        shared.change(&entry.application, |application| {
            let (again, gone) = application.redeliver(entry, shared.waiting_limits(), Instant::now());
            for event in gone {
                shared.deliver.no_receiver(&entry.application, &event);
            }
            shared.deliver_all(again.into_iter().collect());
        });
    }

    fn reply_address(&self) -> ReplyAddress {
        // There is no other node.
        ReplyAddress::from_raw(0)
    }

    fn reply(&self, _: ReplyAddress, receipt: Receipt, reply: Reply, _: Instant) {
        self.shared.deliver.replied(receipt, reply);
    }

    fn command_all(&self, application: &Arc<str>, order: &str) -> Pending<CommandReach, Unavailable> {
        self.shared.deliver.command_received(application, order);
        Box::pin(std::future::ready(Ok(CommandReach {
            nodes: 1,
            may_miss_nodes: false,
        })))
    }

    fn is_flushed(&self) -> bool {
        true
    }

    fn status(&self) -> BackplaneStatus {
        let state = self.shared.lock();
        let logs = state.applications.iter().map(|(name, application)| LogStatus {
            application: Arc::clone(name),
            epoch: Some(self.shared.epoch),
            top: application.top(),
            lag: 0,
            behind: Duration::ZERO,
            counts: application.broadcast(),
        });
        BackplaneStatus {
            kind: "memory",
            available: true,
            ready: true,
            problem: None,
            held_bytes: 0,
            logs: logs.collect(),
        }
    }

    fn known_peers(&self) -> Option<Arc<[Peer]>> {
        Some(Arc::default())
    }

    fn retire(&self) -> Pending<(), Unavailable> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn peers(&self) -> Pending<Vec<Peer>, Unavailable> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}

/// Returns the positions of the events of one call. `first` is that of the first event that is not a job. The position of
/// a job means nothing.
fn positions(first: Position, is_job: &[bool]) -> Vec<Position> {
    let mut next = first;
    let position = |is_job: &bool| {
        let position = next;
        next.offset += u64::from(!is_job);
        position
    };
    is_job.iter().map(position).collect()
}

impl Jobs for MemoryJobs {
    fn settle(
        &self,
        application: &str,
        key: &Arc<str>,
        delivery: JobDelivery,
        settlement: Settlement,
    ) -> Pending<bool, Unavailable> {
        let shared = &self.shared;
        let is_settled = shared.change_jobs(application, |application, now| {
            let settled = application
                .jobs
                .settle(key, delivery, settlement, shared.limits.jobs, now);
            let is_settled = settled.is_ok();
            shared.report_undeliverable(&application.name, settled.unwrap_or_default());
            is_settled
        });
        Box::pin(std::future::ready(Ok(is_settled)))
    }

    fn list(&self, application: &str, state: Option<JobState>, limit: usize) -> Pending<Vec<JobRecord>, Unavailable> {
        let shared = self.shared.lock();
        let application = shared.applications.get(application);
        let jobs = application.map_or_else(Vec::new, |application| application.jobs.list(state, limit));
        Box::pin(std::future::ready(Ok(jobs)))
    }

    fn remove(&self, application: &str, id: JobId) -> Pending<bool, Unavailable> {
        let is_removed = self
            .shared
            .change_jobs(application, |application, _| application.jobs.remove(id));
        Box::pin(std::future::ready(Ok(is_removed)))
    }

    fn retry(&self, application: &str, id: JobId) -> Pending<bool, Unavailable> {
        let is_there = self
            .shared
            .change_jobs(application, |application, now| application.jobs.retry(id, now));
        Box::pin(std::future::ready(Ok(is_there)))
    }
}
