//! The report of a `replies` run.

use std::fmt;

use gateway_harness::ToolReport;
use serde::Serialize;

use super::{super::latencies::LatencySummary, ReplyOptions};

/// The round trips of one measured way.
#[derive(Debug, Clone, Serialize)]
pub struct ReplyLatency {
    /// The way.
    pub of: &'static str,
    /// Requests, all of which got their reply.
    pub requests: u64,
    /// From the request to the reply.
    pub latency: LatencySummary,
}

/// The result of a run. Its `Display` is a table.
#[derive(Debug, Clone, Serialize)]
pub struct ReplyReport {
    /// Rounds.
    pub rounds: u32,
    /// Requests of one requester that waited for their replies at any time.
    pub in_flight: u64,
    /// A row for each way.
    pub rows: Vec<ReplyLatency>,
}

impl ReplyReport {
    pub(super) fn new(options: &ReplyOptions, rows: impl Iterator<Item = (&'static str, u64, LatencySummary)>) -> Self {
        Self {
            rounds: options.rounds,
            in_flight: options.in_flight,
            rows: rows
                .map(|(of, requests, latency)| ReplyLatency { of, requests, latency })
                .collect(),
        }
    }
}

impl ToolReport for ReplyReport {
    /// A request without a reply ends the run, so nothing is left to fail.
    fn failures(&self) -> Vec<String> {
        let unanswered = self.rows.iter().filter(|row| row.requests == 0);
        unanswered.map(|row| format!("{}: no requests", row.of)).collect()
    }
}

impl fmt::Display for ReplyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, in_flight, .. } = self;
        writeln!(
            f,
            "Round trip of a request and its reply, {in_flight} in flight, {rounds} rounds"
        )?;
        write!(
            f,
            "{:<20}{:>10}{:>12}{:>12}{:>12}",
            "", "requests", "median ms", "p99 ms", "max ms"
        )?;
        for ReplyLatency { of, requests, latency } in &self.rows {
            let LatencySummary { p50_ms, p99_ms, max_ms } = latency;
            write!(f, "\n{of:<20}{requests:>10}{p50_ms:>12.3}{p99_ms:>12.3}{max_ms:>12.3}")?;
        }
        Ok(())
    }
}
