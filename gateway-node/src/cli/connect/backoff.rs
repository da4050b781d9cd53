//! The delay before reconnecting.

use std::time::Duration;

const SHORTEST_MS: u64 = 1_000;
const LONGEST_MS: u64 = 30_000;

/// Delays that grow with every failure and are randomised, so that the clients of a restarted node do not all return at
/// once.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Returns the next delay: between 1 s and a ceiling that doubles from 2 s up to 30 s. `random` may be any number.
    pub(super) fn next(&mut self, random: u64) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let ceiling = SHORTEST_MS.saturating_mul(1 << self.failures.min(16)).min(LONGEST_MS);
        Duration::from_millis(SHORTEST_MS + random % (ceiling - SHORTEST_MS + 1))
    }

    /// Resets the delays, after a session began.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_thirty_seconds_and_are_spread() {
        let mut longest = Backoff::default();
        let mut shortest = Backoff::default();
        for ceiling in [2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
            assert_eq!(longest.next(ceiling - 1_000).as_millis(), ceiling.into());
            assert_eq!(shortest.next(0).as_millis(), 1_000);
        }
        for _ in 0..100 {
            assert!(longest.next(u64::MAX) <= Duration::from_secs(30));
        }
        longest.reset();
        assert!(longest.next(u64::MAX) <= Duration::from_secs(2));
    }
}
