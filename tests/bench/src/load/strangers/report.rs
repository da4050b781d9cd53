//! The report of a `strangers` run.

use std::fmt;

use gateway_harness::ToolReport;
use serde::Serialize;

use super::super::latencies::LatencySummary;

/// The measurements of one phase.
#[derive(Debug, Serialize)]
pub struct StrangersPhase {
    /// `alone` or `strangers`.
    pub name: String,
    /// From sending a heartbeat to its ACK, for healthy clients.
    pub heartbeat: LatencySummary,
    /// From opening the TCP connection to the answer to Identify, for healthy clients.
    pub connect: LatencySummary,
    /// Healthy sessions that ended.
    pub lost: u32,
    /// Packets that the node dropped.
    pub dropped: u64,
    /// CPU usage of the node, in per cent of one core.
    pub cpu_percent: f64,
}

/// The result of a run. Its `Display` is a table.
#[derive(Debug, Serialize)]
pub struct StrangersReport {
    /// Number of clients that never identified.
    pub strangers: u32,
    /// Whether the attacker process ran until the end.
    pub attacked: bool,
    /// The phase without strangers, then the phase with them.
    pub phases: [StrangersPhase; 2],
    /// What the node logged, at level `warn` and above.
    pub log: String,
}

/// Sums the dropped packets in a text of metrics.
pub(super) fn dropped(metrics: &str) -> u64 {
    let lines = metrics
        .lines()
        .filter(|line| line.starts_with("utilbot_packets_dropped_total{"));
    let numbers = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    numbers.sum()
}

impl ToolReport for StrangersReport {
    fn failures(&self) -> Vec<String> {
        let lost = self.phases.iter().filter(|phase| phase.lost > 0);
        let mut failures: Vec<_> = lost
            .map(|phase| format!("{}: {} healthy sessions lost", phase.name, phase.lost))
            .collect();
        if !self.attacked {
            failures.push("the strangers have ended".to_owned());
        }
        failures
    }
}

impl fmt::Display for StrangersReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<10}{:>13}{:>13}{:>13}{:>15}{:>15}{:>9}{:>7}",
            "phase",
            "beat p50 ms",
            "beat p99 ms",
            "beat max ms",
            "connect p50 ms",
            "connect p99 ms",
            "dropped",
            "CPU %"
        )?;
        for phase in &self.phases {
            let (beat, connect) = (phase.heartbeat, phase.connect);
            writeln!(
                f,
                "{:<10}{:>13.2}{:>13.2}{:>13.2}{:>15.2}{:>15.2}{:>9}{:>7.1}",
                phase.name,
                beat.p50_ms,
                beat.p99_ms,
                beat.max_ms,
                connect.p50_ms,
                connect.p99_ms,
                phase.dropped,
                phase.cpu_percent
            )?;
        }
        let [alone, beside] = &self.phases;
        writeln!(
            f,
            "{} strangers: heartbeat p99 {:+.2} ms, connect and identify p50 x {:.2}",
            self.strangers,
            beside.heartbeat.p99_ms - alone.heartbeat.p99_ms,
            beside.connect.p50_ms / alone.connect.p50_ms
        )?;
        write!(f, "{}", self.log)
    }
}
