//! The report of a `cluster` run.

use std::fmt;

use gateway_harness::ToolReport;
use serde::Serialize;

use super::{
    super::latencies::LatencySummary,
    ClusterLoadOptions, DeliveryErrors, NODES, PeerReport,
    rounds::{ClusterRounds, Throughput},
};

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
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Self {
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
    /// Of each node, or of each server of a peer.
    pub nodes: Vec<ClusterSpread>,
    /// Of Redis.
    pub redis: ClusterSpread,
    /// Of this process, which runs the senders and the receivers.
    pub clients: ClusterSpread,
}

impl Cost {
    pub(super) fn new(of: &'static str, throughputs: &[Throughput]) -> Self {
        // Redis and this process come last.
        let nodes = throughputs
            .first()
            .map_or(0, |first| first.costs.len().saturating_sub(2));
        let spread = |place: usize| {
            ClusterSpread::of(
                throughputs
                    .iter()
                    .filter_map(|throughput| throughput.costs.get(place).copied()),
            )
        };
        Self {
            of,
            nodes: (0..nodes).map(spread).collect(),
            redis: spread(nodes),
            clients: spread(nodes + 1),
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
    pub(super) fn new(of: &'static str, summaries: &[LatencySummary]) -> Self {
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
    /// The median latency from node to node, as a multiple of that of a message through Redis alone.
    pub across_whole_ratio: ClusterSpread,
    /// Events per second of the measurements at a constant rate.
    pub rate: u32,
    /// Receivers of these measurements; a bare message has one.
    pub receivers: u32,
    /// Latencies at a constant rate.
    pub paced: Vec<Latency>,
    /// What Redis adds to the median latency from node to node at this rate, like `across_ratio`.
    pub paced_ratio: ClusterSpread,
    /// Third-party servers that share the Redis.
    pub peers: Vec<PeerReport>,
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
        let [calls, again] = [&rounds.calls, &rounds.calls_again].map(|throughputs| rates(throughputs));
        let paced = &rounds.paced;
        let [sockets, http, batched] =
            [&rounds.sockets, &rounds.http, &rounds.batched_calls].map(|throughputs| rates(throughputs));
        let around: Vec<_> = calls.iter().zip(&again).map(|(a, b)| f64::midpoint(*a, *b)).collect();
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
            same_ratio: added(&rounds.same, &rounds.alone, &rounds.bare),
            across_ratio: added(&rounds.across, &rounds.alone, &rounds.bare),
            across_whole_ratio: ratio(&p50s(&rounds.across), &p50s(&rounds.bare)),
            rate: options.rate,
            receivers: options.receivers,
            paced_ratio: added(&paced.across, &paced.alone, &paced.bare),
            paced: vec![
                Latency::new("bare PUBLISH", &paced.bare),
                Latency::new("no Redis", &paced.alone),
                Latency::new("node to node", &paced.across),
            ],
            peers: rounds.peers.iter().map(|peer| PeerReport::new(peer, rounds)).collect(),
            events,
            faults,
            log,
        }
    }
}

/// Returns the rate of each round.
pub(super) fn rates(throughputs: &[Throughput]) -> Vec<f64> {
    throughputs.iter().map(|throughput| throughput.rate).collect()
}

/// Returns the median latency of each round, in milliseconds.
pub(super) fn p50s(summaries: &[LatencySummary]) -> Vec<f64> {
    summaries.iter().map(|summary| summary.p50_ms).collect()
}

/// Returns the ratio within each round.
pub(super) fn ratio(of: &[f64], to: &[f64]) -> ClusterSpread {
    ClusterSpread::of(of.iter().zip(to).map(|(of, to)| of / to.max(1e-9)))
}

/// Returns what the median latency has in addition to the node without Redis, as a multiple of a bare message's.
fn added(of: &[LatencySummary], alone: &[LatencySummary], bare: &[LatencySummary]) -> ClusterSpread {
    let added = p50s(of).into_iter().zip(p50s(alone)).map(|(of, alone)| of - alone);
    ratio(&added.collect::<Vec<_>>(), &p50s(bare))
}

/// Writes a row of a table.
pub(super) fn write_row(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    spread: &ClusterSpread,
    places: usize,
    note: &str,
) -> fmt::Result {
    let ClusterSpread { median, min, max } = spread;
    writeln!(
        f,
        "{name:<38}{median:>12.places$}{min:>12.places$}{max:>12.places$}  {note}"
    )
}

impl ToolReport for ClusterLoadReport {
    fn failures(&self) -> Vec<String> {
        let peers = self.peers.iter().flat_map(|peer| {
            let failures = peer.faults.failures().into_iter();
            failures.map(|failure| format!("{}: {failure}", peer.name))
        });
        self.faults.failures().into_iter().chain(peers).collect()
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
        let mut row = |name: &str, spread: &ClusterSpread, places, note: &str| write_row(f, name, spread, places, note);
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
        row("node to node, to a bare PUBLISH", &self.across_whole_ratio, 2, "")?;
        let [one, several] = [1, self.receivers].map(|receivers| format!("{} events/s to {receivers}", self.rate));
        for (number, Latency { of, p50_us, p99_us }) in self.paced.iter().enumerate() {
            // A bare message has one receiver.
            let pace = if number == 0 { &one } else { &several };
            row(&format!("paced latency, {of}, p50 us"), p50_us, 0, pace)?;
            row("  p99 us", p99_us, 0, "")?;
        }
        row("added from node to node, paced", &self.paced_ratio, 2, "target <= 2")?;
        writeln!(f, "{} events to {NODES} receivers: {}", self.events, self.faults)?;
        for peer in &self.peers {
            write!(f, "{peer}")?;
        }
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
