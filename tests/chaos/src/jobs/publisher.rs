//! The publishers of the jobs, which repeat what they have no answer to, and the flood of other events.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use fastrand::Rng;
use gateway_harness::{ask, key};
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::{NodeAddresses, ledger::Ledger};
use crate::{
    checker::ClientKind,
    socket::{SocketEvent, V1Socket},
};

/// How long a node may take to answer before a publisher tries again.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// The pause before another attempt.
const BACKOFF: Duration = Duration::from_millis(50);

/// Numbers the jobs of all publishers.
#[derive(Debug)]
pub(super) struct JobCounter {
    next: AtomicU64,
    total: u64,
}

impl JobCounter {
    pub(super) const fn new(total: u64) -> Self {
        Self {
            next: AtomicU64::new(0),
            total,
        }
    }

    /// Returns the number of the next job, or `None` if there are enough.
    fn next(&self) -> Option<u64> {
        let number = self.next.fetch_add(1, Relaxed);
        (number < self.total).then_some(number)
    }

    pub(super) fn is_done(&self) -> bool {
        self.next.load(Relaxed) >= self.total
    }
}

/// One publisher, which publishes over HTTP.
pub(super) struct JobPublisher {
    pub(super) nodes: NodeAddresses,
    pub(super) ledger: Ledger,
    pub(super) counter: Arc<JobCounter>,
    /// The time between two of its jobs.
    pub(super) pause: Duration,
}

impl JobPublisher {
    /// Publishes until all publishers together have published enough.
    pub(super) async fn run(self, mut rng: Rng) {
        let mut ticks = interval(self.pause);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        while let Some(number) = self.counter.next() {
            ticks.tick().await;
            self.ledger.publishing(number);
            while !self.publish(number, &mut rng).await {
                self.ledger.repeated();
                sleep(BACKOFF).await;
            }
        }
    }

    /// Publishes a job at any node, with the same idempotency key each time. Returns whether the answer is final.
    async fn publish(&self, number: u64, rng: &mut Rng) -> bool {
        let open: Vec<_> = self.nodes.borrow().iter().copied().flatten().collect();
        let Some(&node) = rng.choice(&open) else { return false };
        let body = json!({ "t": "work", "d": { "number": number } }).to_string();
        let (bearer, idempotency) = (format!("Bearer {}", key("service")), format!("job-{number}"));
        let headers = [
            ("authorization", &*bearer),
            ("content-type", "application/json"),
            ("idempotency-key", &*idempotency),
        ];
        let asked = ask(node, "POST", "/api/v1/events", &headers, &body);
        let Ok(Ok(answer)) = timeout(ANSWER_TIME, asked).await else {
            return false;
        };
        match answer.status {
            202 => {
                let answer = answer.json();
                self.ledger
                    .accepted(number, answer["job"].as_str().unwrap_or_else(|| panic!("{answer}")));
                true
            }
            500.. => false,
            status => {
                self.ledger.refused(status);
                true
            }
        }
    }
}

/// Publishes this many events a second that nobody reads, until it is dropped, and counts those that were sent.
pub(super) async fn flood(nodes: NodeAddresses, rate: u32, sent: Arc<AtomicU64>) {
    let mut ticks = interval(Duration::from_secs(1) / rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let event = json!({ "op": 1, "t": "flood", "d": { "text": "x".repeat(200) } });
    loop {
        let node = nodes.borrow().iter().copied().flatten().next();
        if let Some(node) = node
            && let Some(mut socket) = V1Socket::open(node, ClientKind::Service, &key("service")).await
        {
            loop {
                tokio::select! {
                    _ = ticks.tick() => match socket.send(&event).await {
                        Some(()) => sent.fetch_add(1, Relaxed),
                        None => break,
                    },
                    received = socket.next() => match received {
                        SocketEvent::Payload(_) => continue,
                        SocketEvent::Ended(_) => break,
                    },
                };
            }
        }
        sleep(BACKOFF).await;
    }
}
