//! The servers of a run, which the faults happen to: Redis, the nodes, and a proxy between each node and Redis.

use std::{net::SocketAddr, ops::Range, sync::Arc, time::Duration};

use clap::ValueEnum;
use gateway_harness::{KEYS, NodeProcess, Proxy, RedisProcess, Setup, WAIT, eventually, get};
use nix::sys::signal::Signal;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    context::NodeEndpoint,
    recorder::{NodeRun, Recorder},
    table::TABLE,
};
use crate::checker::Loss;

/// The lease of a node, in milliseconds.
pub(super) const LEASE_MS: u64 = 2000;

/// Directives for every Redis: a replica gets its data at once, instead of waiting for other replicas.
const DIRECTIVES: [(&str, &str); 1] = [("repl-diskless-sync-delay", "0")];

/// How far back a truncation may reach: events sent this long before it may be lost, including those a node was
/// holding.
const TRUNCATED: Duration = Duration::from_secs(5);

/// What a node logs when a log continues in a new epoch; the fields follow.
const NEW_EPOCH: &str = "the log begins a new epoch ";
/// What a node logs after that if it knows of entries that are lost.
const LOST: &str = "redis has lost entries that it had accepted ";

/// How the nodes are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Backing {
    /// One node that keeps everything in memory
    Memory,
    /// Three nodes that share a Redis
    Redis,
}

impl Backing {
    /// Returns the number of nodes.
    pub(super) fn nodes(self) -> usize {
        match self {
            Self::Memory => 1,
            Self::Redis => 3,
        }
    }
}

/// The servers of a run.
#[derive(Debug)]
pub(super) struct TestCluster {
    redis: Option<RedisProcess>,
    proxies: Vec<Proxy>,
    slots: Vec<NodeSlot>,
    endpoints: watch::Sender<Vec<Option<NodeEndpoint>>>,
    bots_admitted: watch::Sender<bool>,
    reports: watch::Sender<u64>,
    log_entries: Option<u32>,
    recorder: Recorder,
    /// What was done to the cluster, and when.
    actions: Vec<String>,
    truncations: Vec<Range<Instant>>,
}

/// One of the nodes; it is started more than once.
#[derive(Debug, Default)]
struct NodeSlot {
    node: Option<NodeProcess>,
    runs: usize,
    /// The log of its earlier runs.
    log: String,
}

impl TestCluster {
    /// Starts everything and waits until it is ready. Redis is started with these directives, and its log has at most
    /// `log_entries` entries.
    pub(super) async fn start(
        backing: Backing,
        directives: &[(&str, &str)],
        log_entries: Option<u32>,
        recorder: Recorder,
    ) -> Self {
        let nodes = backing.nodes();
        let redis = match backing {
            Backing::Memory => None,
            Backing::Redis => Some(RedisProcess::start_with(&[&DIRECTIVES, directives].concat()).await),
        };
        if log_entries.is_some() {
            recorder.allow_invalidation();
        }
        let mut proxies = Vec::new();
        if let Some(redis) = &redis {
            for _ in 0..nodes {
                proxies.push(Proxy::start(address(redis)).await);
            }
        }
        let mut cluster = Self {
            redis,
            proxies,
            slots: Vec::new(),
            endpoints: watch::Sender::new(vec![None; nodes]),
            bots_admitted: watch::Sender::new(true),
            reports: watch::Sender::new(0),
            log_entries,
            recorder,
            actions: Vec::new(),
            truncations: Vec::new(),
        };
        cluster.slots.resize_with(nodes, NodeSlot::default);
        for node in 0..nodes {
            cluster.start_node(node).await;
        }
        cluster
    }

    /// The indices of all nodes.
    pub(super) fn nodes(&self) -> Range<usize> {
        0..self.slots.len()
    }

    /// Watches where the nodes listen.
    pub(super) fn endpoints(&self) -> watch::Receiver<Vec<Option<NodeEndpoint>>> {
        self.endpoints.subscribe()
    }

    /// Watches whether bots may connect.
    pub(super) fn bots_admitted(&self) -> watch::Receiver<bool> {
        self.bots_admitted.subscribe()
    }

    /// Lets bots connect, or keeps out those that are not connected.
    pub(super) fn admit_bots(&mut self, admitted: bool) {
        self.bots_admitted.send_replace(admitted);
        self.log_action(if admitted {
            "bots may come"
        } else {
            "bots that end stay away"
        });
    }

    /// Returns the node of some connected bot.
    pub(super) fn node_of_a_bot(&self) -> Option<usize> {
        self.recorder.node_of_a_bot()
    }

    /// Watches a counter that [`Self::check_reports_again`] increments.
    pub(super) fn reports(&self) -> watch::Receiver<u64> {
        self.reports.subscribe()
    }

    /// Returns Redis.
    pub(super) fn redis(&mut self) -> &mut RedisProcess {
        self.redis.as_mut().expect("this fault needs a cluster with Redis")
    }

    /// Returns the proxies between these nodes and Redis.
    pub(super) fn proxies(&self, nodes: &[usize]) -> impl Iterator<Item = &Proxy> {
        nodes.iter().map(|node| &self.proxies[*node])
    }

    /// Promotes a replica that has received nothing for `lag`. Returns it and the time since when it received nothing.
    /// The nodes stay connected to the primary.
    pub(super) async fn promote_replica(&mut self, lag: Duration) -> (RedisProcess, Instant) {
        let way = Proxy::start(address(self.redis())).await;
        let replica = RedisProcess::start_with(&DIRECTIVES).await;
        let port = way.address().port().to_string();
        replica.cli(&["REPLICAOF", "127.0.0.1", &port]).await;
        eventually("a replica in sync", async || {
            let info = replica.cli(&["INFO", "replication"]).await;
            info.contains("master_link_status:up").then_some(())
        })
        .await;
        let since = Instant::now();
        way.freeze();
        sleep(lag).await;
        replica.cli(&["REPLICAOF", "NO", "ONE"]).await;
        (replica, since)
    }

    /// Connects these nodes to another server.
    pub(super) fn move_nodes(&self, nodes: &[usize], server: &RedisProcess) {
        for proxy in self.proxies(nodes) {
            proxy.retarget(address(server));
            proxy.reset();
        }
    }

    /// Stops the current Redis, which no node uses any more, and keeps this one in its place.
    pub(super) fn replace_redis(&mut self, server: RedisProcess) {
        self.redis = Some(server);
    }

    /// Records an action that is carried out now.
    pub(super) fn log_action(&mut self, what: impl std::fmt::Display) {
        self.actions.push(format!("{:.3} s: {what}", self.recorder.seconds()));
    }

    /// Starts a node and waits until it is ready.
    pub(super) async fn start_node(&mut self, index: usize) {
        let node = self.setup(index).start().await;
        eventually("the node is ready", async || {
            (get(&node, "/readyz").await.status == 200).then_some(())
        })
        .await;
        let slot = &mut self.slots[index];
        slot.runs += 1;
        let endpoint = NodeEndpoint {
            address: node.address(),
            run: slot.current_run(index),
        };
        slot.node = Some(node);
        self.endpoints
            .send_modify(|endpoints| endpoints[index] = Some(endpoint));
    }

    fn setup(&self, index: usize) -> Setup {
        let setup = Setup::new()
            .file(&format!("{TABLE}{KEYS}"))
            .set("log.level", "info,gateway_node=debug")
            .set("limits.payloads_per_minute", 1_000_000)
            .set("limits.publish_events_per_minute", 1_000_000_000)
            .set("limits.publish_bytes_per_minute", 1_u64 << 40)
            .set("limits.idempotency_keys", 10_000_000)
            .set("limits.connection_attempts_per_minute", 1_000_000)
            .set("node.name", format!("node-{index}"))
            .set("cluster.lease_ms", LEASE_MS)
            .set("v1.guild_count_interval_ms", 500)
            .set("drain.spread_ms", 500)
            .set("drain.deadline_ms", 5000);
        let setup = match self.log_entries {
            Some(entries) => setup.set("cluster.log_entries", entries),
            None => setup,
        };
        match self.proxies.get(index) {
            Some(proxy) => setup.redis(&format!("redis://{}/", proxy.address())),
            None => setup,
        }
    }

    /// Kills a node with SIGKILL.
    pub(super) async fn kill_node(&mut self, index: usize) {
        let mut node = self.take_node(index);
        self.recorder.mark_killed(self.slots[index].current_run(index));
        node.signal(Signal::SIGKILL);
        node.ended(WAIT).await;
        self.slots[index].log += &node.log();
    }

    /// Asks a node to stop, and waits until it has stopped.
    pub(super) async fn drain_node(&mut self, index: usize) {
        let mut node = self.take_node(index);
        let status = node.stop().await;
        let log = node.log();
        assert!(status.success(), "node {index} did not exit cleanly: {log}");
        self.slots[index].log += &log;
    }

    /// Takes a node out, so that no client connects to it any more.
    fn take_node(&mut self, index: usize) -> NodeProcess {
        self.endpoints.send_modify(|endpoints| endpoints[index] = None);
        self.slots[index].node.take().expect("the node is running")
    }

    /// Sends a signal to a node.
    pub(super) fn signal(&self, index: usize, signal: Signal) {
        let node = self.slots[index].node.as_ref();
        node.expect("the node is running").signal(signal);
    }

    /// Records that these nodes are stopped or cut off. From now on the checker accepts that the others treat them as
    /// dead.
    pub(super) fn mark_absent(&self, nodes: &[usize]) {
        self.recorder.mark_absent(nodes);
    }

    /// Makes all bots check again whether their reports are in force.
    pub(super) fn check_reports_again(&self) {
        self.reports.send_modify(|round| *round += 1);
    }

    /// Records that Redis has just lost what it wrote last.
    pub(super) fn mark_truncated(&mut self) {
        let now = Instant::now();
        self.recorder.allow_invalidation();
        self.truncations.push(now.checked_sub(TRUNCATED).unwrap_or(now)..now);
    }

    /// Records the end of a split: the last node has just left a server that was replaced by a replica, which received
    /// nothing after `since`.
    pub(super) fn end_split(&mut self, since: Instant) {
        self.recorder.add_split(since);
        self.mark_truncated();
    }

    /// Records the losses that the nodes have logged.
    pub(super) fn record_losses(&self) {
        let Some(first) = self.recorder.first_epoch() else {
            return;
        };
        let mut losses = Vec::new();
        for log in self.logs() {
            losses.extend(reported_losses(&log, &first));
        }
        self.recorder.set_losses(losses, self.truncations.clone());
    }

    /// Returns what was done, and when.
    pub(super) fn actions(&self) -> &[String] {
        &self.actions
    }

    /// Returns the log of each node, over all its runs.
    pub(super) fn logs(&self) -> Vec<String> {
        let log = |slot: &NodeSlot| {
            format!(
                "{}{}",
                slot.log,
                slot.node.as_ref().map_or_else(String::new, NodeProcess::log)
            )
        };
        self.slots.iter().map(log).collect()
    }

    /// Returns the nodes that exited on their own and those that panicked.
    pub(super) fn faults(&mut self) -> Vec<String> {
        let mut faults = Vec::new();
        for (index, log) in self.logs().iter().enumerate() {
            let node = self.slots[index].node.as_mut();
            if node.is_some_and(|node| !node.lives()) {
                faults.push(format!("node {index} ended by itself"));
            }
            if let Some(line) = log.lines().find(|line| line.contains("panicked")) {
                faults.push(format!("node {index}: {line}"));
            }
        }
        faults
    }
}

impl NodeSlot {
    /// Returns the current run, or the last one.
    fn current_run(&self, node: usize) -> NodeRun {
        NodeRun {
            node,
            number: self.runs,
        }
    }
}

fn address(server: &RedisProcess) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], server.port()))
}

/// Reads from a node's log which entries were lost. `first` is the epoch in which the node started.
fn reported_losses(log: &str, first: &Arc<str>) -> Vec<Loss> {
    let mut losses: Vec<Loss> = Vec::new();
    let mut earlier = vec![Arc::clone(first)];
    let mut kept = None;
    for line in log.lines() {
        if let Some((_, fields)) = line.split_once(NEW_EPOCH) {
            kept = field(fields, "offset").and_then(|offset| offset.parse().ok());
            earlier.extend(field(fields, "epoch").map(Arc::from));
        } else if let (true, Some(above)) = (line.contains(LOST), kept) {
            // All earlier epochs have lost their entries beyond this offset.
            let ended = &earlier[..earlier.len() - 1];
            losses.extend(ended.iter().cloned().map(|epoch| Loss { epoch, above }));
        }
    }
    losses
}

fn field<'l>(fields: &'l str, name: &str) -> Option<&'l str> {
    let mut pairs = fields.split(' ').filter_map(|field| field.split_once('='));
    pairs.find_map(|(known, value)| (known == name).then_some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_read_from_the_log_of_a_node() {
        let log = "x INFO follower the log begins a new epoch application=utilbot epoch=b offset=10\n\
                   x INFO follower the log begins a new epoch application=utilbot epoch=c offset=8\n\
                   x ERROR follower redis has lost entries that it had accepted application=utilbot entries=6\n";
        let losses = reported_losses(log, &"a".into());
        let losses: Vec<_> = losses.iter().map(|loss| (&*loss.epoch, loss.above)).collect();
        assert_eq!(losses, [("a", 8), ("b", 8)]);
    }
}
