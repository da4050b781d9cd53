//! What the rounds have shown.

use std::{fmt, time::Duration};

use gateway_harness::Outcome;
use serde::Serialize;

use super::{
    super::{latencies::LatencySummary, usage::Usage},
    ClusterLoadOptions, DeliveryErrors, NODES,
};

/// One measurement of throughput.
#[derive(Debug)]
pub(super) struct Throughput {
    /// Events a second.
    rate: f64,
    /// CPU microseconds for each event: of every node, of Redis, and of this process.
    costs: Vec<f64>,
}

impl Throughput {
    /// So many events in this time, with what each process had used before and after.
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

/// What was measured, each a value a round.
#[derive(Debug, Default)]
pub(super) struct ClusterRounds {
    /// The bare loop, one event a call.
    pub(super) calls: Vec<Throughput>,
    /// The same once more, which shows the noise.
    pub(super) calls_again: Vec<Throughput>,
    /// The bare loop, with as many events a call as an HTTP request has.
    pub(super) batched_calls: Vec<Throughput>,
    /// The cluster, through sockets.
    pub(super) sockets: Vec<Throughput>,
    /// The cluster, through HTTP.
    pub(super) http: Vec<Throughput>,
    /// A bare message.
    pub(super) bare: Vec<LatencySummary>,
    /// An event on a node that shares nothing.
    pub(super) alone: Vec<LatencySummary>,
    /// An event on a node of the cluster.
    pub(super) same: Vec<LatencySummary>,
    /// An event from one node to another.
    pub(super) across: Vec<LatencySummary>,
}

/// The median of all rounds, the lowest and the highest.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub struct ClusterSpread {
    /// Half of the rounds had no more.
    pub median: f64,
    /// The lowest.
    pub min: f64,
    /// The highest.
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

/// CPU microseconds for each event.
#[derive(Debug, Serialize)]
pub struct Cost {
    /// Of which measurement.
    pub of: &'static str,
    /// Of each node.
    pub nodes: Vec<ClusterSpread>,
    /// Of Redis.
    pub redis: ClusterSpread,
    /// Of this process: senders and receivers.
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
    /// Of what.
    pub of: &'static str,
    /// The medians of the rounds.
    pub p50_us: ClusterSpread,
    /// Their 99th percentiles.
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
    /// How often everything was measured.
    pub rounds: u32,
    /// Seconds of a measurement of throughput.
    pub seconds: f64,
    /// Bytes of an event's data.
    pub payload: u32,
    /// Events of one HTTP request.
    pub batch: u32,
    /// Events a second of the bare loop, one a call.
    pub calls: ClusterSpread,
    /// The same loop a second time in each round.
    pub calls_again: ClusterSpread,
    /// Events a second of the bare loop, `batch` a call.
    pub batched_calls: ClusterSpread,
    /// Events a second through the sockets of three nodes, received at all of them.
    pub sockets: ClusterSpread,
    /// The same through HTTP.
    pub http: ClusterSpread,
    /// The second loop, in parts of the first: the noise.
    pub noise: ClusterSpread,
    /// The sockets, in parts of the bare loops before and after them.
    pub sockets_ratio: ClusterSpread,
    /// HTTP, in parts of the bare loop with one event a call.
    pub http_ratio: ClusterSpread,
    /// HTTP, in parts of the bare loop with `batch` events a call.
    pub http_batched_ratio: ClusterSpread,
    /// What the processes used.
    pub costs: Vec<Cost>,
    /// How long single events took.
    pub latencies: Vec<Latency>,
    /// What Redis adds to an event on one node, in parts of a bare message: medians.
    pub same_ratio: ClusterSpread,
    /// What it adds to an event from one node to another.
    pub across_ratio: ClusterSpread,
    /// Events that were sent into the cluster, each of which every receiver was to have once.
    pub events: u64,
    /// What was wrong with what the receivers had.
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
            costs: vec![
                Cost::new("bare calls", &rounds.calls),
                Cost::new("bare calls, batched", &rounds.batched_calls),
                Cost::new("cluster, sockets", &rounds.sockets),
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

impl Outcome for ClusterLoadReport {
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
    fn a_spread_has_the_middle_and_the_ends() {
        let texts = |values: &[f64]| {
            let ClusterSpread { median, min, max } = ClusterSpread::of(values.iter().copied());
            [median, min, max].map(|value| format!("{value}")).join(" ")
        };
        assert_eq!(texts(&[3.0, 1.0, 2.0]), "2 1 3");
        assert_eq!(texts(&[4.0, 1.0, 2.0, 3.0]), "2.5 1 4");
        assert_eq!(texts(&[]), "0 0 0");
    }
}
