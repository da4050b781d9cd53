//! The node's number for ids, granted by the server for a window of the server's time.
//!
//! The node's time is the server's at the grant plus what a monotonic clock has counted since the answer came; the wall
//! clock plays no part. After a stop of the process that outlasts the window no id is made. The node tells its time when
//! it renews, so that the time outlives a server whose clock went back or that has lost it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use shared::{
    session_id::SessionId,
    snowflake::{Generator, SnowflakeError, Window},
};
use tokio::time::Instant;

use crate::backplane::JoinError;

/// What a node may make ids with; nothing before the first grant.
#[derive(Debug, Default)]
pub(in crate::backends::redis) struct Lease {
    state: Mutex<LeaseState>,
    fixed: Option<SessionId>,
}

#[derive(Debug, Default)]
struct LeaseState {
    held: Option<HeldLease>,
}

#[derive(Debug)]
struct HeldLease {
    worker: u16,
    generator: Generator,
    window: Window,
    /// The server's time in ms, at an instant that came after it.
    granted: (u64, Instant),
}

/// A number and its window, as the server granted them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::backends::redis) struct Grant {
    pub(in crate::backends::redis) worker: u16,
    pub(in crate::backends::redis) window: Window,
    /// The server's time, in ms since 1970.
    pub(in crate::backends::redis) now_ms: u64,
}

impl HeldLease {
    /// The server's time at `now`, or a little before.
    fn time(&self, now: Instant) -> u64 {
        let (granted_ms, since) = self.granted;
        let elapsed = u64::try_from(now.saturating_duration_since(since).as_millis()).unwrap_or(u64::MAX);
        granted_ms.saturating_add(elapsed)
    }

    /// The time of an id at `now`: a window that begins later is used at once, since nobody else has it.
    fn id_time(&self, now: Instant) -> u64 {
        self.time(now).max(self.window.start_ms)
    }
}

impl Lease {
    /// A lease whose every id is this one, if there is one.
    pub(in crate::backends::redis) fn new(fixed: Option<SessionId>) -> Self {
        Self {
            state: Mutex::default(),
            fixed,
        }
    }

    /// The number that is held.
    pub(in crate::backends::redis) fn worker(&self) -> Option<u16> {
        self.lock().held.as_ref().map(|held| held.worker)
    }

    /// The server's time at `now`, or a little before; 0 before the first grant.
    pub(in crate::backends::redis) fn time(&self, now: Instant) -> u64 {
        self.lock().held.as_ref().map_or(0, |held| held.time(now))
    }

    /// Whether ids can be made at `now`.
    pub(in crate::backends::redis) fn is_good(&self, now: Instant) -> bool {
        let held = self.lock();
        held.held
            .as_ref()
            .is_some_and(|held| held.window.contains(held.id_time(now)))
    }

    /// Takes a grant whose answer came at `now`.
    pub(in crate::backends::redis) fn take(&self, grant: Grant, now: Instant) -> Result<(), SnowflakeError> {
        let Grant { worker, window, now_ms } = grant;
        let mut state = self.lock();
        match &mut state.held {
            Some(held) if held.worker == worker => {
                held.generator.renew(window)?;
                held.window = window;
                held.granted = (now_ms, now);
            }
            held => {
                let generator = Generator::new(worker, window)?;
                *held = Some(HeldLease {
                    worker,
                    generator,
                    window,
                    granted: (now_ms, now),
                });
            }
        }
        Ok(())
    }

    /// The next id at `now`.
    pub(in crate::backends::redis) fn next(&self, now: Instant) -> Result<SessionId, JoinError> {
        let mut state = self.lock();
        let held = state.held.as_mut().ok_or(JoinError::Unavailable)?;
        if let Some(id) = self.fixed {
            return Ok(id);
        }
        match held.generator.next(held.id_time(now)) {
            Ok(id) => Ok(id),
            // The lease has run out: nobody can tell now whose the id would be.
            Err(SnowflakeError::OutsideWindow { .. }) => Err(JoinError::Unavailable),
            Err(error) => Err(error.into()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, LeaseState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::snowflake::EPOCH_MS;

    use super::*;

    const START: u64 = EPOCH_MS + 1_000_000;

    fn grant(worker: u16, from: u64, to: u64) -> Grant {
        Grant {
            worker,
            window: Window {
                start_ms: START + from,
                end_ms: START + to,
            },
            now_ms: START + from,
        }
    }

    #[test]
    fn no_id_without_a_grant_or_after_its_end() {
        let lease = Lease::default();
        let now = Instant::now();
        assert_eq!(lease.next(now), Err(JoinError::Unavailable));
        lease.take(grant(3, 0, 1000), now).unwrap();
        assert!(lease.next(now + Duration::from_millis(999)).is_ok());
        assert_eq!(lease.next(now + Duration::from_secs(1)), Err(JoinError::Unavailable));
        lease.take(grant(3, 0, 5000), now + Duration::from_secs(2)).unwrap();
        assert!(lease.next(now + Duration::from_secs(2)).is_ok());
    }

    #[test]
    fn a_window_that_begins_later_is_used_at_once() {
        let lease = Lease::default();
        let now = Instant::now();
        assert_eq!(lease.time(now), 0);
        let late = Grant {
            now_ms: START,
            ..grant(3, 1000, 2000)
        };
        lease.take(late, now).unwrap();
        assert!(lease.is_good(now) && lease.next(now).is_ok());
        let after = |ms| now + Duration::from_millis(ms);
        assert_eq!(lease.time(after(300)), START + 300);
        assert!(lease.next(after(1999)).is_ok());
        assert_eq!(lease.next(after(2000)), Err(JoinError::Unavailable));
    }

    #[test]
    fn another_number_goes_on_elsewhere() {
        let lease = Lease::default();
        let now = Instant::now();
        lease.take(grant(3, 0, 1000), now).unwrap();
        let first = lease.next(now).unwrap();
        lease.take(grant(4, 0, 1000), now).unwrap();
        assert_eq!(lease.worker(), Some(4));
        assert_ne!(lease.next(now).unwrap(), first);
    }
}
