//! The report of a `reports` run.

use std::fmt;

use gateway_harness::ToolReport;
use serde::Serialize;

use super::super::latencies::LatencySummary;

/// The measurements of one phase.
#[derive(Debug, Serialize)]
pub struct ReportsPhase {
    /// `alone`, `again` or `reports`.
    pub name: String,
    /// From a publish request to its response.
    pub publish: LatencySummary,
    /// Events published.
    pub events: u32,
    /// CPU usage of the node, in per cent of one core.
    pub node_percent: f64,
    /// CPU usage of Redis, in per cent of one core.
    pub redis_percent: f64,
}

/// The result of a run. Its `Display` is a table.
#[derive(Debug, Serialize)]
pub struct ReportsSummary {
    /// Bots that reported.
    pub bots: u32,
    /// Ids in each report.
    pub ids: u32,
    /// The number of reports that each bot sends per second.
    pub rate: u32,
    /// Whether the process of the bots ran until the end.
    pub attacked: bool,
    /// Two phases without the bots, then one with them.
    pub phases: [ReportsPhase; 3],
    /// What the node logged, at level `warn` and above.
    pub log: String,
}

impl ToolReport for ReportsSummary {
    fn failures(&self) -> Vec<String> {
        let ended = (!self.attacked).then(|| "the bots have ended".to_owned());
        ended.into_iter().collect()
    }
}

impl fmt::Display for ReportsSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<9}{:>8}{:>9}{:>9}{:>9}{:>9}{:>9}",
            "phase", "events", "p50 ms", "p99 ms", "max ms", "node %", "Redis %"
        )?;
        for phase in &self.phases {
            let LatencySummary { p50_ms, p99_ms, max_ms } = phase.publish;
            writeln!(
                f,
                "{:<9}{:>8}{p50_ms:>9.2}{p99_ms:>9.2}{max_ms:>9.2}{:>9.1}{:>9.1}",
                phase.name, phase.events, phase.node_percent, phase.redis_percent
            )?;
        }
        let [alone, again, beside] = self.phases.each_ref().map(|phase| phase.publish.p99_ms);
        writeln!(
            f,
            "{} bots, {} ids, {} reports a second each: publish p99 x {:.2}; without bots, x {:.2}",
            self.bots,
            self.ids,
            self.rate,
            beside / alone,
            again / alone
        )?;
        write!(f, "{}", self.log)
    }
}
