//! The report of a `cluster` run.

use std::{fmt, time::Duration};

use gateway_harness::ToolReport;
use serde::Serialize;

use super::{
    super::{latencies::LatencySummary, usage::Usage},
    ClusterLoadOptions, DeliveryErrors, NODES,
};

/// One throughput measurement.
#[derive(Debug)]
pub(super) struct Throughput {
    /// Events per second.
    rate: f64,
    /// CPU microseconds per event: of each node, of Redis, and of this process.
    costs: Vec<f64>,
}

impl Throughput {
    /// Computes the rate and the costs from the events in `time` and the usage of each process before and after.
    #[expect(clippy::cast_precision_loss, reason = "no run has 2^52 events")]
    pub(super) fn new(events: u64, time: Duration, before: &[Usage], after: &[Usage]) -> Self {
        let events = events.max(1) as f64;
        let used = after.iter().zip(before);
        Self {
            rate: events / time.as_secs_f64().max(1e-9),
            costs: used
                .map(|(after, before)| after.cpu_us_since(before) / events)
                .collect(),
        }
    }
}

/// The measurements, one value per round.
#[derive(Debug, Default)]
pub(super) struct ClusterRounds {
    /// The bare loop, one event per call.
    pub(super) calls: Vec<Throughput>,
    /// The same loop a second time, which shows the noise.
    pub(super) calls_again: Vec<Throughput>,
    /// The bare loop, with as many events per call as an HTTP request has.
    pub(super) batched_calls: Vec<Throughput>,
    /// The cluster, through sockets.
    pub(super) sockets: Vec<Throughput>,
    /// The cluster, through one socket.
    pub(super) one_socket: Vec<Throughput>,
    /// The cluster, through HTTP.
    pub(super) http: Vec<Throughput>,
    /// CPU microseconds per event of a node that has no receiver for it.
    pub(super) bystander: Vec<f64>,
    /// A bare message.
    pub(super) bare: Vec<LatencySummary>,
    /// An event on the node without Redis.
    pub(super) alone: Vec<LatencySummary>,
    /// An event on one node of the cluster.
    pub(super) same: Vec<LatencySummary>,
    /// An event from one node of the cluster to another.
    pub(super) across: Vec<LatencySummary>,
}

/// Median, minimum and maximum over the rounds.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub struct ClusterSpread {
    /// Median; the mean of the two middle values if their number is even.
    pub median: f64,
    /// Minimum.
    pub min: f64,
    /// Maximum.
    pub max: f64,
}

impl ClusterSpread {
    fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let at = |place: usize| values.get(place).copied().unwrap_or_default();
        let median = if values.len() % 2 == 1 {
            at(middle)
        } else {
            f64::midpoint(at(middle.saturating_sub(1)), at(middle))
        };
        Self {
            median,
            min: at(0),
            max: at(values.len().saturating_sub(1)),
        }
    }
}

/// CPU microseconds per event.
#[derive(Debug, Serialize)]
pub struct Cost {
    /// The name of the measurement.
    pub of: &'static str,
    /// Of each node.
    pub nodes: Vec<ClusterSpread>,
    /// Of Redis.
    pub redis: ClusterSpread,
    /// Of this process, which runs the senders and the receivers.
    pub clients: ClusterSpread,
}

impl Cost {
    fn new(of: &'static str, throughputs: &[Throughput]) -> Self {
        let spread = |place: usize| {
            ClusterSpread::of(
                throughputs
                    .iter()
                    .filter_map(|throughput| throughput.costs.get(place).copied()),
            )
        };
        Self {
            of,
            nodes: (0..NODES).map(spread).collect(),
            redis: spread(NODES),
            clients: spread(NODES + 1),
        }
    }
}

/// From sending to receiving, in microseconds.
#[derive(Debug, Serialize)]
pub struct Latency {
    /// The name of the measurement.
    pub of: &'static str,
    /// Medians of the rounds.
    pub p50_us: ClusterSpread,
    /// 99th percentiles of the rounds.
    pub p99_us: ClusterSpread,
}

impl Latency {
    fn new(of: &'static str, summaries: &[LatencySummary]) -> Self {
        Self {
            of,
            p50_us: ClusterSpread::of(summaries.iter().map(|summary| summary.p50_ms * 1000.0)),
            p99_us: ClusterSpread::of(summaries.iter().map(|summary| summary.p99_ms * 1000.0)),
        }
    }
}

/// The result of a run. Its `Display` is a table.
#[derive(Debug, Serialize)]
pub struct ClusterLoadReport {
    /// Number of rounds.
    pub rounds: u32,
    /// Seconds of each throughput measurement.
    pub seconds: f64,
    /// Size of an event's data, in bytes.
    pub payload: u32,
    /// Events per HTTP request.
    pub batch: u32,
    /// Events per second of the bare loop, one per call.
    pub calls: ClusterSpread,
    /// Events per second of the same loop, run a second time in each round.
    pub calls_again: ClusterSpread,
    /// Events per second of the bare loop, `batch` per call.
    pub batched_calls: ClusterSpread,
    /// Events per second through the sockets of three nodes, each received on all of them.
    pub sockets: ClusterSpread,
    /// Events per second through one socket, each received on three nodes.
    pub one_socket: ClusterSpread,
    /// CPU microseconds per event of a node that has no receiver for it.
    pub bystander: ClusterSpread,
    /// Events per second through HTTP on three nodes, each received on all of them.
    pub http: ClusterSpread,
    /// Ratio of the second run of the bare loop to the first: the noise.
    pub noise: ClusterSpread,
    /// Ratio of the sockets to the bare loops before and after them.
    pub sockets_ratio: ClusterSpread,
    /// Ratio of HTTP to the bare loop with one event per call.
    pub http_ratio: ClusterSpread,
    /// Ratio of HTTP to the bare loop with `batch` events per call.
    pub http_batched_ratio: ClusterSpread,
    /// CPU time of the processes.
    pub costs: Vec<Cost>,
    /// Latencies of single events.
    pub latencies: Vec<Latency>,
    /// What Redis adds to the median latency between sessions of the same node, as a multiple of the median that a message
    /// takes through Redis alone, without the gateway.
    pub same_ratio: ClusterSpread,
    /// What Redis adds to the median latency from node to node, likewise.
    pub across_ratio: ClusterSpread,
    /// Events sent into the cluster. Each receiver should receive every one of them once.
    pub events: u64,
    /// Delivery errors of all receivers.
    pub faults: DeliveryErrors,
    /// What the nodes logged: warnings and worse.
    pub log: String,
}

impl ClusterLoadReport {
    pub(super) fn new(
        options: &ClusterLoadOptions,
        rounds: &ClusterRounds,
        (events, faults): (u64, DeliveryErrors),
        log: String,
    ) -> Self {
        let rates =
            |throughputs: &[Throughput]| throughputs.iter().map(|throughput| throughput.rate).collect::<Vec<_>>();
        let [calls, again] = [&rounds.calls, &rounds.calls_again].map(|throughputs| rates(throughputs));
        let [sockets, http, batched] =
            [&rounds.sockets, &rounds.http, &rounds.batched_calls].map(|throughputs| rates(throughputs));
        let around: Vec<_> = calls.iter().zip(&again).map(|(a, b)| f64::midpoint(*a, *b)).collect();
        let ratio = |of: &[f64], to: &[f64]| ClusterSpread::of(of.iter().zip(to).map(|(of, to)| of / to.max(1e-9)));
        let added = |of: &[LatencySummary]| {
            let summaries = of.iter().zip(&rounds.alone).zip(&rounds.bare);
            ClusterSpread::of(summaries.map(|((of, alone), bare)| (of.p50_ms - alone.p50_ms) / bare.p50_ms.max(1e-9)))
        };
        Self {
            rounds: options.rounds,
            seconds: options.seconds,
            payload: options.payload,
            batch: options.batch,
            noise: ratio(&again, &calls),
            sockets_ratio: ratio(&sockets, &around),
            http_ratio: ratio(&http, &around),
            http_batched_ratio: ratio(&http, &batched),
            calls: ClusterSpread::of(calls),
            calls_again: ClusterSpread::of(again),
            batched_calls: ClusterSpread::of(batched),
            sockets: ClusterSpread::of(sockets),
            http: ClusterSpread::of(http),
            one_socket: ClusterSpread::of(rates(&rounds.one_socket)),
            bystander: ClusterSpread::of(rounds.bystander.iter().copied()),
            costs: vec![
                Cost::new("bare calls", &rounds.calls),
                Cost::new("bare calls, batched", &rounds.batched_calls),
                Cost::new("cluster, sockets", &rounds.sockets),
                Cost::new("cluster, one socket", &rounds.one_socket),
                Cost::new("cluster, HTTP", &rounds.http),
            ],
            latencies: vec![
                Latency::new("bare PUBLISH", &rounds.bare),
                Latency::new("no Redis", &rounds.alone),
                Latency::new("same node", &rounds.same),
                Latency::new("node to node", &rounds.across),
            ],
            same_ratio: added(&rounds.same),
            across_ratio: added(&rounds.across),
            events,
            faults,
            log,
        }
    }
}

impl ToolReport for ClusterLoadReport {
    fn failures(&self) -> Vec<String> {
        let DeliveryErrors {
            lost,
            doubled,
            reordered,
        } = self.faults;
        let counts = [
            (lost, "never came"),
            (doubled, "came again"),
            (reordered, "came out of order"),
        ];
        let wrong = counts.into_iter().filter(|(count, _)| *count > 0);
        wrong.map(|(count, what)| format!("{count} events {what}")).collect()
    }
}

impl fmt::Display for ClusterLoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let batch = self.batch;
        writeln!(
            f,
            "{} rounds of {} s, {NODES} nodes, {} bytes; median, min and max of the rounds\n",
            self.rounds, self.seconds, self.payload
        )?;
        let mut row = |name: &str, spread: &ClusterSpread, places: usize, note: &str| {
            let ClusterSpread { median, min, max } = spread;
            writeln!(
                f,
                "{name:<38}{median:>12.places$}{min:>12.places$}{max:>12.places$}  {note}"
            )
        };
        row("bare calls, events/s", &self.calls, 0, "")?;
        row("the same again, ratio", &self.noise, 2, "noise")?;
        row(&format!("bare calls of {batch}, events/s"), &self.batched_calls, 0, "")?;
        row("cluster, sockets, events/s", &self.sockets, 0, "")?;
        row("  to bare calls", &self.sockets_ratio, 2, "target >= 0.6")?;
        row("cluster, one socket, events/s", &self.one_socket, 0, "64 in flight")?;
        row(
            &format!("cluster, HTTP, {batch} a request, events/s"),
            &self.http,
            0,
            "",
        )?;
        row("  to bare calls", &self.http_ratio, 2, "target >= 0.6")?;
        row(&format!("  to bare calls of {batch}"), &self.http_batched_ratio, 2, "")?;
        for cost in &self.costs {
            row(&format!("CPU us/event, {}: Redis", cost.of), &cost.redis, 2, "")?;
            if cost.of.starts_with("cluster") {
                for node in &cost.nodes {
                    row("  a node", node, 2, "")?;
                }
            }
            row("  clients", &cost.clients, 2, "")?;
        }
        row(
            "CPU us/event, a node without receivers",
            &self.bystander,
            2,
            "target <= 2",
        )?;
        for Latency { of, p50_us, p99_us } in &self.latencies {
            row(&format!("latency, {of}, p50 us"), p50_us, 0, "")?;
            row("  p99 us", p99_us, 0, "")?;
        }
        row(
            "added on one node, to a bare PUBLISH",
            &self.same_ratio,
            2,
            "target <= 1.5",
        )?;
        row("added from node to node", &self.across_ratio, 2, "target <= 1.5")?;
        let DeliveryErrors {
            lost,
            doubled,
            reordered,
        } = self.faults;
        writeln!(
            f,
            "{} events to {NODES} receivers: {lost} lost, {doubled} doubled, {reordered} reordered",
            self.events
        )?;
        write!(f, "{}", self.log)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_the_median_minimum_and_maximum() {
        let texts = |values: &[f64]| {
            let ClusterSpread { median, min, max } = ClusterSpread::of(values.iter().copied());
            [median, min, max].map(|value| format!("{value}")).join(" ")
        };
        assert_eq!(texts(&[3.0, 1.0, 2.0]), "2 1 3");
        assert_eq!(texts(&[4.0, 1.0, 2.0, 3.0]), "2.5 1 4");
        assert_eq!(texts(&[]), "0 0 0");
    }
}
