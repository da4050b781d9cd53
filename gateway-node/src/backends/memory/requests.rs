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

/// The positions of the events of one request. They are consecutive, so the first one and the count suffice.
struct RememberedResult {
    digest: u64,
    first: Position,
    count: u64,
}

impl Requests {
    /// Returns the result of the same request, if it came before.
    pub(super) fn answer(&self, request: &Idempotency) -> Option<Result<Vec<Position>, PublishError>> {
        let RememberedResult { digest, first, count } = self.answers.get(&request.key)?;
        if *digest != request.digest {
            return Some(Err(PublishError::KeyReused));
        }
        let offsets = first.offset..first.offset + count;
        let epoch = first.epoch;
        Some(Ok(offsets.map(|offset| Position { offset, epoch }).collect()))
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
            if let Some((_, key)) = self.ages.pop_front() {
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

    /// Records the positions of the events of a request. [`Self::make_room`] must be called first.
    pub(super) fn remember(&mut self, request: Idempotency, positions: &[Position], now: Instant) {
        let Some(first) = positions.first() else { return };
        self.ages.push_back((now, Arc::clone(&request.key)));
        let answer = RememberedResult {
            digest: request.digest,
            first: *first,
            count: positions.len() as u64,
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

    #[tokio::test(start_paused = true)]
    async fn a_key_is_refused_at_the_limit_until_the_oldest_expires() {
        let mut requests = Requests::default();
        for key in 0..3 {
            requests.make_room(Instant::now(), RETENTION, 3).unwrap();
            requests.remember(request(key), &[position(1)], Instant::now());
            tokio::time::advance(Duration::from_secs(10)).await;
        }
        let retry_after = RETENTION.saturating_sub(Duration::from_secs(30));
        assert_eq!(
            requests.make_room(Instant::now(), RETENTION, 3),
            Err(PublishError::TooManyKeys { retry_after })
        );
        assert!(requests.answer(&request(0)).is_some(), "forgotten early");
        tokio::time::advance(retry_after).await;
        requests.make_room(Instant::now(), RETENTION, 3).unwrap();
        assert!(requests.answer(&request(0)).is_none());
        assert!(requests.answer(&request(1)).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn one_request_removes_a_bounded_number_of_expired_keys() {
        let mut requests = Requests::default();
        for key in 0..1000 {
            requests.remember(request(key), &[position(1)], Instant::now());
        }
        tokio::time::advance(RETENTION).await;
        requests.make_room(Instant::now(), RETENTION, 1000).unwrap();
        assert_eq!(requests.ages.len(), 1000 - REMOVED_AT_ONCE);
        assert_eq!(requests.answers.len(), requests.ages.len());
    }

    #[test]
    fn a_repeated_list_returns_the_position_of_each_event() {
        let mut requests = Requests::default();
        let positions: Vec<_> = (5..9).map(position).collect();
        requests.remember(request(1), &positions, Instant::now());
        assert_eq!(requests.answer(&request(1)), Some(Ok(positions)));
    }
}
