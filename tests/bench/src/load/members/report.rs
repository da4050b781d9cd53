//! The report of a `members` run.

use std::fmt;

use gateway_harness::ToolReport;
use serde::Serialize;

use super::super::latencies::LatencySummary;

/// The result of a run. Its `Display` is a table.
#[derive(Debug, Serialize)]
pub struct MembersReport {
    /// Members of the guild.
    pub members: u64,
    /// Sessions that requested members.
    pub sessions: u32,
    /// Requests of each session.
    pub requests: u32,
    /// Seconds until every request was answered.
    pub seconds: f64,
    /// CPU milliseconds of the node in that time.
    pub cpu_ms: f64,
    /// Heartbeat latency of the other application before the requests.
    pub baseline: LatencySummary,
    /// Heartbeat latency while the requests were being answered.
    pub beside: LatencySummary,
    /// Resident KiB of the node before the requests.
    pub before_kib: u32,
    /// Peak resident KiB while the requests were being answered.
    pub peak_kib: u32,
    /// Errors of the requesting sessions: lost connections and wrong answers.
    pub lost: Vec<String>,
}

impl ToolReport for MembersReport {
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
