//! The clocks that run outside of tokio's. Everything else gets the time as an argument, or takes tokio's, which tests
//! can stop.

use std::time::{Instant, SystemTime};

use nix::time::ClockId;

/// Returns the wall clock: for the expiry of keys and certificates, for log lines, and for the times of events.
#[expect(clippy::disallowed_methods, reason = "the one place where the wall clock enters")]
pub(crate) fn wall_clock() -> SystemTime {
    SystemTime::now()
}

/// Returns the wall clock in milliseconds since the Unix epoch.
pub(crate) fn unix_ms() -> u64 {
    ms_of(wall_clock())
}

/// Returns a time in milliseconds since the Unix epoch, or 0 if it is earlier.
pub(crate) fn ms_of(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Returns the monotonic clock for code without a runtime: the log's thread and the command line.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where the system's monotonic clock enters"
)]
pub(crate) fn monotonic() -> Instant {
    Instant::now()
}

/// Returns the microseconds of `CLOCK_MONOTONIC`, which other processes of this machine share.
pub(crate) fn monotonic_us() -> i64 {
    // The clock exists on every Linux.
    ClockId::CLOCK_MONOTONIC
        .now()
        .map_or(0, |now| now.tv_sec() * 1_000_000 + now.tv_nsec() / 1000)
}
