//! The jobs of one application, and the workers that take them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use rustc_hash::FxHashMap;
use shared::{
    client_type::{ClientType, ClientTypes},
    job::{JobDelivery, JobId},
    session_id::SessionId,
    user::UserId,
};
use tokio::time::Instant;

use crate::{
    backplane::{
        JOB_OVERHEAD, JobLimits, JobRecord, JobState, LISTED_BYTES, Publication, Settlement, TraceParent, Worker,
    },
    clock,
};

/// The jobs of one application.
#[derive(Debug, Default)]
pub(super) struct JobTable {
    jobs: FxHashMap<JobId, JobEntry>,
    /// The bytes of all jobs.
    bytes: usize,
    /// The jobs that wait, by the types that may receive them.
    waiting: BTreeMap<u8, WaitingJobs>,
    /// The jobs that a worker has, by their deadline.
    delivered: BTreeSet<(Instant, JobId)>,
    /// The undeliverable jobs, by the time at which they are forgotten.
    undeliverable: BTreeSet<(Instant, JobId)>,
    workers: FxHashMap<SessionId, WorkerState>,
    /// The workers that are ready and have free places, by their turn.
    turns: BTreeMap<u64, SessionId>,
    last_turn: u64,
    last_number: u64,
}

/// Jobs that wait, by the time from which they can be delivered, and their number.
type WaitingJobs = BTreeSet<(Instant, u64, JobId)>;

/// How many jobs one call passes over that the only free worker has published itself.
const MOST_PASSED_OVER: usize = 64;
/// How long these then wait at least, so that others come before them.
const PASSED_OVER: Duration = Duration::from_secs(1);

/// One job.
#[derive(Debug)]
struct JobEntry {
    name: Arc<str>,
    d: Arc<str>,
    receivers: ClientTypes,
    author: Option<SessionId>,
    user: Option<UserId>,
    trace: Option<Box<TraceParent>>,
    ack_timeout: Duration,
    /// How often it is delivered at most, and how often it was.
    most: u32,
    attempts: u32,
    /// The number of the last delivery. It goes on if the attempts are counted from 1 again.
    deliveries: u32,
    /// When it was accepted, in milliseconds since the Unix epoch.
    at: u64,
    phase: JobPhase,
    /// The worker that had it last.
    last: Option<SessionId>,
    /// The key of the worker that was given it, by the number of the delivery.
    keys: FxHashMap<u32, Arc<str>>,
}

/// Where a job is.
#[derive(Debug, Clone, Copy)]
enum JobPhase {
    Waiting { from: Instant, number: u64 },
    Delivered { until: Instant, to: SessionId },
    Undeliverable { until: Instant },
}

#[derive(Debug)]
struct WorkerState {
    worker: Worker,
    kind: ClientType,
    is_ready: bool,
    held: BTreeSet<JobId>,
    /// Its key in the turns, if it is there.
    turn: Option<u64>,
}

/// No worker with a free place can have a job.
#[derive(Debug, Clone, Copy)]
struct NoWorker {
    /// Whether the session that published it could, if it were another one.
    is_author_there: bool,
}

/// The receipt is unknown, of another key, or done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReceiptOver;

/// A delivery that is to be appended to the log.
#[derive(Debug)]
pub(super) struct Assignment {
    pub(super) session: SessionId,
    pub(super) delivery: JobDelivery,
    pub(super) attempt: u32,
    pub(super) name: Arc<str>,
    pub(super) user: Option<UserId>,
    pub(super) trace: Option<Box<TraceParent>>,
    pub(super) d: Arc<str>,
}

impl JobEntry {
    fn bytes(&self) -> usize {
        self.name.len() + self.d.len() + JOB_OVERHEAD
    }
}

impl JobTable {
    /// Whether there are no jobs.
    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Returns the index of the first job that does not fit, if there is one. A job that is there already fits.
    pub(super) fn first_beyond(&self, events: &[Publication], limits: JobLimits) -> Option<usize> {
        let (mut count, mut bytes) = (self.jobs.len(), self.bytes);
        for (index, event) in events.iter().enumerate() {
            let Some(job) = &event.job else { continue };
            if self.jobs.contains_key(&job.id) {
                continue;
            }
            count += 1;
            bytes += event.name.len() + event.d.len() + JOB_OVERHEAD;
            if count > limits.entries || bytes > limits.bytes {
                return Some(index);
            }
        }
        None
    }

    /// Adds a job. Does nothing if it is there already.
    pub(super) fn add(&mut self, event: Publication, now: Instant) {
        let Some(job) = event.job else { return };
        if self.jobs.contains_key(&job.id) {
            return;
        }
        let phase = self.wait(job.id, event.receivers, now);
        let entry = JobEntry {
            name: event.name,
            d: event.d,
            receivers: event.receivers,
            author: event.author,
            user: event.user,
            trace: event.trace,
            ack_timeout: job.ack_timeout,
            most: job.attempts,
            attempts: 0,
            deliveries: 0,
            at: clock::unix_ms(),
            phase,
            last: None,
            keys: FxHashMap::default(),
        };
        self.bytes += entry.bytes();
        self.jobs.insert(job.id, entry);
    }

    fn wait(&mut self, id: JobId, receivers: ClientTypes, from: Instant) -> JobPhase {
        self.last_number += 1;
        let number = self.last_number;
        self.waiting
            .entry(receivers.bits())
            .or_default()
            .insert((from, number, id));
        JobPhase::Waiting { from, number }
    }

    /// Adds a worker, which gets jobs once it is ready.
    pub(super) fn join(&mut self, id: SessionId, kind: ClientType, worker: Worker) {
        let state = WorkerState {
            worker,
            kind,
            is_ready: false,
            held: BTreeSet::new(),
            turn: None,
        };
        self.workers.insert(id, state);
    }

    /// Lets a session get jobs, if it is a worker.
    pub(super) fn ready(&mut self, id: SessionId) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.is_ready = true;
            self.offer(id);
        }
    }

    /// Removes a session. The jobs that it has are delivered to other workers. Returns those that are undeliverable now.
    pub(super) fn leave(&mut self, id: SessionId, kept: Duration, now: Instant) -> Vec<(JobId, Arc<str>)> {
        let Some(worker) = self.workers.remove(&id) else {
            return Vec::new();
        };
        if let Some(turn) = worker.turn {
            self.turns.remove(&turn);
        }
        let held = worker.held.into_iter();
        held.filter_map(|job| self.take_back(job, now, kept, now)).collect()
    }

    /// Gives a worker a turn, if it has a free place and no turn yet.
    fn offer(&mut self, id: SessionId) {
        if let Some(worker) = self.workers.get_mut(&id)
            && worker.is_ready
            && worker.turn.is_none()
            && worker.held.len() < usize::from(worker.worker.places)
        {
            self.last_turn += 1;
            worker.turn = Some(self.last_turn);
            self.turns.insert(self.last_turn, id);
        }
    }

    fn release(&mut self, job: JobId, session: SessionId) {
        if let Some(worker) = self.workers.get_mut(&session) {
            worker.held.remove(&job);
            self.offer(session);
        }
    }

    /// Makes a job wait until `from` that a worker had, or undeliverable if its attempts are used up. Returns it if it is
    /// undeliverable now.
    fn take_back(&mut self, id: JobId, from: Instant, kept: Duration, now: Instant) -> Option<(JobId, Arc<str>)> {
        let entry = self.jobs.get(&id)?;
        let JobPhase::Delivered { until, .. } = entry.phase else {
            return None;
        };
        let (is_over, receivers) = (entry.attempts >= entry.most, entry.receivers);
        let name = Arc::clone(&entry.name);
        self.delivered.remove(&(until, id));
        let phase = if is_over {
            let until = now + kept;
            self.undeliverable.insert((until, id));
            JobPhase::Undeliverable { until }
        } else {
            self.wait(id, receivers, from)
        };
        if let Some(entry) = self.jobs.get_mut(&id) {
            entry.phase = phase;
        }
        is_over.then_some((id, name))
    }

    /// Ends a delivery. Returns the job if it is undeliverable now.
    pub(super) fn settle(
        &mut self,
        key: &Arc<str>,
        delivery: JobDelivery,
        settlement: Settlement,
        limits: JobLimits,
        now: Instant,
    ) -> Result<Option<(JobId, Arc<str>)>, ReceiptOver> {
        let entry = self.jobs.get(&delivery.job).ok_or(ReceiptOver)?;
        if entry.keys.get(&delivery.number) != Some(key) {
            return Err(ReceiptOver);
        }
        match (settlement, entry.phase) {
            (Settlement::Ack, _) => {
                self.remove(delivery.job);
                Ok(None)
            }
            (Settlement::Nack { delay }, JobPhase::Delivered { to, .. }) if delivery.number == entry.deliveries => {
                let from = now + delay.unwrap_or(limits.retry);
                let undeliverable = self.take_back(delivery.job, from, limits.kept, now);
                self.release(delivery.job, to);
                Ok(undeliverable)
            }
            (Settlement::Nack { .. }, _) => Err(ReceiptOver),
        }
    }

    /// Removes a job. Returns `false` if there is none with this id.
    pub(super) fn remove(&mut self, id: JobId) -> bool {
        let Some(entry) = self.jobs.remove(&id) else {
            return false;
        };
        self.bytes -= entry.bytes();
        self.leave_phase(id, entry.receivers, entry.phase);
        true
    }

    /// Removes a job from where it is.
    fn leave_phase(&mut self, id: JobId, receivers: ClientTypes, phase: JobPhase) {
        match phase {
            JobPhase::Waiting { from, number } => self.stop_waiting(receivers, &(from, number, id)),
            JobPhase::Delivered { until, to } => {
                self.delivered.remove(&(until, id));
                self.release(id, to);
            }
            JobPhase::Undeliverable { until } => drop(self.undeliverable.remove(&(until, id))),
        }
    }

    fn stop_waiting(&mut self, receivers: ClientTypes, job: &(Instant, u64, JobId)) {
        if let Some(waiting) = self.waiting.get_mut(&receivers.bits()) {
            waiting.remove(job);
            if waiting.is_empty() {
                self.waiting.remove(&receivers.bits());
            }
        }
    }

    /// Makes a job wait for a worker, with all of its attempts. Returns `false` if there is none with this id.
    pub(super) fn retry(&mut self, id: JobId, now: Instant) -> bool {
        let Some(entry) = self.jobs.get(&id) else {
            return false;
        };
        let (receivers, phase) = (entry.receivers, entry.phase);
        self.leave_phase(id, receivers, phase);
        let phase = self.wait(id, receivers, now);
        if let Some(entry) = self.jobs.get_mut(&id) {
            (entry.phase, entry.attempts) = (phase, 0);
        }
        true
    }

    /// Takes back the jobs whose workers took too long, and forgets undeliverable ones that were kept long enough. Returns
    /// those that are undeliverable now.
    pub(super) fn expire(&mut self, kept: Duration, now: Instant) -> Vec<(JobId, Arc<str>)> {
        let mut undeliverable = Vec::new();
        while let Some((until, id)) = self.delivered.first().copied()
            && until <= now
        {
            let holder = self.jobs.get(&id).and_then(|entry| match entry.phase {
                JobPhase::Delivered { to, .. } => Some(to),
                _ => None,
            });
            undeliverable.extend(self.take_back(id, now, kept, now));
            if let Some(holder) = holder {
                self.release(id, holder);
            }
        }
        while let Some((until, id)) = self.undeliverable.first().copied()
            && until <= now
        {
            self.remove(id);
        }
        undeliverable
    }

    /// Chooses workers for the jobs that wait, as many as there are free places.
    pub(super) fn assign(&mut self, now: Instant) -> Vec<Assignment> {
        let mut assignments = Vec::new();
        let masks: Vec<_> = self.waiting.keys().copied().collect();
        for mask in masks {
            let mut passed = 0;
            while passed < MOST_PASSED_OVER {
                let waiting = self.waiting.get(&mask);
                let next = waiting.and_then(|waiting| waiting.first().copied());
                let Some((from, number, id)) = next.filter(|(from, ..)| *from <= now) else {
                    break;
                };
                let Some(entry) = self.jobs.get(&id) else { break };
                match self.choose(entry) {
                    Ok(session) => {
                        self.stop_waiting(ClientTypes::from_bits(mask), &(from, number, id));
                        assignments.extend(self.give(id, session, now));
                    }
                    Err(NoWorker { is_author_there: true }) => {
                        passed += 1;
                        self.stop_waiting(ClientTypes::from_bits(mask), &(from, number, id));
                        let phase = self.wait(id, ClientTypes::from_bits(mask), now + PASSED_OVER);
                        if let Some(entry) = self.jobs.get_mut(&id) {
                            entry.phase = phase;
                        }
                    }
                    Err(NoWorker { is_author_there: false }) => break,
                }
            }
        }
        assignments
    }

    /// Chooses the next worker for a job: not the one that had it last, if there is another.
    fn choose(&self, entry: &JobEntry) -> Result<SessionId, NoWorker> {
        let can_have = |id: &SessionId| {
            let worker = self.workers.get(id);
            worker.is_some_and(|worker| entry.receivers.contains(worker.kind))
        };
        let (mut last, mut is_author_there) = (None, false);
        for id in self.turns.values().filter(|id| can_have(id)) {
            if entry.author == Some(*id) {
                is_author_there = true;
            } else if entry.last == Some(*id) {
                last = Some(*id);
            } else {
                return Ok(*id);
            }
        }
        last.ok_or(NoWorker { is_author_there })
    }

    fn give(&mut self, id: JobId, session: SessionId, now: Instant) -> Option<Assignment> {
        let worker = self.workers.get_mut(&session)?;
        let entry = self.jobs.get_mut(&id)?;
        entry.attempts += 1;
        entry.deliveries += 1;
        entry.last = Some(session);
        entry.keys.insert(entry.deliveries, Arc::clone(&worker.worker.key));
        let until = now + entry.ack_timeout;
        entry.phase = JobPhase::Delivered { until, to: session };
        self.delivered.insert((until, id));
        worker.held.insert(id);
        if let Some(turn) = worker.turn.take() {
            self.turns.remove(&turn);
        }
        let assignment = Assignment {
            session,
            delivery: JobDelivery {
                job: id,
                number: entry.deliveries,
            },
            attempt: entry.attempts,
            name: Arc::clone(&entry.name),
            user: entry.user.clone(),
            trace: entry.trace.clone(),
            d: Arc::clone(&entry.d),
        };
        self.offer(session);
        Some(assignment)
    }

    /// Returns when to look again for deadlines, and for jobs whose delay is over. Jobs that wait for a worker alone are
    /// given to it when it has a free place.
    pub(super) fn next_look(&self, now: Instant) -> Option<Instant> {
        let delayed = (now, u64::MAX, JobId::from_raw(u128::MAX));
        let times = [
            self.waiting
                .values()
                .filter_map(|waiting| waiting.range(delayed..).next())
                .map(|(from, ..)| *from)
                .min(),
            self.delivered.first().map(|(until, _)| *until),
            self.undeliverable.first().map(|(until, _)| *until),
        ];
        times.into_iter().flatten().min()
    }

    /// Returns up to `limit` jobs in this state, or in any, until their data reach [`LISTED_BYTES`].
    pub(super) fn list(&self, state: Option<JobState>, limit: usize) -> Vec<JobRecord> {
        let records = self.jobs.iter().map(|(id, entry)| JobRecord {
            id: *id,
            name: Arc::clone(&entry.name),
            d: Arc::clone(&entry.d),
            state: match entry.phase {
                JobPhase::Waiting { .. } => JobState::Waiting,
                JobPhase::Delivered { .. } => JobState::Delivered,
                JobPhase::Undeliverable { .. } => JobState::Undeliverable,
            },
            attempts: entry.attempts,
            at: entry.at,
        });
        let mut records: Vec<_> = records
            .filter(|it| state.is_none_or(|state| it.state == state))
            .collect();
        records.sort_by_key(|record| (record.at, record.id));
        records.truncate(limit);
        let mut bytes = 0;
        let end = records.iter().position(|record| {
            bytes += record.d.len();
            bytes >= LISTED_BYTES
        });
        records.truncate(end.map_or(limit, |last| last + 1));
        records
    }
}
