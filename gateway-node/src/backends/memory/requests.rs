//! The idempotency keys of one application, and the results of the requests that carried them.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use rustc_hash::FxHashMap;
use tokio::time::Instant;

use crate::backplane::{Idempotency, Position, PublishError};

/// The maximum number of expired keys that one request removes, so that no request pays for all of them.
const REMOVED_AT_ONCE: usize = 64;

/// The requests of one application that were appended within the retention time.
#[derive(Default)]
pub(super) struct Requests {
    answers: FxHashMap<Arc<str>, RememberedResult>,
    /// When each key was added, oldest first.
    ages: VecDeque<(Instant, Arc<str>)>,
}

/// The positions of the events of one request. They are consecutive, so the first one suffices.
struct RememberedResult {
    digest: u64,
    first: Position,
    since: Instant,
}

impl Requests {
    /// Returns the position of the first event of the same request, if it came within the retention time.
    pub(super) fn answer(
        &self,
        request: &Idempotency,
        now: Instant,
        retention: Duration,
    ) -> Option<Result<Position, PublishError>> {
        let RememberedResult { digest, first, since } = self.answers.get(&request.key)?;
        if now.saturating_duration_since(*since) >= retention {
            return None;
        }
        let is_same = *digest == request.digest;
        Some(is_same.then_some(*first).ok_or(PublishError::KeyReused))
    }

    /// Removes expired keys, and checks that there is room for one more within `limit`.
    ///
    /// # Errors
    /// When there is no room. Keys are never removed before they expire: a retry would be published twice.
    pub(super) fn make_room(&mut self, now: Instant, retention: Duration, limit: usize) -> Result<(), PublishError> {
        for _ in 0..REMOVED_AT_ONCE {
            let is_expired = |(since, _): &(Instant, Arc<str>)| now.saturating_duration_since(*since) >= retention;
            if !self.ages.front().is_some_and(is_expired) {
                break;
            }
            let expired = self.ages.pop_front();
            // The key may have been used again since.
            if let Some((since, key)) = expired
                && self.answers.get(&key).is_some_and(|answer| answer.since == since)
            {
                self.answers.remove(&key);
            }
        }
        match self.ages.front() {
            Some((since, _)) if self.ages.len() >= limit => Err(PublishError::TooManyKeys {
                retry_after: (*since + retention).saturating_duration_since(now),
            }),
            _ => Ok(()),
        }
    }

    /// Records the position of the first event of a request. [`Self::make_room`] must be called first.
    pub(super) fn remember(&mut self, request: Idempotency, first: Position, now: Instant) {
        self.ages.push_back((now, Arc::clone(&request.key)));
        let answer = RememberedResult {
            digest: request.digest,
            first,
            since: now,
        };
        self.answers.insert(request.key, answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backplane::Epoch;

    const RETENTION: Duration = Duration::from_secs(600);

    fn request(key: usize) -> Idempotency {
        Idempotency {
            key: key.to_string().into(),
            digest: 1,
        }
    }

    fn position(offset: u64) -> Position {
        let epoch = Epoch::from_raw(1);
        Position { offset, epoch }
    }

    fn answer(requests: &Requests, key: usize) -> Option<Result<Position, PublishError>> {
        requests.answer(&request(key), Instant::now(), RETENTION)
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_refused_at_the_limit_until_the_oldest_expires() {
        let mut requests = Requests::default();
        for key in 0..3 {
            requests.make_room(Instant::now(), RETENTION, 3).unwrap();
            requests.remember(request(key), position(1), Instant::now());
            tokio::time::advance(Duration::from_secs(10)).await;
        }
        let retry_after = RETENTION.saturating_sub(Duration::from_secs(30));
        assert_eq!(
            requests.make_room(Instant::now(), RETENTION, 3),
            Err(PublishError::TooManyKeys { retry_after })
        );
        assert!(answer(&requests, 0).is_some(), "forgotten early");
        tokio::time::advance(retry_after).await;
        requests.make_room(Instant::now(), RETENTION, 3).unwrap();
        assert!(answer(&requests, 0).is_none());
        assert!(answer(&requests, 1).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn an_expired_key_that_is_used_again_is_remembered_for_the_whole_time() {
        let mut requests = Requests::default();
        requests.remember(request(1), position(1), Instant::now());
        tokio::time::advance(RETENTION).await;
        assert_eq!(answer(&requests, 1), None);
        requests.remember(request(1), position(2), Instant::now());
        requests.make_room(Instant::now(), RETENTION, 3).unwrap();
        assert_eq!(answer(&requests, 1), Some(Ok(position(2))));
    }

    #[tokio::test(start_paused = true)]
    async fn one_request_removes_a_bounded_number_of_expired_keys() {
        let mut requests = Requests::default();
        for key in 0..1000 {
            requests.remember(request(key), position(1), Instant::now());
        }
        tokio::time::advance(RETENTION).await;
        requests.make_room(Instant::now(), RETENTION, 1000).unwrap();
        assert_eq!(requests.ages.len(), 1000 - REMOVED_AT_ONCE);
        assert_eq!(requests.answers.len(), requests.ages.len());
    }
}
