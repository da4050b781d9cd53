//! The node's worker number for ids, granted by the server for a window of the server's time.
//!
//! The node's time is the server's at the grant, plus the time measured by a monotonic clock since the reply; the wall
//! clock is not used. If the process stops for longer than the window, no id is generated. The node reports its time
//! when it renews, so that the time survives a server whose clock went back or that has lost it.

use parking_lot::{Mutex, MutexGuard};

use shared::{
    session_id::SessionId,
    snowflake::{Generator, SnowflakeError, Window},
};
use tokio::time::Instant;

use crate::backplane::JoinError;

/// The lease that a node generates ids with; empty before the first grant.
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
    /// The server's time in ms, and a local instant shortly after it.
    granted: (u64, Instant),
}

/// A worker number and its window, as granted by the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::backends::redis) struct Grant {
    pub(in crate::backends::redis) worker: u16,
    pub(in crate::backends::redis) window: Window,
    /// The server's time, in ms since 1970.
    pub(in crate::backends::redis) now_ms: u64,
}

impl HeldLease {
    /// The server's time at `now`, or slightly earlier.
    fn time(&self, now: Instant) -> u64 {
        let (granted_ms, since) = self.granted;
        let elapsed = u64::try_from(now.saturating_duration_since(since).as_millis()).unwrap_or(u64::MAX);
        granted_ms.saturating_add(elapsed)
    }

    /// The timestamp of an id generated at `now`. A window that starts later is used at once, since no other node has
    /// it.
    fn id_time(&self, now: Instant) -> u64 {
        self.time(now).max(self.window.start_ms)
    }
}

impl Lease {
    /// Creates a lease. If `fixed` is given, every id is that one.
    pub(in crate::backends::redis) fn new(fixed: Option<SessionId>) -> Self {
        Self {
            state: Mutex::default(),
            fixed,
        }
    }

    /// The worker number, if one is held.
    pub(in crate::backends::redis) fn worker(&self) -> Option<u16> {
        self.lock().held.as_ref().map(|held| held.worker)
    }

    /// The server's time at `now`, or slightly earlier; 0 before the first grant.
    pub(in crate::backends::redis) fn time(&self, now: Instant) -> u64 {
        self.lock().held.as_ref().map_or(0, |held| held.time(now))
    }

    /// Whether ids can be generated at `now`.
    pub(in crate::backends::redis) fn is_good(&self, now: Instant) -> bool {
        let held = self.lock();
        held.held
            .as_ref()
            .is_some_and(|held| held.window.contains(held.id_time(now)))
    }

    /// Stores a grant whose reply arrived at `now`.
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

    /// Generates the next id at `now`.
    pub(in crate::backends::redis) fn next(&self, now: Instant) -> Result<SessionId, JoinError> {
        let mut state = self.lock();
        let held = state.held.as_mut().ok_or(JoinError::Unavailable)?;
        if let Some(id) = self.fixed {
            return Ok(id);
        }
        match held.generator.next(held.id_time(now)) {
            Ok(id) => Ok(id),
            // The lease has expired, so another node may generate the same id.
            Err(SnowflakeError::OutsideWindow { .. }) => Err(JoinError::Unavailable),
            Err(error) => Err(error.into()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, LeaseState> {
        self.state.lock()
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
    fn ids_need_an_unexpired_grant() {
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
    fn a_window_that_starts_later_is_used_at_once() {
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
    fn another_worker_number_yields_other_ids() {
        let lease = Lease::default();
        let now = Instant::now();
        lease.take(grant(3, 0, 1000), now).unwrap();
        let first = lease.next(now).unwrap();
        lease.take(grant(4, 0, 1000), now).unwrap();
        assert_eq!(lease.worker(), Some(4));
        assert_ne!(lease.next(now).unwrap(), first);
    }
}
