//! The bounds of a log.

use std::time::Duration;

use redis::Cmd;

use crate::backends::redis::scripts::millis;

/// The bounds of a log.
#[derive(Debug, Clone, Copy)]
pub(in crate::backends::redis) struct LogBounds {
    pub(in crate::backends::redis) entries: usize,
    pub(in crate::backends::redis) age: Duration,
    pub(in crate::backends::redis) bytes: usize,
}

impl LogBounds {
    /// Adds the bounds to a call: entries, ms, bytes.
    pub(in crate::backends::redis) fn add_to(self, call: &mut Cmd) {
        call.arg(self.entries).arg(millis(self.age)).arg(self.bytes);
    }
}
