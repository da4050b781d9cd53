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
}
