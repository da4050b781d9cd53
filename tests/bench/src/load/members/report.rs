//! What a run found.

use std::fmt;

use gateway_harness::Outcome;
use serde::Serialize;

use super::super::latencies::LatencySummary;

/// The figures of one run.
#[derive(Debug, Serialize)]
pub struct MembersReport {
    /// Members of the guild.
    pub members: u64,
    /// Sessions that asked.
    pub sessions: u32,
    /// Requests of each.
    pub requests: u32,
    /// Seconds until every answer was there.
    pub seconds: f64,
    /// CPU time of the node meanwhile, in milliseconds.
    pub cpu_ms: f64,
    /// The other application's heartbeats alone.
    pub baseline: LatencySummary,
    /// The same meanwhile.
    pub beside: LatencySummary,
    /// The node's resident memory before, in KiB.
    pub before_kib: u32,
    /// The most of it meanwhile, in KiB.
    pub peak_kib: u32,
    /// What was wrong with answers.
    pub lost: Vec<String>,
}

impl Outcome for MembersReport {
    fn failures(&self) -> Vec<String> {
        self.lost.clone()
    }
}

impl fmt::Display for MembersReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { baseline, beside, .. } = self;
        writeln!(f, "members of the guild      {}", self.members)?;
        writeln!(f, "requests                  {} x {}", self.sessions, self.requests)?;
        writeln!(f, "answered in               {:.1} s", self.seconds)?;
        writeln!(f, "node's CPU time           {:.0} ms", self.cpu_ms)?;
        for (name, it) in [("alone", baseline), ("beside", beside)] {
            writeln!(
                f,
                "heartbeats {name:<14} p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms",
                it.p50_ms, it.p99_ms, it.max_ms
            )?;
        }
        let mib = |kib: u32| f64::from(kib) / 1024.0;
        writeln!(f, "resident before           {:.1} MiB", mib(self.before_kib))?;
        writeln!(f, "resident at most          {:.1} MiB", mib(self.peak_kib))?;
        write!(f, "sessions or answers lost  {}", self.lost.len())
    }
}
