//! The queue of publications: one per node, in call order.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use super::wire::Origin;
use crate::{
    backends::redis::application::RedisApplication,
    backplane::{Entry, Idempotency, Pending, Position, Publication, PublishError, WhenUnavailable},
};

/// The maximum number of publications in one batch.
const BATCH: usize = 256;
/// The maximum number of events and of bytes of a batch of more than one publication. The server does nothing else
/// meanwhile.
const BATCH_EVENTS: usize = 1024;
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

/// A publication whose result is not known.
pub(super) struct QueuedPublication {
    pub(super) application: Arc<RedisApplication>,
    pub(super) events: Vec<Publication>,
    pub(super) idempotency: Option<Idempotency>,
    /// Whether it is held while the log is unavailable.
    pub(super) is_patient: bool,
    /// The origin of the first event. The later events have consecutive origins.
    pub(super) origin: Origin,
    pub(super) queued: Instant,
    deadline: Instant,
    bytes: usize,
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

    /// Takes the next batch, which waits for its results from then on. Waits until there is one.
    pub(super) async fn take(&self) -> Vec<QueuedPublication> {
        loop {
            let filled = self.filled.notified();
            let batch = self.state.lock().take_batch();
            if !batch.is_empty() {
                return batch;
            }
            filled.await;
        }
    }

    /// Puts publications back that are to be sent again, before those that were queued after them.
    pub(super) fn put_back(&self, mut items: Vec<QueuedPublication>) {
        // They come from several calls. The sort is stable, so those of one call keep their order.
        items.sort_by_key(|item| item.queued);
        let mut state = self.state.lock();
        for item in items.into_iter().rev() {
            state.waiting.push_front(item);
        }
    }

    /// Gives the caller the result of a publication.
    pub(super) fn settle(&self, item: QueuedPublication, answer: Result<Vec<Position>, PublishError>) {
        self.state.lock().bytes -= item.bytes;
        // The caller may have stopped waiting.
        let _ = item.answer.send(answer);
    }
}

impl PublishQueueState {
    fn take_batch(&mut self) -> Vec<QueuedPublication> {
        let mut batch: Vec<QueuedPublication> = Vec::new();
        let (mut events, mut bytes) = (0, 0);
        while let Some(item) = self.waiting.front() {
            let is_abandoned = item.is_abandoned();
            if !is_abandoned {
                events += item.events.len();
                bytes += item.bytes;
                let is_full = batch.len() >= BATCH || events > BATCH_EVENTS || bytes > BATCH_BYTES;
                if is_full && !batch.is_empty() {
                    break;
                }
            }
            let Some(item) = self.waiting.pop_front() else { break };
            if is_abandoned {
                self.bytes -= item.bytes;
            } else {
                batch.push(item);
            }
        }
        batch
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

/// Refuses those of the waiting publications for which `is_refused` holds.
fn refuse(state: &mut PublishQueueState, error: &PublishError, is_refused: impl Fn(&QueuedPublication) -> bool) {
    let (refused, kept) = std::mem::take(&mut state.waiting).into_iter().partition(is_refused);
    state.waiting = kept;
    let refused: VecDeque<QueuedPublication> = refused;
    for item in refused {
        state.bytes -= item.bytes;
        let _ = item.answer.send(Err(error.clone()));
    }
}
