//! Appends events to the logs: one queue per node, in call order, with at most one batch in flight.
//!
//! A publication is sent once per connection. If the connection ends before the reply, the next one first asks for its
//! outcome. By then the old fence has been superseded, so a command still in flight can no longer take effect. Thus
//! nothing is appended twice, and nothing appended is reported as refused.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::Mutex;
use redis::Cmd;
use sha2::{Digest, Sha256};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use super::{
    bounds::LogBounds,
    wire::{self, NONE, Origin},
};
use crate::{
    backends::redis::{
        application::RedisApplication,
        connection::{
            problem::RedisProblem,
            redis_connection::{RedisConnection, ReplyFields, ReplyResult},
        },
        scripts::Script,
    },
    backplane::{
        Deliver, Entry, Idempotency, JobLimits, Pending, Position, Publication, PublishError, WhenUnavailable,
    },
};

/// The maximum number of publications in one batch. The server remembers the outcome of a node's last 1024.
const BATCH: usize = 256;
/// The maximum bytes of a batch of more than one publication.
const BATCH_BYTES: usize = 1 << 20;
/// How long a caller waits for a result, besides the time for which its events are held.
const PROMPT: Duration = Duration::from_secs(8);

/// The queue of publications.
pub(in crate::backends::redis) struct PublishQueue {
    state: Mutex<PublishQueueState>,
    filled: Notify,
    /// The maximum bytes in the queue, including the batch in flight.
    limit: usize,
    hold: Duration,
}

#[derive(Default)]
struct PublishQueueState {
    waiting: VecDeque<QueuedPublication>,
    bytes: usize,
    next_origin: Origin,
    /// Whether there is a connection. Without one, only events that may be held are queued.
    is_open: bool,
}

struct QueuedPublication {
    application: Arc<RedisApplication>,
    events: Vec<Publication>,
    idempotency: Option<Idempotency>,
    is_patient: bool,
    /// The origin of the first event. The later events have consecutive origins.
    origin: Origin,
    queued: Instant,
    deadline: Instant,
    bytes: usize,
    /// The owner and fence under which it was sent, and its number under that fence.
    sent: Option<(Arc<str>, u64, u64)>,
    answer: oneshot::Sender<Result<Vec<Position>, PublishError>>,
}

impl QueuedPublication {
    /// Whether it is a request whose requester has stopped waiting.
    fn is_abandoned(&self) -> bool {
        self.answer.is_closed() && self.events.iter().all(|event| event.request.is_some())
    }
}

impl PublishQueue {
    /// Creates a queue of up to `limit` bytes, in which an event waits for at most `hold`. `origin`, a random number,
    /// distinguishes its events from those of other nodes.
    pub(in crate::backends::redis) fn new(limit: usize, hold: Duration, origin: Origin) -> Self {
        Self {
            state: Mutex::new(PublishQueueState {
                next_origin: origin,
                ..PublishQueueState::default()
            }),
            filled: Notify::new(),
            limit,
            hold,
        }
    }

    /// Queues events.
    pub(in crate::backends::redis) fn push(
        &self,
        application: Arc<RedisApplication>,
        events: Vec<Publication>,
        idempotency: Option<Idempotency>,
        when_unavailable: WhenUnavailable,
    ) -> Pending<Vec<Position>, PublishError> {
        let refused = |error| Box::pin(std::future::ready(Err(error)));
        let bytes = events.iter().map(|event| Entry::weight_of(&event.name, &event.d)).sum();
        let is_patient = when_unavailable == WhenUnavailable::Hold;
        let (answer, answered) = oneshot::channel();
        let queued = Instant::now();
        {
            let mut state = self.state.lock();
            if !is_patient && !state.is_open {
                return refused(PublishError::Unavailable);
            }
            if state.bytes > 0 && state.bytes.saturating_add(bytes) > self.limit {
                // While the log is unavailable, that is the reason for the full queue.
                let is_open = state.is_open;
                return refused(if is_open {
                    PublishError::Overloaded
                } else {
                    PublishError::Unavailable
                });
            }
            let origin = if let Some(request) = &idempotency {
                // The same request has the same origin, on any node.
                origin_of(&application.name, request)
            } else {
                let origin = state.next_origin;
                state.next_origin = origin.wrapping_add(events.len() as Origin);
                origin
            };
            application.acceptances.record(origin, events.len(), queued);
            state.bytes += bytes;
            state.waiting.push_back(QueuedPublication {
                application,
                events,
                idempotency,
                is_patient,
                origin,
                queued,
                deadline: queued + self.hold,
                bytes,
                sent: None,
                answer,
            });
        }
        self.filled.notify_one();
        // Held events are refused after `hold`. One that is in flight then is given as long as any other to be answered.
        let patience = if is_patient { self.hold + PROMPT } else { PROMPT };
        Box::pin(async move {
            match tokio::time::timeout(patience, answered).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) | Err(_) => Err(PublishError::Unknown),
            }
        })
    }

    /// Opens or closes the queue. Closing it refuses the unsent publications that are not to be held
    /// ([`WhenUnavailable::Fail`]).
    pub(in crate::backends::redis) fn set_open(&self, is_open: bool) {
        let mut state = self.state.lock();
        state.is_open = is_open;
        if !is_open {
            refuse(&mut state, &PublishError::Unavailable, |item| !item.is_patient);
        }
    }

    /// Refuses publications that have waited too long.
    pub(in crate::backends::redis) fn expire(&self, now: Instant) {
        let mut state = self.state.lock();
        // The oldest is always at the front, even after publications were put back.
        if state.waiting.front().is_some_and(|item| item.deadline <= now) {
            refuse(&mut state, &PublishError::Expired, |item| item.deadline <= now);
        }
    }

    /// The bytes of the publications that are queued or in flight.
    pub(in crate::backends::redis) fn bytes(&self) -> usize {
        self.state.lock().bytes
    }

    /// Whether nothing is queued or in flight.
    pub(in crate::backends::redis) fn is_empty(&self) -> bool {
        self.bytes() == 0
    }

    fn put_back(&self, items: impl DoubleEndedIterator<Item = QueuedPublication>) {
        let mut state = self.state.lock();
        for mut item in items.rev() {
            item.sent = None;
            state.waiting.push_front(item);
        }
    }

    fn settle(&self, item: QueuedPublication, answer: Result<Vec<Position>, PublishError>) {
        self.state.lock().bytes -= item.bytes;
        // The caller may have stopped waiting.
        let _ = item.answer.send(answer);
    }
}

fn origin_of(application: &str, request: &Idempotency) -> Origin {
    let digest = Sha256::new()
        .chain_update(application)
        .chain_update([0])
        .chain_update(&*request.key)
        .finalize();
    digest
        .iter()
        .take(8)
        .fold(0, |origin, byte| origin << 8 | Origin::from(*byte))
}

fn refuse(state: &mut PublishQueueState, error: &PublishError, is_refused: impl Fn(&QueuedPublication) -> bool) {
    let (refused, kept) = std::mem::take(&mut state.waiting).into_iter().partition(is_refused);
    state.waiting = kept;
    let refused: VecDeque<QueuedPublication> = refused;
    for item in refused {
        state.bytes -= item.bytes;
        let _ = item.answer.send(Err(error.clone()));
    }
}

/// Appends the queued publications.
pub(in crate::backends::redis) struct Publisher {
    queue: Arc<PublishQueue>,
    deliver: Arc<dyn Deliver>,
    bounds: LogBounds,
    /// The maximum number of idempotency keys remembered for an application.
    idempotency_keys: usize,
    jobs: JobLimits,
    /// How long a lease lasts.
    lease: Duration,
    /// The publications sent but not yet answered, in order.
    unanswered: VecDeque<QueuedPublication>,
}

impl Publisher {
    pub(in crate::backends::redis) const fn new(
        queue: Arc<PublishQueue>,
        deliver: Arc<dyn Deliver>,
        bounds: LogBounds,
        idempotency_keys: usize,
        jobs: JobLimits,
        lease: Duration,
    ) -> Self {
        Self {
            queue,
            deliver,
            bounds,
            idempotency_keys,
            jobs,
            lease,
            unanswered: VecDeque::new(),
        }
    }

    /// Finds the outcome of the publications that were unanswered when the last connection ended. The node has
    /// registered again by now.
    pub(in crate::backends::redis) async fn resolve(
        &mut self,
        connection: &RedisConnection,
    ) -> Result<(), RedisProblem> {
        let questions = self.unanswered.iter().filter_map(|item| {
            let (owner, fence, n) = item.sent.as_ref()?;
            let mut head_query = redis::cmd("HGET");
            head_query.arg(item.application.key(format_args!("producer:{owner}:{fence}")));
            head_query.arg(n % 1024);
            Some(head_query)
        });
        // If the server refuses the query, the outcome of its publication is still unknown.
        let answers: Vec<_> = connection.run(questions).await?.into_iter().collect::<Result<_, _>>()?;
        let mut again = Vec::new();
        for (item, answer) in std::mem::take(&mut self.unanswered).into_iter().zip(answers) {
            let remembered = answer.word(0).to_owned();
            let n = item.sent.as_ref().map_or(0, |(_, _, n)| *n);
            match remembered.split_once(' ') {
                Some((number, answer)) if number.parse() == Ok(n) => {
                    let fields: Vec<_> = answer.split(' ').collect();
                    self.answer(item, &fields, connection)?;
                }
                _ => again.push(item),
            }
        }
        self.queue.put_back(again.into_iter());
        Ok(())
    }

    /// Appends until the connection ends, or until `ending` is notified: then the batch in flight is the last.
    pub(in crate::backends::redis) async fn run(
        &mut self,
        connection: &RedisConnection,
        ending: &Notify,
    ) -> RedisProblem {
        // The numbers restart with each fence.
        let mut numbers = rustc_hash::FxHashMap::<Arc<str>, u64>::default();
        loop {
            tokio::select! {
                biased;
                () = ending.notified() => return connection.nonsense("another task has given up the connection"),
                () = self.take(&mut numbers) => {}
            }
            let calls: Vec<_> = self.unanswered.iter().map(|item| self.call(item, connection)).collect();
            let is_flushed = match connection.run(calls).await {
                Ok(answers) => self.settle(answers, &mut numbers, connection),
                Err(problem) => Err(problem),
            };
            if let Err(problem) = is_flushed {
                return problem;
            }
        }
    }

    /// Takes the next batch and numbers it.
    async fn take(&mut self, numbers: &mut rustc_hash::FxHashMap<Arc<str>, u64>) {
        loop {
            let filled = self.queue.filled.notified();
            {
                let mut state = self.queue.state.lock();
                let mut bytes = 0;
                while let Some(item) = state.waiting.front() {
                    if item.is_abandoned() {
                        state.bytes -= item.bytes;
                        state.waiting.pop_front();
                        continue;
                    }
                    bytes += item.bytes;
                    let is_full = self.unanswered.len() >= BATCH || bytes > BATCH_BYTES;
                    if is_full && !self.unanswered.is_empty() {
                        break;
                    }
                    let Some(mut item) = state.waiting.pop_front() else {
                        break;
                    };
                    let registration = item.application.registration();
                    let last = numbers.entry(Arc::clone(&item.application.name)).or_default();
                    *last += 1;
                    item.sent = Some((registration.owner, registration.fence, *last));
                    self.unanswered.push_back(item);
                }
            }
            if !self.unanswered.is_empty() {
                return;
            }
            filled.await;
        }
    }

    fn call(&self, item: &QueuedPublication, connection: &RedisConnection) -> Cmd {
        let mut call = item.application.call_log(connection, Script::Publish);
        call.arg(item.sent.as_ref().map_or(0, |(_, _, n)| *n));
        self.bounds.add_to(&mut call);
        match &item.idempotency {
            Some(request) => call.arg(&*request.key).arg(format!("{:016x}", request.digest)),
            None => call.arg(NONE).arg(NONE),
        };
        // Right after an outage every lease has expired, and live nodes have not renewed theirs yet.
        let may_judge = connection.since().elapsed() > self.lease;
        call.arg(self.idempotency_keys)
            .arg(u8::from(may_judge))
            .arg(self.jobs.entries)
            .arg(self.jobs.bytes);
        for (origin, event) in (item.origin..).zip(&item.events) {
            wire::add_event(&mut call, event, origin);
        }
        call
    }

    fn settle(
        &mut self,
        answers: Vec<ReplyResult>,
        numbers: &mut rustc_hash::FxHashMap<Arc<str>, u64>,
        connection: &RedisConnection,
    ) -> Result<(), RedisProblem> {
        let mut again = Vec::new();
        let mut problem = None;
        for answer in answers {
            let Some(item) = self.unanswered.pop_front() else { break };
            match answer {
                Ok(fields) if fields.word(0) == "gap" => {
                    // The publication before it was not appended, so this one was not either.
                    numbers.insert(Arc::clone(&item.application.name), fields.number(1));
                    again.push(item);
                }
                Ok(fields) if fields.word(0) == "fenced" => {
                    self.unanswered.push_front(item);
                    problem = Some(connection.fenced());
                    break;
                }
                Ok(fields) => {
                    if let Err(nonsense) = self.answer(item, &all(&fields), connection) {
                        problem = Some(nonsense);
                        break;
                    }
                }
                // It was not appended. A caller that can retry gets the error; the others wait as they do without a
                // server.
                Err(refusal) => {
                    if item.is_patient {
                        again.push(item);
                    } else {
                        let cause = refusal.to_string().into();
                        self.queue.settle(item, Err(PublishError::Refused { cause }));
                    }
                    problem.get_or_insert(refusal);
                }
            }
        }
        self.queue.put_back(again.into_iter());
        problem.map_or(Ok(()), Err)
    }

    /// Passes the script's result to the caller.
    fn answer(
        &self,
        item: QueuedPublication,
        fields: &[&str],
        connection: &RedisConnection,
    ) -> Result<(), RedisProblem> {
        let number = |place: usize| fields.get(place).and_then(|word: &&str| word.parse::<u64>().ok());
        let answer = match (fields.first().copied(), number(1)) {
            (Some("no_receiver"), Some(index)) => Err(PublishError::NoReceiver {
                index: usize::try_from(index).unwrap_or(0),
            }),
            (Some("too_many_jobs"), Some(index)) => Err(PublishError::TooManyJobs {
                index: usize::try_from(index).unwrap_or(0),
            }),
            (Some("key_reused"), _) => Err(PublishError::KeyReused),
            (Some("too_many_keys"), Some(ms)) => Err(PublishError::TooManyKeys {
                retry_after: Duration::from_millis(ms),
            }),
            (Some("ok"), _) => {
                let epoch = fields.get(1).and_then(|word| wire::epoch(word).ok());
                let (Some(epoch), Some(first)) = (epoch, number(2)) else {
                    return Err(connection.nonsense("a publication without a position"));
                };
                // A job has no place in the log.
                let mut offset = first;
                let mut positions = Vec::with_capacity(item.events.len());
                for event in &item.events {
                    positions.push(Position { offset, epoch });
                    offset += u64::from(event.job.is_none());
                }
                if fields.get(4) != Some(&"again") {
                    let took = Instant::now().saturating_duration_since(item.queued);
                    self.deliver.accepted(&item.application.name, item.events.len(), took);
                }
                if offset > first {
                    let offset = offset - 1;
                    item.application.note_entry(Position { offset, epoch });
                }
                for event in item
                    .events
                    .iter()
                    .take(number(3).and_then(|n| usize::try_from(n).ok()).unwrap_or(0))
                {
                    self.deliver.no_receiver(&item.application.name, &event.name);
                }
                Ok(positions)
            }
            _ => return Err(connection.nonsense("an unknown result of a publication")),
        };
        self.queue.settle(item, answer);
        Ok(())
    }
}

fn all(fields: &ReplyFields) -> Vec<&str> {
    fields.rest(0).collect()
}
