//! Who sends over HTTP: one event after the other, each until it is known what became of it.

use std::{sync::Arc, time::Duration};

use fastrand::Rng;
use gateway_harness::{Answer, NoAnswer, ask, key};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use super::{
    stage::{Phase, Stage},
    table::Draft,
};
use crate::checker::{Outcome, SenderId};

/// How long one attempt may take: longer than a node waits for its log.
const ATTEMPT: Duration = Duration::from_secs(15);
/// How long an event is tried.
const PATIENCE: Duration = Duration::from_secs(40);

/// A random time with this mean rate a second.
pub(super) fn pause(rate: u32, rng: &mut Rng) -> Duration {
    Duration::from_secs_f64(2.0 * rng.f64() / f64::from(rate.max(1)))
}

/// A sender over HTTP.
#[derive(Debug)]
pub(super) struct Publisher {
    /// The node that it asks first.
    pub(super) home: usize,
    /// Events that it sends in a second.
    pub(super) rate: u32,
    pub(super) rng: Rng,
}

/// What an answer says.
enum Said {
    Known(Outcome),
    /// Nothing was appended, and may be when it is tried again.
    NotNow,
    /// Nobody knows.
    Unknown,
}

impl Publisher {
    /// Sends from the beginning to the end of the sending.
    pub(super) async fn publish(mut self, mut stage: Stage) {
        let begins = stage.phase.wait_for(|phase| *phase != Phase::Gathering).await;
        if begins.map(drop).is_err() {
            return;
        }
        let mut sender = stage.book.open_sender(None);
        loop {
            sleep(pause(self.rate, &mut self.rng)).await;
            if !stage.is_sending() {
                return;
            }
            let draft = Draft::from_http(&mut self.rng);
            let n = stage.book.send(sender, &draft);
            let event = draft.request(&draft.d(sender, n));
            let outcome = self.until_known(&stage, sender, n, &event).await;
            let is_open = outcome == Outcome::Unknown;
            stage.book.settle(sender, outcome);
            // It may still be on its way, and would then come after the next one.
            if is_open {
                sender = stage.book.open_sender(None);
            }
        }
    }

    /// Sends an event again and again, as the answers say, until there is one that decides.
    async fn until_known(&mut self, stage: &Stage, sender: SenderId, n: u64, event: &Value) -> Outcome {
        let bearer = format!("Bearer {}", key("service"));
        let name = format!("{sender}-{n}");
        let headers = [
            ("authorization", &*bearer),
            ("content-type", "application/json"),
            ("idempotency-key", &*name),
        ];
        let event = event.to_string();
        let deadline = Instant::now() + PATIENCE;
        let mut is_open = false;
        let mut home = Some(self.home);
        while Instant::now() < deadline {
            // After a failure any node will do.
            let door = match home.take() {
                Some(home) => stage.door(home, &mut self.rng),
                None => stage.any_door(&mut self.rng),
            };
            if let Some(door) = door {
                stage.book.attempt(sender, is_open);
                let asked = ask(door.address, "POST", "/api/v1/events", &headers, &event);
                match said(timeout(ATTEMPT, asked).await.unwrap_or(Err(NoAnswer::Broken))) {
                    // Of several attempts, an earlier one may have been held up on its way.
                    Said::Known(Outcome::Refused) if is_open => return Outcome::Unknown,
                    Said::Known(outcome) => return outcome,
                    Said::NotNow => {}
                    Said::Unknown => is_open = true,
                }
            }
            sleep(Duration::from_millis(self.rng.u64(20..200))).await;
        }
        if is_open { Outcome::Unknown } else { Outcome::Refused }
    }
}

fn said(answer: Result<Answer, NoAnswer>) -> Said {
    let answer = match answer {
        Ok(answer) => answer,
        Err(NoAnswer::NotSent) => return Said::NotNow,
        Err(NoAnswer::Broken) => return Said::Unknown,
    };
    match answer.status {
        202 => {
            let position = answer.json();
            match (position["offset"].as_u64(), position["epoch"].as_str()) {
                (Some(offset), Some(epoch)) => Said::Known(Outcome::Accepted {
                    at: Instant::now(),
                    offset,
                    epoch: Arc::from(epoch),
                }),
                _ => panic!("no position: {answer:?}"),
            }
        }
        503 => Said::NotNow,
        504 => Said::Unknown,
        409 => Said::Known(Outcome::Refused),
        _ => panic!("an event of the run is refused: {answer:?}"),
    }
}
