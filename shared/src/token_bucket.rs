//! A token-bucket rate limit, for example for the payloads that a client may send per minute.

use std::time::Duration;

/// The number of parts in a token, chosen so that refilling `n` tokens per minute adds exactly `n` parts per
/// microsecond.
const TOKEN: u64 = 60_000_000;

/// The most parts that a refill adds. It is more than any bucket holds, but may not cover the largest debts.
const MOST_REFILLED: u64 = 1 << 62;

/// A bucket of tokens that starts full and refills continuously.
///
/// Takes only 24 bytes, since every connection has one.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    capacity: u32,
    per_minute: u32,
    /// The level, in parts of a token. At most `capacity * TOKEN`, which fits into 58 bits; negative while the bucket
    /// is in debt.
    parts: i64,
    /// The time of the last refill, in microseconds since the caller's origin.
    refilled_us: u64,
}

impl TokenBucket {
    /// Creates a bucket that holds `n` tokens and refills `n` per minute. If `n` is 0, it never has a token.
    pub const fn per_minute(n: u32) -> Self {
        Self::new(n, n)
    }

    /// Creates a bucket that holds `capacity` tokens and refills `per_minute` tokens per minute.
    pub const fn new(capacity: u32, per_minute: u32) -> Self {
        Self {
            capacity,
            per_minute,
            parts: full(capacity),
            refilled_us: 0,
        }
    }

    /// Takes one token if there is one, and returns whether it did. `now` is the monotonic time since any fixed origin;
    /// a `now` before the latest one refills nothing.
    pub fn take(&mut self, now: Duration) -> bool {
        self.refill(now);
        let has_token = self.parts >= TOKEN.cast_signed();
        if has_token {
            self.parts -= TOKEN.cast_signed();
        }
        has_token
    }

    /// Takes `tokens` even if there are fewer, which puts the bucket into debt. It then refills from below zero.
    pub fn charge(&mut self, tokens: u32, now: Duration) {
        self.refill(now);
        self.parts = self.parts.saturating_sub(full(tokens));
    }

    /// Returns the time until there is a token: zero if there is one now, [`Duration::MAX`] if there will never be one.
    pub fn wait(&mut self, now: Duration) -> Duration {
        self.refill(now);
        let missing = TOKEN.cast_signed().saturating_sub(self.parts).max(0).cast_unsigned();
        match (missing, self.capacity.min(self.per_minute)) {
            (0, _) => Duration::ZERO,
            (_, 0) => Duration::MAX,
            _ => Duration::from_micros(missing.div_ceil(u64::from(self.per_minute))),
        }
    }

    /// Puts back a token that was not needed. The bucket never holds more than its capacity.
    pub fn put_back(&mut self) {
        self.parts = self.parts.saturating_add(TOKEN.cast_signed()).min(full(self.capacity));
    }

    /// Returns whether the bucket is full, as a new one is.
    pub fn is_full(&mut self, now: Duration) -> bool {
        self.refill(now);
        self.parts == full(self.capacity)
    }

    fn refill(&mut self, now: Duration) {
        let now_us = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        let elapsed_us = now_us.saturating_sub(self.refilled_us);
        self.refilled_us = self.refilled_us.max(now_us);
        let refill = elapsed_us.saturating_mul(u64::from(self.per_minute)).min(MOST_REFILLED);
        // Cannot overflow: there are at most 2^58 parts before the refill.
        self.parts = (self.parts + refill.cast_signed()).min(full(self.capacity));
    }
}

/// Converts tokens to parts. The largest number of tokens fits into 58 bits.
const fn full(tokens: u32) -> i64 {
    (tokens as u64 * TOKEN).cast_signed()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn taken(bucket: &mut TokenBucket, now: Duration, tries: u32) -> u32 {
        (0..tries).map(|_| u32::from(bucket.take(now))).sum()
    }

    #[test]
    fn a_bucket_takes_24_bytes() {
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
    fn tokens_refill_one_by_one() {
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
    fn a_clock_that_goes_back_neither_adds_nor_removes_tokens() {
        let mut bucket = TokenBucket::per_minute(60);
        assert_eq!(taken(&mut bucket, Duration::from_secs(10), 100), 60);
        assert!(!bucket.take(Duration::ZERO));
        assert!(!bucket.take(Duration::from_secs(10)));
        assert!(bucket.take(Duration::from_secs(11)));
    }

    #[test]
    fn wait_returns_the_time_until_the_next_token() {
        let mut bucket = TokenBucket::per_minute(60);
        assert_eq!(bucket.wait(Duration::ZERO), Duration::ZERO);
        assert_eq!(taken(&mut bucket, Duration::ZERO, 100), 60);
        assert_eq!(bucket.wait(Duration::ZERO), Duration::from_secs(1));
        assert_eq!(bucket.wait(Duration::from_millis(400)), Duration::from_millis(600));
        // A wait of a third of a microsecond is rounded up, so that there is a token after it.
        let mut bucket = TokenBucket::new(1, 180_000_000);
        assert!(bucket.take(Duration::ZERO));
        let wait = bucket.wait(Duration::ZERO);
        assert_eq!(wait, Duration::from_micros(1));
        assert!(bucket.take(wait));
        assert_eq!(TokenBucket::per_minute(0).wait(Duration::MAX), Duration::MAX);
    }

    #[test]
    fn a_bucket_in_debt_refills_from_below_zero() {
        let mut bucket = TokenBucket::new(100, 60);
        bucket.charge(103, Duration::ZERO);
        assert_eq!(bucket.wait(Duration::ZERO), Duration::from_secs(4));
        assert!(!bucket.take(Duration::from_secs(3)));
        assert!(bucket.take(Duration::from_secs(4)));
        assert!(!bucket.is_full(Duration::from_secs(103)));
        assert!(bucket.is_full(Duration::from_secs(104)));
        assert_eq!(taken(&mut bucket, Duration::from_secs(1000), 200), 100);
    }

    #[test]
    fn the_largest_bucket_does_not_overflow() {
        let mut bucket = TokenBucket::per_minute(u32::MAX);
        assert!(bucket.take(Duration::ZERO));
        assert!(bucket.take(Duration::MAX));
        for _ in 0..100 {
            bucket.charge(u32::MAX, Duration::MAX);
        }
        assert!(bucket.wait(Duration::MAX) > Duration::from_secs(1800));
    }

    proptest! {
        /// The model keeps a level in parts of a token and refills it by the time since the latest time seen.
        #[test]
        fn a_bucket_behaves_like_its_model(
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
        fn at_most_twice_the_rate_passes_in_a_minute(
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
