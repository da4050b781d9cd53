//! The pauses between attempts to reconnect.

use std::time::Duration;

/// Pauses that are drawn between a floor and a ceiling that doubles with every failure, so that those who lost the same
/// server do not all return at once.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    /// Returns the shortest pause below this ceiling.
    floor: fn(Duration) -> Duration,
    ceiling: Duration,
}

impl Backoff {
    /// Creates pauses whose ceiling doubles from `first` up to `longest`.
    pub(crate) const fn new(first: Duration, longest: Duration, floor: fn(Duration) -> Duration) -> Self {
        Self {
            first,
            longest,
            floor,
            ceiling: first,
        }
    }

    /// Returns the next pause. `random` is a number from 0 to 1.
    pub(crate) fn next(&mut self, random: f64) -> Duration {
        let ceiling = self.ceiling;
        self.ceiling = self.longest.min(2 * ceiling);
        let floor = (self.floor)(ceiling);
        floor + ceiling.saturating_sub(floor).mul_f64(random)
    }

    /// Starts over after a success.
    pub(crate) const fn reset(&mut self) {
        self.ceiling = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_are_spread() {
        let seconds = Duration::from_secs;
        let new = || Backoff::new(seconds(2), seconds(30), |_| Duration::from_secs(1));
        let (mut longest, mut shortest) = (new(), new());
        for ceiling in [2, 4, 8, 16, 30, 30] {
            assert_eq!(longest.next(1.0), seconds(ceiling));
            assert_eq!(shortest.next(0.0), seconds(1));
        }
        longest.reset();
        assert_eq!(longest.next(1.0), seconds(2));
    }

    #[test]
    fn a_floor_may_follow_the_ceiling() {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1), |ceiling| ceiling / 2);
        assert_eq!(backoff.next(0.0), Duration::from_millis(25));
        assert_eq!(backoff.next(0.5), Duration::from_millis(75));
    }
}
