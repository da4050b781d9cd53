//! Many sessions on three nodes that share a Redis.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Result;
use gateway_harness::{KEYS, RedisProcess, eventually, key};
use tokio::runtime::Builder;

use super::{
    super::{
        announcement::Announcement, cluster::servers::EVENTS, contest::cpu_us_each, gateway::Gateway, http::Http,
        usage::Usage,
    },
    node_clients::{NodeClients, NodeClientsOptions},
};

const NODES: u32 = 3;
/// Interval between two events: long enough for every session to receive the first.
const PACE: Duration = Duration::from_secs(1);
const BYTES: usize = 200;

/// The results of the cluster run.
pub(super) struct ClusterMeasurement {
    /// Sessions on all nodes.
    pub(super) sessions: u32,
    /// CPU microseconds per delivery, summed over the nodes.
    pub(super) cpu_us_per_delivery: f64,
    /// Memory per session, over all nodes.
    pub(super) kib_per_session: f64,
    /// Delivery errors.
    pub(super) failures: Vec<String>,
}

/// Starts Redis, nodes and clients, publishes the events on one node, and measures all three.
pub(super) fn measure(binary: &Path, sessions: u32, events: u32) -> Result<ClusterMeasurement> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let redis = runtime.block_on(RedisProcess::start_with(&[]));
    let each = sessions / NODES;
    let settings = [
        ("redis.url", redis.url()),
        ("limits.connections", (each + 16).to_string()),
        // The clients send no heartbeats.
        ("v1.heartbeat_interval_ms", 3_600_000.to_string()),
    ];
    let file = format!("{KEYS}{EVENTS}");
    let nodes = (0..NODES).map(|_| Gateway::start_with(binary, &settings, &file));
    let nodes = nodes.collect::<Result<Vec<_>>>()?;
    for node in &nodes {
        let mut http = Http::connect(node.address, &key("root"))?;
        runtime.block_on(eventually("a node is ready", async || {
            http.is_ready().ok().filter(|is_ready| *is_ready)
        }));
    }
    let usages = || nodes.iter().map(Gateway::usage).collect::<Result<Vec<Usage>>>();
    let before = usages()?;
    let mut pools = Vec::new();
    for node in &nodes {
        // One node's clients after the other: all at once would connect faster than a node accepts.
        let mut pool = NodeClients::start(&NodeClientsOptions {
            address: node.address,
            key: key("bot"),
            sockets: each,
            events,
        })?;
        pool.wait_until_connected()?;
        pools.push(pool);
    }
    let idle = usages()?;
    let mut http = Http::connect(nodes[0].address, &key("root"))?;
    let began = Instant::now();
    for number in 1..=events {
        http.publish(&Announcement { number, sent_us: 0 }.event(BYTES))?;
        std::thread::park_timeout((began + PACE * number).saturating_duration_since(Instant::now()));
    }
    let reports = pools.iter_mut().map(NodeClients::report).collect::<Result<Vec<_>>>()?;
    let after = usages()?;
    let deliveries: u64 = reports.iter().map(|it| it.deliveries).sum();
    let disordered: u64 = reports.iter().map(|it| it.disordered).sum();
    let expected = u64::from(each) * u64::from(NODES) * u64::from(events);
    let mut failures = Vec::new();
    if deliveries != expected {
        failures.push(format!("{deliveries} deliveries of {expected} in the cluster"));
    }
    if disordered > 0 {
        failures.push(format!("{disordered} deliveries out of order in the cluster"));
    }
    let cpu = idle
        .iter()
        .zip(&after)
        .map(|(idle, after)| cpu_us_each(idle, after, deliveries));
    let kib = before.iter().zip(&idle).map(|(before, idle)| idle.kib_since(before));
    Ok(ClusterMeasurement {
        sessions: each * NODES,
        cpu_us_per_delivery: cpu.sum(),
        kib_per_session: kib.sum::<f64>() / f64::from(each * NODES),
        failures,
    })
}
