//! The clocks that run outside of tokio's. Everything else gets the time as an argument, or takes tokio's, which tests
//! can stop.

use std::time::{Instant, SystemTime};

/// Returns the wall clock: for the expiry of keys and certificates, and for log lines.
#[expect(clippy::disallowed_methods, reason = "the one place where the wall clock enters")]
pub(crate) fn wall_clock() -> SystemTime {
    SystemTime::now()
}

/// Returns the monotonic clock for code without a runtime: the log's thread and the command line.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where the system's monotonic clock enters"
)]
pub(crate) fn monotonic() -> Instant {
    Instant::now()
}
