//! What a run has shown.

use std::fmt;

use gateway_harness::Outcome;
use serde::Serialize;

use super::super::latencies::LatencySummary;

/// What one phase has shown.
#[derive(Debug, Serialize)]
pub struct StrangersPhase {
    /// `alone` or `strangers`.
    pub name: String,
    /// Of healthy clients, from a heartbeat to its answer.
    pub heartbeat: LatencySummary,
    /// From connecting to the answer to an identify.
    pub connect: LatencySummary,
    /// Healthy sessions that ended.
    pub lost: u32,
    /// Packets that the node dropped.
    pub dropped: u64,
    /// Per cent of a core that the node used.
    pub cpu_percent: f64,
}

/// The result of a run. Its `Display` is a table.
#[derive(Debug, Serialize)]
pub struct StrangersReport {
    /// Clients that never identified.
    pub strangers: u32,
    /// Whether they were there until the end.
    pub attacked: bool,
    /// Without them, and beside them.
    pub phases: [StrangersPhase; 2],
    /// What the node logged: warnings and worse.
    pub log: String,
}

/// How many packets were dropped by these metrics.
pub(super) fn dropped(metrics: &str) -> u64 {
    let lines = metrics
        .lines()
        .filter(|line| line.starts_with("utilbot_packets_dropped_total{"));
    let numbers = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    numbers.sum()
}

impl Outcome for StrangersReport {
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
