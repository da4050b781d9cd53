//! How much later Hello comes than it should, as an administrator wishes.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// A delay that holds for a while, readable from any thread. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct HelloDelay(Arc<Mutex<Option<(Duration, Instant)>>>);

impl HelloDelay {
    /// Has Hello come so much later on connections that begin before `until`.
    pub fn set(&self, delay: Duration, until: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((delay, until));
    }

    /// How much later it comes on a connection that begins now.
    pub fn delay(&self, now: Instant) -> Duration {
        let late = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let holds = late.filter(|(_, until)| now < *until);
        holds.map(|(delay, _)| delay).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_holds_for_its_time() {
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
