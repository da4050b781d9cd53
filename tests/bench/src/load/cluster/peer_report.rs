//! The result of a third-party server, beside that of the cluster.

use std::fmt;

use serde::Serialize;

use super::{
    DeliveryErrors,
    report::{ClusterSpread, Cost, Latency, p50s, rates, ratio, write_row},
    rounds::{ClusterRounds, PeerRounds},
};

/// The result of a peer. Its `Display` is a table.
#[derive(Debug, Serialize)]
pub struct PeerReport {
    /// Its name.
    pub name: &'static str,
    /// Events per second through one socket, each received on all servers.
    pub one_socket: ClusterSpread,
    /// Ratio of the cluster's rate through one socket to this one.
    pub one_socket_ratio: ClusterSpread,
    /// CPU time of the processes meanwhile.
    pub cost: Cost,
    /// Latency of single events from server to server.
    pub across: Latency,
    /// Ratio of the cluster's median latency from node to node to this one.
    pub across_ratio: ClusterSpread,
    /// Latency from server to server at a constant rate, with several receivers.
    pub paced: Latency,
    /// Ratio of the cluster's median latency at this rate to this one.
    pub paced_ratio: ClusterSpread,
    /// Events sent. Each receiver should receive every one of them once.
    pub events: u64,
    /// Delivery errors of all receivers.
    pub faults: DeliveryErrors,
}

impl PeerReport {
    /// Summarizes the rounds of a peer, beside those of the cluster.
    pub(super) fn new(peer: &PeerRounds, cluster: &ClusterRounds) -> Self {
        let (events, faults) = peer.deliveries;
        Self {
            name: peer.name,
            one_socket: ClusterSpread::of(rates(&peer.one_socket)),
            one_socket_ratio: ratio(&rates(&cluster.one_socket), &rates(&peer.one_socket)),
            cost: Cost::new("one socket", &peer.one_socket),
            across: Latency::new("server to server", &peer.across),
            across_ratio: ratio(&p50s(&cluster.across), &p50s(&peer.across)),
            paced: Latency::new("server to server, paced", &peer.paced),
            paced_ratio: ratio(&p50s(&cluster.paced.across), &p50s(&peer.paced)),
            events,
            faults,
        }
    }

    /// Returns the most that the cluster's latency may be, as a multiple of this server's.
    fn target(&self) -> &'static str {
        if self.name == "centrifuge-history" {
            "target <= 1.5"
        } else {
            ""
        }
    }
}

impl fmt::Display for PeerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers = self.cost.nodes.len();
        writeln!(
            f,
            "\n{}, {servers} servers, {} events to each: {}",
            self.name, self.events, self.faults
        )?;
        write_row(f, "  one socket, events/s", &self.one_socket, 0, "64 in flight")?;
        write_row(f, "    the cluster to it", &self.one_socket_ratio, 2, "")?;
        write_row(f, "  CPU us/event, one socket: Redis", &self.cost.redis, 2, "")?;
        for node in &self.cost.nodes {
            write_row(f, "    a server", node, 2, "")?;
        }
        write_row(f, "    clients", &self.cost.clients, 2, "")?;
        let latencies = [
            ("latency", &self.across, &self.across_ratio),
            ("paced latency", &self.paced, &self.paced_ratio),
        ];
        for (name, Latency { p50_us, p99_us, .. }, ratio) in latencies {
            write_row(f, &format!("  {name}, p50 us"), p50_us, 0, "server to server")?;
            write_row(f, "    p99 us", p99_us, 0, "")?;
            write_row(f, "    the cluster to it, p50", ratio, 2, self.target())?;
        }
        Ok(())
    }
}
