//! The measurements of a run, round by round.

use std::time::Duration;

use super::{
    super::{latencies::LatencySummary, usage::Usage},
    ClusterPeer, DeliveryErrors,
};

/// One throughput measurement.
#[derive(Debug)]
pub(super) struct Throughput {
    /// Events per second.
    pub(super) rate: f64,
    /// CPU microseconds per event: of each server, of Redis, and of this process.
    pub(super) costs: Vec<f64>,
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
    /// The bare loop again. Its difference from `calls` is noise.
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
    /// Latencies at a constant rate.
    pub(super) paced: PacedRounds,
    /// Third-party servers.
    pub(super) peers: Vec<PeerRounds>,
}

impl ClusterRounds {
    /// Creates the measurements of a cluster whose Redis `peers` share.
    pub(super) fn with_peers(peers: &[ClusterPeer]) -> Self {
        let peers = peers.iter().map(|peer| PeerRounds {
            name: peer.name(),
            ..PeerRounds::default()
        });
        Self {
            peers: peers.collect(),
            ..Self::default()
        }
    }
}

/// Latencies at a constant rate, with several receivers.
#[derive(Debug, Default)]
pub(super) struct PacedRounds {
    /// A bare message, with one receiver.
    pub(super) bare: Vec<LatencySummary>,
    /// An event on the node without Redis.
    pub(super) alone: Vec<LatencySummary>,
    /// An event from one node of the cluster to another.
    pub(super) across: Vec<LatencySummary>,
}

/// The measurements of a peer, one value per round.
#[derive(Debug, Default)]
pub(super) struct PeerRounds {
    /// Its name.
    pub(super) name: &'static str,
    /// Its servers, through one socket.
    pub(super) one_socket: Vec<Throughput>,
    /// An event from one server to another.
    pub(super) across: Vec<LatencySummary>,
    /// An event from one server to another at a constant rate, with several receivers.
    pub(super) paced: Vec<LatencySummary>,
    /// Events sent in the whole run, and the delivery errors of all receivers.
    pub(super) deliveries: (u64, DeliveryErrors),
}
