//! Publishers over HTTP. Each sends one event after another, and repeats each until its outcome is known.

use std::{sync::Arc, time::Duration};

use fastrand::Rng;
use gateway_harness::{ApiResponse, RequestError, ask, key};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use super::{
    context::{RunContext, RunPhase},
    table::EventDraft,
};
use crate::checker::{PublishOutcome, SenderId};

/// How long one attempt may take: longer than a node waits for its log.
const ATTEMPT: Duration = Duration::from_secs(15);
/// How long an event is retried.
const RETRY_TIME: Duration = Duration::from_secs(40);

/// Returns a random pause, such that `rate` pauses take a second on average.
pub(super) fn pause(rate: u32, rng: &mut Rng) -> Duration {
    Duration::from_secs_f64(2.0 * rng.f64() / f64::from(rate.max(1)))
}

/// A publisher over HTTP.
#[derive(Debug)]
pub(super) struct HttpPublisher {
    /// The node that it tries first.
    pub(super) home: usize,
    /// Events that it sends per second.
    pub(super) rate: u32,
    pub(super) rng: Rng,
}

/// What an answer means for the event.
enum AttemptResult {
    Known(PublishOutcome),
    /// Nothing was appended; a retry may succeed.
    Retry,
    /// The event may or may not have been appended.
    Unknown,
}

impl HttpPublisher {
    /// Publishes events while the run sends.
    pub(super) async fn publish(mut self, mut context: RunContext) {
        let begins = context.phase.wait_for(|phase| *phase != RunPhase::Connecting).await;
        if begins.map(drop).is_err() {
            return;
        }
        let mut sender = context.recorder.open_sender(None);
        loop {
            sleep(pause(self.rate, &mut self.rng)).await;
            if !context.is_sending() {
                return;
            }
            let draft = EventDraft::from_http(&mut self.rng);
            let n = context.recorder.send(sender, &draft);
            let event = draft.request(&draft.d(sender, n));
            let outcome = self.until_known(&context, sender, n, &event).await;
            let is_open = outcome == PublishOutcome::Unknown;
            context.recorder.set_outcome(sender, outcome);
            // The event may still be in flight and would then arrive after the next one, so a new sender begins.
            if is_open {
                sender = context.recorder.open_sender(None);
            }
        }
    }

    /// Sends an event again and again until an answer decides its outcome.
    async fn until_known(&mut self, context: &RunContext, sender: SenderId, n: u64, event: &Value) -> PublishOutcome {
        let bearer = format!("Bearer {}", key("service"));
        let name = format!("{sender}-{n}");
        let headers = [
            ("authorization", &*bearer),
            ("content-type", "application/json"),
            ("idempotency-key", &*name),
        ];
        let event = event.to_string();
        let deadline = Instant::now() + RETRY_TIME;
        let mut is_open = false;
        let mut home = Some(self.home);
        while Instant::now() < deadline {
            // After a failure, any node will do.
            let endpoint = match home.take() {
                Some(home) => context.endpoint(home, &mut self.rng),
                None => context.any_endpoint(&mut self.rng),
            };
            if let Some(endpoint) = endpoint {
                context.recorder.add_attempt(sender, is_open);
                let asked = ask(endpoint.address, "POST", "/api/v1/events", &headers, &event);
                match attempt_result(timeout(ATTEMPT, asked).await.unwrap_or(Err(RequestError::Broken))) {
                    // An earlier attempt may have been delayed and still succeed.
                    AttemptResult::Known(PublishOutcome::Refused) if is_open => return PublishOutcome::Unknown,
                    AttemptResult::Known(outcome) => return outcome,
                    AttemptResult::Retry => {}
                    AttemptResult::Unknown => is_open = true,
                }
            }
            sleep(Duration::from_millis(self.rng.u64(20..200))).await;
        }
        if is_open {
            PublishOutcome::Unknown
        } else {
            PublishOutcome::Refused
        }
    }
}

fn attempt_result(answer: Result<ApiResponse, RequestError>) -> AttemptResult {
    let answer = match answer {
        Ok(answer) => answer,
        Err(RequestError::NotSent) => return AttemptResult::Retry,
        Err(RequestError::Broken) => return AttemptResult::Unknown,
    };
    match answer.status {
        202 => {
            let position = answer.json();
            match (position["offset"].as_u64(), position["epoch"].as_str()) {
                (Some(offset), Some(epoch)) => AttemptResult::Known(PublishOutcome::Accepted {
                    at: Instant::now(),
                    offset,
                    epoch: Arc::from(epoch),
                }),
                _ => panic!("no position in the answer: {answer:?}"),
            }
        }
        503 => AttemptResult::Retry,
        504 => AttemptResult::Unknown,
        409 => AttemptResult::Known(PublishOutcome::Refused),
        _ => panic!("an event of the run was refused: {answer:?}"),
    }
}
