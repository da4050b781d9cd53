//! The result of a deploy.

use std::{fmt, time::Duration};

use gateway_harness::ToolReport;
use serde::Serialize;

use super::{RollingOptions, bot::BotStats};

/// What all bots together received.
#[derive(Debug, Clone, Serialize)]
pub struct RollingReport {
    /// The number of bots.
    pub sessions: u32,
    /// Events that were accepted.
    pub events: u64,
    /// Events that bots received for the first time.
    pub deliveries: u64,
    /// Events that bots should have received and did not.
    pub missing: u64,
    /// Events that bots received again.
    pub doubled: u64,
    /// How often a session was resumed.
    pub resumed: u64,
    /// How often a session could not be resumed.
    pub identified_again: u64,
    /// The longest time that a bot waited for its next event, in ms.
    pub longest_gap_ms: u64,
    /// The number of events for each shard, which every bot should receive: all are connected before the first event.
    expected: u64,
}

impl RollingReport {
    pub(super) fn new(options: &RollingOptions, events: u64) -> Self {
        Self {
            sessions: options.sessions,
            events,
            deliveries: 0,
            missing: 0,
            doubled: 0,
            resumed: 0,
            identified_again: 0,
            longest_gap_ms: 0,
            expected: events / u64::from(options.shards),
        }
    }

    pub(super) fn add(&mut self, stats: &BotStats) {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.deliveries += stats.events;
        self.missing += stats.missing.max(self.expected.saturating_sub(stats.events));
        self.doubled += stats.doubled;
        self.resumed += stats.resumed;
        self.identified_again += stats.identified_again;
        self.longest_gap_ms = self.longest_gap_ms.max(ms(stats.longest_gap));
    }
}

impl ToolReport for RollingReport {
    fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for (what, count) in [
            ("events are missing", self.missing),
            ("events came twice", self.doubled),
            ("sessions could not go on", self.identified_again),
        ] {
            if count > 0 {
                failures.push(format!("{count} {what}"));
            }
        }
        if self.resumed < u64::from(self.sessions) {
            failures.push(format!(
                "only {} sessions were resumed: some never had to be",
                self.resumed
            ));
        }
        failures
    }
}

impl fmt::Display for RollingReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} sessions, {} events, {} deliveries: missing {}, doubled {}, resumed {}, \
             identified again {}, longest gap {} ms",
            self.sessions,
            self.events,
            self.deliveries,
            self.missing,
            self.doubled,
            self.resumed,
            self.identified_again,
            self.longest_gap_ms,
        )
    }
}
