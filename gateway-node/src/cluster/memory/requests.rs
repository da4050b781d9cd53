//! What was answered to requests that may come again.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use rustc_hash::FxHashMap;
use tokio::time::Instant;

use super::super::{Idempotency, Position, PublishError};

/// The most requests that are remembered; beyond it the oldest are forgotten before their time.
const MOST: usize = 100_000;

/// The requests of one application that were appended within the retention.
#[derive(Default)]
pub(super) struct Requests {
    answers: FxHashMap<Arc<str>, Answer>,
    /// When each was remembered, oldest first.
    ages: VecDeque<(Instant, Arc<str>)>,
}

struct Answer {
    digest: u64,
    positions: Vec<Position>,
}

impl Requests {
    /// What was answered to the same request before.
    pub(super) fn answer(&self, request: &Idempotency) -> Option<Result<Vec<Position>, PublishError>> {
        let answer = self.answers.get(&request.key)?;
        Some(if answer.digest == request.digest {
            Ok(answer.positions.clone())
        } else {
            Err(PublishError::KeyReused)
        })
    }

    pub(super) fn remember(&mut self, request: Idempotency, positions: &[Position], now: Instant, retention: Duration) {
        let is_old = |since: Instant| now.saturating_duration_since(since) > retention;
        while let Some((since, key)) = self.ages.front() {
            if !is_old(*since) && self.ages.len() < MOST {
                break;
            }
            self.answers.remove(key);
            self.ages.pop_front();
        }
        self.ages.push_back((now, Arc::clone(&request.key)));
        let positions = positions.to_vec();
        let digest = request.digest;
        self.answers.insert(request.key, Answer { digest, positions });
    }
}
