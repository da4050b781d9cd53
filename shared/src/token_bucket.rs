//! A rate limit: how many payloads a client may send a minute.

use std::time::Duration;

/// The parts of a token, so that a refill of `n` tokens a minute adds exactly `n` parts a microsecond.
const TOKEN: u64 = 60_000_000;

/// A bucket of tokens that starts full and refills continuously.
///
/// 24 bytes, since every connection has one.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    per_minute: u32,
    /// What is in the bucket, in parts of a token; at most `per_minute * TOKEN`, which fits 58 bits.
    parts: u64,
    /// The time of the last refill, in microseconds since the caller's origin.
    refilled_us: u64,
}

impl TokenBucket {
    /// A bucket that holds `n` tokens and refills with `n` a minute. With an `n` of 0 nothing ever passes.
    pub fn per_minute(n: u32) -> Self {
        Self {
            per_minute: n,
            parts: u64::from(n) * TOKEN,
            refilled_us: 0,
        }
    }

    /// Takes one token, if there is one. `now` is monotonic time since any fixed origin; a `now` before the latest one
    /// refills nothing.
    pub fn take(&mut self, now: Duration) -> bool {
        let now_us = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        // A minute fills an empty bucket, so a longer time need not be multiplied.
        let elapsed_us = now_us.saturating_sub(self.refilled_us).min(TOKEN);
        self.refilled_us = self.refilled_us.max(now_us);
        let capacity = u64::from(self.per_minute) * TOKEN;
        self.parts = (self.parts + elapsed_us * u64::from(self.per_minute)).min(capacity);
        match self.parts.checked_sub(TOKEN) {
            Some(rest) => {
                self.parts = rest;
                true
            }
            None => false,
        }
    }

    /// Puts back a token that was taken for nothing. The bucket never holds more than it began with.
    pub fn put_back(&mut self) {
        self.parts = (self.parts + TOKEN).min(u64::from(self.per_minute) * TOKEN);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn taken(bucket: &mut TokenBucket, now: Duration, tries: u32) -> u32 {
        (0..tries).map(|_| u32::from(bucket.take(now))).sum()
    }

    #[test]
    fn a_bucket_is_small() {
        assert!(size_of::<TokenBucket>() <= 24);
    }

    #[test]
    fn a_bucket_starts_full_at_any_origin() {
        for origin in [Duration::ZERO, Duration::from_secs(1), Duration::MAX] {
            assert_eq!(taken(&mut TokenBucket::per_minute(5), origin, 10), 5);
        }
        assert_eq!(taken(&mut TokenBucket::per_minute(0), Duration::MAX, 10), 0);
    }

    #[test]
    fn tokens_come_back_one_by_one() {
        let mut bucket = TokenBucket::per_minute(60);
        assert_eq!(taken(&mut bucket, Duration::ZERO, 100), 60);
        assert!(!bucket.take(Duration::from_micros(999_999)));
        assert!(bucket.take(Duration::from_secs(1)));
        assert!(!bucket.take(Duration::from_secs(1)));
        assert_eq!(taken(&mut bucket, Duration::from_secs(11), 100), 10);
        assert_eq!(taken(&mut bucket, Duration::from_secs(1000), 100), 60);
    }

    #[test]
    fn a_token_that_was_put_back_can_be_taken_again() {
        let mut bucket = TokenBucket::per_minute(2);
        bucket.put_back();
        assert_eq!(taken(&mut bucket, Duration::ZERO, 10), 2);
        bucket.put_back();
        assert_eq!(taken(&mut bucket, Duration::ZERO, 10), 1);
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing_and_takes_nothing() {
        let mut bucket = TokenBucket::per_minute(60);
        assert_eq!(taken(&mut bucket, Duration::from_secs(10), 100), 60);
        assert!(!bucket.take(Duration::ZERO));
        assert!(!bucket.take(Duration::from_secs(10)));
        assert!(bucket.take(Duration::from_secs(11)));
    }

    #[test]
    fn the_largest_bucket_does_not_overflow() {
        let mut bucket = TokenBucket::per_minute(u32::MAX);
        assert!(bucket.take(Duration::ZERO));
        assert!(bucket.take(Duration::MAX));
    }

    proptest! {
        /// The model: a level in fractions, refilled by the time that has passed since the latest time seen.
        #[test]
        fn a_bucket_does_what_its_model_does(
            n in 0_u32..2000,
            times in prop::collection::vec(0_u64..120_000_000, 0..300),
        ) {
            let mut bucket = TokenBucket::per_minute(n);
            let (mut level, mut latest) = (u128::from(n) * 60_000_000, 0);
            for now in times {
                let refill = u128::from(now.saturating_sub(latest)) * u128::from(n);
                level = (level + refill).min(u128::from(n) * 60_000_000);
                latest = latest.max(now);
                let expected = level >= 60_000_000;
                prop_assert_eq!(bucket.take(Duration::from_micros(now)), expected);
                if expected {
                    level -= 60_000_000;
                }
            }
        }

        #[test]
        fn a_minute_never_lets_more_than_twice_the_rate_through(
            n in 0_u32..200,
            mut times in prop::collection::vec(0_u64..60_000, 0..1000),
        ) {
            times.sort_unstable();
            let mut bucket = TokenBucket::per_minute(n);
            let passed = times.iter().filter(|ms| bucket.take(Duration::from_millis(**ms))).count();
            prop_assert!(passed <= 2 * n as usize);
        }
    }
}
