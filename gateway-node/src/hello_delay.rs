//! A delay of Hello that an administrator sets, to test how clients react.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

/// A delay that applies until a deadline, readable from any thread. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct HelloDelay(Arc<Mutex<Option<(Duration, Instant)>>>);

impl HelloDelay {
    /// Delays Hello by `delay` on connections that begin before `until`.
    pub fn set(&self, delay: Duration, until: Instant) {
        *self.0.lock() = Some((delay, until));
    }

    /// Returns the delay for a connection that begins at `now`.
    pub fn delay(&self, now: Instant) -> Duration {
        let late = *self.0.lock();
        let holds = late.filter(|(_, until)| now < *until);
        holds.map(|(delay, _)| delay).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_applies_until_its_deadline() {
        let (late, now, second) = (HelloDelay::default(), Instant::now(), Duration::from_secs(1));
        assert_eq!(late.delay(now), Duration::ZERO);
        late.clone().set(5 * second, now + second);
        assert_eq!(
            (late.delay(now), late.delay(now + second)),
            (5 * second, Duration::ZERO)
        );
        late.set(5 * second, now);
        assert_eq!(late.delay(now), Duration::ZERO);
    }
}
