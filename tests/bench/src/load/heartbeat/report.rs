//! The report of a `heartbeat` run.

use std::{collections::BTreeMap, fmt, time::Duration};

use gateway_harness::ToolReport;
use serde::Serialize;

use super::{
    super::{latencies::LatencySummary, usage::Usage},
    HeartbeatOptions,
    clients::Clients,
};

/// How every client must see its connection end when the node stops.
const SHUTDOWN_ENDING: &str = "Error 1000 \"The node is restarting.\", close 1012";

/// The usage of the node at each stage of a run, and the time between.
pub(super) struct Costs {
    /// Before any client connected.
    pub(super) before: Usage,
    pub(super) connecting: Duration,
    /// After all clients had identified.
    pub(super) idle: Usage,
    pub(super) beating: Duration,
    /// After the last heartbeat.
    pub(super) end: Usage,
}

/// The result of a run. Its `Display` is a table.
#[derive(Debug, Serialize)]
pub struct HeartbeatReport {
    /// Sessions asked for.
    pub sessions: u32,
    /// Sessions that identified.
    pub identified: u32,
    /// Seconds until all sessions had identified.
    pub connect_seconds: f64,
    /// CPU microseconds of the node per session, from the TCP handshake to the end of Identify.
    pub connect_cpu_us: f64,
    /// Resident KiB of the node before any client connected.
    pub empty_kib: u32,
    /// Additional resident KiB per session once all had identified.
    pub idle_kib_per_session: f64,
    /// Additional resident KiB per session after the heartbeats.
    pub end_kib_per_session: f64,
    /// Milliseconds between two heartbeats of a session.
    pub interval_ms: u32,
    /// Seconds of heartbeats.
    pub beating_seconds: f64,
    /// Heartbeats sent.
    pub heartbeats: u32,
    /// Heartbeats answered within the deadline.
    pub acks: u32,
    /// Heartbeats answered after the deadline.
    pub late_acks: u32,
    /// CPU microseconds of the node per heartbeat.
    pub heartbeat_cpu_us: f64,
    /// CPU usage of the node during the heartbeats, in per cent of one core.
    pub cpu_percent: f64,
    /// From sending a heartbeat to reading its ACK.
    pub ack_latency: LatencySummary,
    /// Sessions that ended before the node was told to stop.
    pub lost: u32,
    /// How those sessions ended.
    pub early_endings: BTreeMap<String, u32>,
    /// Clients that received the first event exactly once before the second.
    pub announced_once: u32,
    /// Unexpected payloads: further copies of an event, unknown events, and ACKs without a heartbeat.
    pub surplus: u32,
    /// How the other sessions ended after the node was told to stop.
    pub endings: BTreeMap<String, u32>,
    /// Whether the node exited with success.
    pub clean_exit: bool,
    /// What the node logged, at level `warn` and above.
    pub log: String,
}

impl HeartbeatReport {
    pub(super) fn new(
        options: &HeartbeatOptions,
        costs: &Costs,
        clients: Clients,
        clean_exit: bool,
        log: String,
    ) -> Self {
        let stats = clients.stats;
        let each = |total: f64, count: u32| total / f64::from(count.max(1));
        let Costs {
            before,
            connecting,
            idle,
            beating,
            end,
        } = costs;
        let beating_cpu = end.cpu_us_since(idle);
        Self {
            sessions: options.sessions,
            identified: stats.identified,
            connect_seconds: connecting.as_secs_f64(),
            connect_cpu_us: each(idle.cpu_us_since(before), stats.identified),
            empty_kib: before.resident_kib,
            idle_kib_per_session: each(idle.kib_since(before), stats.identified),
            end_kib_per_session: each(end.kib_since(before), stats.identified),
            interval_ms: options.interval_ms,
            beating_seconds: beating.as_secs_f64(),
            heartbeats: stats.beats,
            acks: stats.acks,
            late_acks: stats.late,
            heartbeat_cpu_us: each(beating_cpu, stats.beats),
            cpu_percent: beating_cpu / 1e4 / beating.as_secs_f64().max(1e-9),
            ack_latency: stats.latencies.summary(),
            lost: stats.lost,
            early_endings: stats.early_endings,
            announced_once: stats.once,
            surplus: stats.surplus,
            endings: stats.endings,
            clean_exit,
            log,
        }
    }
}

impl ToolReport for HeartbeatReport {
    fn failures(&self) -> Vec<String> {
        let notified = self.endings.get(SHUTDOWN_ENDING).copied().unwrap_or(0);
        let counts = [
            (self.identified, "sessions identified"),
            (self.sessions - self.lost, "sessions stayed until the node was stopped"),
            (self.announced_once, "sessions received the event exactly once"),
            (notified, "sessions were told that the node restarts"),
        ];
        let mut failures: Vec<_> = counts
            .into_iter()
            .filter(|(count, _)| *count != self.sessions)
            .map(|(count, what)| format!("only {count} of {} {what}", self.sessions))
            .collect();
        if self.acks != self.heartbeats {
            failures.push(format!(
                "only {} of {} heartbeats were answered in time",
                self.acks, self.heartbeats
            ));
        }
        if self.surplus > 0 {
            failures.push(format!("{} payloads came that should not have", self.surplus));
        }
        if !self.clean_exit {
            failures.push("the node did not exit with success".to_owned());
        }
        failures
    }
}

impl fmt::Display for HeartbeatReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, value: String| writeln!(f, "{name:<38}{value:>14}");
        row(
            "sessions identified",
            format!("{} / {}", self.identified, self.sessions),
        )?;
        row("connect + identify, s", format!("{:.2}", self.connect_seconds))?;
        row(
            "connect + identify, CPU us / session",
            format!("{:.1}", self.connect_cpu_us),
        )?;
        row("resident before, KiB", self.empty_kib.to_string())?;
        row(
            "resident idle, KiB / session",
            format!("{:.2}", self.idle_kib_per_session),
        )?;
        row(
            "resident at the end, KiB / session",
            format!("{:.2}", self.end_kib_per_session),
        )?;
        row("heartbeat interval, ms", self.interval_ms.to_string())?;
        row("heartbeats, s", format!("{:.1}", self.beating_seconds))?;
        row("heartbeats sent", self.heartbeats.to_string())?;
        row("ACKs in time", self.acks.to_string())?;
        row("CPU us / heartbeat", format!("{:.2}", self.heartbeat_cpu_us))?;
        row("CPU, % of a core", format!("{:.1}", self.cpu_percent))?;
        let LatencySummary { p50_ms, p99_ms, max_ms } = self.ack_latency;
        row("ACK latency p50, ms", format!("{p50_ms:.2}"))?;
        row("ACK latency p99, ms", format!("{p99_ms:.2}"))?;
        row("ACK latency max, ms", format!("{max_ms:.2}"))?;
        row("sessions lost", self.lost.to_string())?;
        row("event received exactly once", self.announced_once.to_string())?;
        row("surplus payloads", self.surplus.to_string())?;
        row("exit", if self.clean_exit { "success" } else { "FAILURE" }.to_owned())?;
        for (ending, count) in &self.early_endings {
            writeln!(f, "lost: {count} x {ending}")?;
        }
        for (ending, count) in &self.endings {
            writeln!(f, "after SIGTERM: {count} x {ending}")?;
        }
        write!(f, "{}", self.log)
    }
}
