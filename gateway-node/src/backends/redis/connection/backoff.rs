//! The pauses between attempts to reconnect.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(1);

/// Pauses that double up to one second, each shortened by a random part, so that the nodes do not reconnect at the same
/// time.
#[derive(Debug)]
pub(in crate::backends::redis) struct Backoff {
    pause: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { pause: FIRST }
    }
}

impl Backoff {
    pub(in crate::backends::redis) fn next_pause(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = LONGEST.min(2 * pause);
        pause.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_second_and_never_beyond() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..20).map(|_| backoff.next_pause()).collect();
        assert!(pauses[0] <= FIRST && pauses[0] >= FIRST / 2);
        assert!(
            pauses[10..]
                .iter()
                .all(|pause| *pause <= LONGEST && *pause >= LONGEST / 2)
        );
    }
}
