//! The metrics of the Redis backplane.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use prometheus_client::metrics::{
    counter::Counter,
    family::Family,
    histogram::{Histogram, exponential_buckets},
};

use super::{ReasonLabel, ScriptLabel};

/// The metrics of the Redis backplane. Its tasks share them.
#[derive(Debug)]
pub struct RedisMetrics {
    /// The round trips of calls, by script.
    pub(super) scripts: Family<ScriptLabel, Histogram, fn() -> Histogram>,
    /// Errors that ended a connection or kept one from being made, by kind.
    pub(super) errors: Family<ReasonLabel, Counter>,
    /// Times that entries were read from a log because their messages had not come.
    pub repairs: Counter,
    /// Entries that were read then.
    pub repaired_entries: Counter,
    is_begun: AtomicBool,
}

impl Default for RedisMetrics {
    fn default() -> Self {
        // 0.25 ms to 4 s, each bound four times the one before: there are dozens of scripts.
        let histogram: fn() -> Histogram = || Histogram::new(exponential_buckets(0.000_25, 4.0, 8));
        Self {
            scripts: Family::new_with_constructor(histogram),
            errors: Family::default(),
            repairs: Counter::default(),
            repaired_entries: Counter::default(),
            is_begun: AtomicBool::default(),
        }
    }
}

impl RedisMetrics {
    /// Begins counting the calls of these scripts and these kinds of errors at 0.
    pub fn begin(&self, scripts: &[&'static str], errors: &[&'static str]) {
        for &script in scripts {
            drop(self.scripts.get_or_create(&ScriptLabel { script }));
        }
        for &reason in errors {
            drop(self.errors.get_or_create(&ReasonLabel { reason }));
        }
        self.is_begun.store(true, Relaxed);
    }

    /// Whether the node has a Redis.
    pub(super) fn is_begun(&self) -> bool {
        self.is_begun.load(Relaxed)
    }

    /// Records the round trip of a call of a script.
    pub fn called(&self, script: &'static str, took: Duration) {
        self.scripts
            .get_or_create(&ScriptLabel { script })
            .observe(took.as_secs_f64());
    }

    /// Counts an error.
    pub fn error(&self, reason: &'static str) {
        self.errors.get_or_create(&ReasonLabel { reason }).inc();
    }
}
