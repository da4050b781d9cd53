//! The report of a `slow` run.

use std::{collections::BTreeMap, fmt};

use gateway_harness::ToolReport;
use serde::Serialize;

use super::super::{client::LoadProtocol, latencies::LatencySummary};

/// How an evicted client must see its connection end.
const fn eviction(protocol: LoadProtocol) -> &'static str {
    match protocol {
        LoadProtocol::V1 => "Error 1000 \"The client reads too slowly.\", close 1013",
        LoadProtocol::Discord => "close 4000",
    }
}

/// The measurements of one phase.
#[derive(Debug, Serialize)]
pub struct SlowPhaseReport {
    /// `alone`, or `wave` and its number.
    pub name: String,
    /// Events published.
    pub events: u32,
    /// Slow clients.
    pub slow: u32,
    /// Stopped clients among them that read again after their eviction.
    pub resuming: u32,
    /// Of the resuming clients, those that resumed their session and missed nothing.
    pub resumed: u32,
    /// Sessions that the node closed because their client was too slow.
    pub evicted: u32,
    /// Seconds from the start of the phase to the first eviction.
    pub first_evicted_s: Option<f64>,
    /// Seconds to the last eviction.
    pub last_evicted_s: Option<f64>,
    /// Peak resident memory, in KiB.
    pub peak_kib: u32,
    /// Resident KiB some time after the last event.
    pub after_kib: u32,
    /// CPU milliseconds of the node.
    pub cpu_ms: f64,
    /// From before the HTTP request that publishes an event to its receipt by a healthy client.
    pub latency: LatencySummary,
    /// Events missed by clients that read everything, including those received out of order.
    pub missed: u32,
    /// Events that these clients received twice.
    pub repeated: u32,
    /// How many of these clients were disconnected.
    pub lost: u32,
    /// How connections ended, for the clients of this phase.
    pub endings: BTreeMap<String, u32>,
}

/// The result of a run. Its `Display` is a table.
#[derive(Debug, Serialize)]
pub struct SlowReport {
    /// The protocol of the clients.
    pub protocol: LoadProtocol,
    /// Healthy clients.
    pub healthy: u32,
    /// `limits.outbox_bytes` of the node.
    pub outbox_bytes: u32,
    /// `limits.outbox_age_ms` of the node.
    pub outbox_age_ms: u32,
    /// Per cent by which memory may grow from the first wave to a later one.
    pub growth_percent: u32,
    /// KiB by which memory may grow in addition: the size of the node's log.
    pub log_kib: u32,
    /// Resident KiB before any client connected.
    pub empty_kib: u32,
    /// The phase without slow clients, then the waves.
    pub phases: Vec<SlowPhaseReport>,
    /// Whether the node exited with success at the end.
    pub clean_exit: bool,
    /// What the node logged, at level `warn` and above.
    pub log: String,
}

impl SlowPhaseReport {
    fn failures(&self, protocol: LoadProtocol) -> Vec<String> {
        let eviction = eviction(protocol);
        let ended_by_eviction = |kind: &str| self.endings.get(&format!("{kind}: {eviction}")).copied().unwrap_or(0);
        let resumable = match protocol {
            LoadProtocol::V1 => 0,
            LoadProtocol::Discord => self.resuming,
        };
        let counts = [
            (self.missed, "events missed by clients that read everything"),
            (self.repeated, "events repeated to them"),
            (self.lost, "of them cut off"),
            (
                resumable - self.resumed.min(resumable),
                "evicted clients that did not go on with everything",
            ),
            (self.slow - self.evicted.min(self.slow), "slow clients not evicted"),
            (self.evicted.saturating_sub(self.slow), "evictions too many"),
            (
                self.resuming - ended_by_eviction("reads again").min(self.resuming),
                "evicted clients that read again without being told why",
            ),
        ];
        counts
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{}: {count} {what}", self.name))
            .collect()
    }
}

impl ToolReport for SlowReport {
    fn failures(&self) -> Vec<String> {
        let phases = self.phases.iter();
        let mut failures: Vec<_> = phases.flat_map(|phase| phase.failures(self.protocol)).collect();
        let mut waves = self.phases.iter().skip(1);
        if let Some(first) = waves.next() {
            let bound =
                u64::from(first.after_kib) * u64::from(100 + self.growth_percent) / 100 + u64::from(self.log_kib);
            for wave in waves.filter(|wave| u64::from(wave.after_kib) > bound) {
                failures.push(format!(
                    "{}: {} KiB resident after it, over {bound}",
                    wave.name, wave.after_kib
                ));
            }
        }
        if !self.clean_exit {
            failures.push("the node did not exit with success".to_owned());
        }
        failures
    }
}

impl fmt::Display for SlowReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} healthy clients; outbox_bytes {}, outbox_age_ms {}; resident before: {} KiB",
            self.healthy, self.outbox_bytes, self.outbox_age_ms, self.empty_kib
        )?;
        writeln!(
            f,
            "{:<8}{:>7}{:>6}{:>9}{:>9}{:>9}{:>9}{:>10}{:>11}{:>9}{:>9}{:>9}{:>9}{:>8}",
            "phase",
            "events",
            "slow",
            "evicted",
            "resumed",
            "first s",
            "last s",
            "peak KiB",
            "after KiB",
            "CPU ms",
            "p50 ms",
            "p99 ms",
            "max ms",
            "missed"
        )?;
        for phase in &self.phases {
            let seconds = |time: Option<f64>| time.map_or_else(|| "-".to_owned(), |time| format!("{time:.1}"));
            let LatencySummary { p50_ms, p99_ms, max_ms } = phase.latency;
            writeln!(
                f,
                "{:<8}{:>7}{:>6}{:>9}{:>9}{:>9}{:>9}{:>10}{:>11}{:>9.0}{p50_ms:>9.2}{p99_ms:>9.2}{max_ms:>9.2}{:>8}",
                phase.name,
                phase.events,
                phase.slow,
                phase.evicted,
                phase.resumed,
                seconds(phase.first_evicted_s),
                seconds(phase.last_evicted_s),
                phase.peak_kib,
                phase.after_kib,
                phase.cpu_ms,
                phase.missed + phase.repeated + phase.lost,
            )?;
        }
        for phase in &self.phases {
            for (ending, count) in &phase.endings {
                writeln!(f, "{}: {count} x {ending}", phase.name)?;
            }
        }
        writeln!(f, "exit: {}", if self.clean_exit { "success" } else { "FAILURE" })?;
        write!(f, "{}", self.log)
    }
}
