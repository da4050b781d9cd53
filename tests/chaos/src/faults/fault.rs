//! The faults, and how long each lasts.

use std::time::Duration;

use clap::ValueEnum;
use fastrand::Rng;
use nix::sys::signal::Signal;
use tokio::time::sleep;

use super::cluster::{LEASE_MS, TestCluster};

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ClusterFault {
    /// None: checks what the load finds without a fault
    Nothing,
    /// Redis is killed and comes back with its data
    RedisRestarted,
    /// Redis is killed and comes back without its last writes
    RedisTruncated,
    /// Redis is suspended for a while
    RedisStopped,
    /// A lagging replica is promoted, and the old primary serves one of the nodes for a while longer
    SplitBrain,
    /// The connections of all pub/sub subscribers are cut
    PubSubKilled,
    /// A node is killed and started again
    NodeKilled,
    /// The node of the only bot is killed, and the bot comes back later, at any node
    ReceiverKilled,
    /// All nodes and a Redis with `appendfsync always` are killed, and the only bot comes back last
    AllKilled,
    /// A node is suspended for longer than its lease
    NodePaused,
    /// The nodes are drained and started again, one after another
    RollingRestart,
    /// Connections between nodes and Redis are reset
    RedisConnectionsReset,
    /// Connections between nodes and Redis stay open, but nothing passes
    RedisHalfOpen,
    /// All traffic between nodes and Redis is delayed
    SlowRedis,
}

impl ClusterFault {
    /// Returns the name used on the command line.
    pub fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Whether the fault needs Redis and more than one node.
    pub fn needs_redis(self) -> bool {
        !matches!(self, Self::Nothing | Self::NodePaused)
    }

    /// Whether the fault makes Redis lose entries that it had accepted.
    pub fn loses_entries(self) -> bool {
        matches!(self, Self::RedisTruncated | Self::SplitBrain)
    }

    /// Whether there is only one bot, so that an event for one session has one receiver at most.
    pub(super) fn has_one_bot(self) -> bool {
        matches!(self, Self::ReceiverKilled | Self::AllKilled)
    }

    /// Returns the directives with which Redis is started for this fault.
    pub(super) fn directives(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::AllKilled => &[("appendfsync", "always")],
            _ => &[],
        }
    }

    /// Injects the fault once and waits until it is over. `hold` replaces the random duration of faults that have one.
    pub(super) async fn inject(self, cluster: &mut TestCluster, hold: Option<Duration>, rng: &mut Rng) {
        let between = |rng: &mut Rng, least: u64, most: u64| Duration::from_millis(rng.u64(least..=most));
        let node = rng.usize(cluster.nodes());
        // Some faults affect one node, or all at once.
        let affected: Vec<usize> = if rng.bool() {
            cluster.nodes().collect()
        } else {
            vec![node]
        };
        match self {
            Self::Nothing => {}
            Self::RedisRestarted => {
                let time = hold.unwrap_or(between(rng, 0, 1500));
                cluster.log_action(format_args!("Redis is killed, for {time:?}"));
                cluster.redis().kill().await;
                sleep(time).await;
                cluster.redis().restart().await;
                cluster.log_action("Redis answers again");
            }
            Self::RedisTruncated => {
                let time = hold.unwrap_or(between(rng, 0, 1500));
                truncate(cluster, rng.u64(1..=20_000), time).await;
            }
            Self::RedisStopped => {
                let time = hold.unwrap_or(between(rng, 500, 4000));
                cluster.log_action(format_args!("Redis is stopped, for {time:?}"));
                cluster.redis().pause();
                sleep(time).await;
                cluster.redis().resume();
                cluster.log_action("Redis goes on");
            }
            Self::SplitBrain => {
                let (lag, time) = (between(rng, 0, 300), hold.unwrap_or(between(rng, 500, 2500)));
                split_brain(cluster, node, lag, time).await;
            }
            Self::PubSubKilled => {
                let count = cluster.redis().kill_pubsub_clients().await;
                cluster.log_action(format_args!("{count} subscribers were cut"));
            }
            Self::NodeKilled => {
                let time = hold.unwrap_or(between(rng, 0, 2 * LEASE_MS));
                cluster.log_action(format_args!("node {node} is killed, for {time:?}"));
                cluster.kill_node(node).await;
                sleep(time).await;
                cluster.start_node(node).await;
                cluster.log_action(format_args!("node {node} is there again"));
            }
            Self::ReceiverKilled => {
                let time = hold.unwrap_or(between(rng, 0, 2 * LEASE_MS));
                kill_receiver(cluster, time, rng.bool()).await;
            }
            Self::AllKilled => {
                let (away, time) = (between(rng, 0, 1500), hold.unwrap_or(between(rng, 0, LEASE_MS)));
                kill_all(cluster, away, time, rng.bool()).await;
            }
            Self::NodePaused => {
                let time = hold.unwrap_or(between(rng, LEASE_MS + 500, 2 * LEASE_MS));
                cluster.log_action(format_args!("node {node} is stopped, for {time:?}"));
                cluster.mark_absent(&[node]);
                cluster.signal(node, Signal::SIGSTOP);
                sleep(time).await;
                cluster.signal(node, Signal::SIGCONT);
                cluster.log_action(format_args!("node {node} goes on"));
                cluster.check_reports_again();
            }
            Self::RollingRestart => restart_all(cluster).await,
            Self::RedisConnectionsReset => {
                cluster.log_action(format_args!("connections of {affected:?} to Redis are reset"));
                for proxy in cluster.proxies(&affected) {
                    proxy.reset();
                }
            }
            Self::RedisHalfOpen => {
                let time = hold.unwrap_or(between(rng, 500, 2 * LEASE_MS));
                cluster.log_action(format_args!(
                    "nothing passes between {affected:?} and Redis, for {time:?}"
                ));
                if affected.len() < cluster.nodes().len() {
                    cluster.mark_absent(&affected);
                }
                for proxy in cluster.proxies(&affected) {
                    proxy.freeze();
                }
                sleep(time).await;
                heal(cluster, &affected);
                cluster.check_reports_again();
            }
            Self::SlowRedis => {
                let (time, delay) = (hold.unwrap_or(between(rng, 500, 3000)), between(rng, 5, 150));
                cluster.log_action(format_args!(
                    "{delay:?} more between {affected:?} and Redis, for {time:?}"
                ));
                for proxy in cluster.proxies(&affected) {
                    proxy.delay(delay);
                }
                sleep(time).await;
                heal(cluster, &affected);
            }
        }
    }
}

/// Drains and starts every node, one after another.
async fn restart_all(cluster: &mut TestCluster) {
    for node in cluster.nodes() {
        cluster.log_action(format_args!("node {node} is asked to leave"));
        cluster.drain_node(node).await;
        cluster.start_node(node).await;
        cluster.log_action(format_args!("node {node} is there again"));
    }
}

/// Kills the node of the only bot for `time`. The bot comes back before its node if `comes_first`, otherwise after it.
async fn kill_receiver(cluster: &mut TestCluster, time: Duration, comes_first: bool) {
    // The bot may be reconnecting right now.
    let Some(node) = cluster.node_of_a_bot() else { return };
    cluster.admit_bots(false);
    cluster.log_action(format_args!("node {node} with the only bot is killed, for {time:?}"));
    cluster.kill_node(node).await;
    sleep(time).await;
    if comes_first {
        cluster.admit_bots(true);
    }
    cluster.start_node(node).await;
    cluster.log_action(format_args!("node {node} is there again"));
    if !comes_first {
        cluster.admit_bots(true);
    }
}

/// Kills all nodes and Redis, starts them again after `away`, and lets the only bot come back after another `time`.
async fn kill_all(cluster: &mut TestCluster, away: Duration, time: Duration, redis_first: bool) {
    let order = if redis_first {
        "Redis and then all nodes"
    } else {
        "all nodes and then Redis"
    };
    cluster.log_action(format_args!("{order} are killed, for {away:?}"));
    cluster.admit_bots(false);
    if redis_first {
        cluster.redis().kill().await;
    }
    for node in cluster.nodes() {
        cluster.kill_node(node).await;
    }
    if !redis_first {
        cluster.redis().kill().await;
    }
    sleep(away).await;
    cluster.redis().restart().await;
    for node in cluster.nodes() {
        cluster.start_node(node).await;
    }
    cluster.log_action("everything is there again");
    sleep(time).await;
    cluster.admit_bots(true);
}

/// Kills Redis, cuts the last bytes off its append-only file, and starts it again after `time`.
async fn truncate(cluster: &mut TestCluster, bytes: u64, time: Duration) {
    cluster.log_action(format_args!("Redis is killed and loses {bytes} bytes, for {time:?}"));
    let nodes: Vec<usize> = cluster.nodes().collect();
    cluster.mark_absent(&nodes);
    cluster.redis().kill().await;
    cluster.redis().truncate_log(bytes);
    cluster.mark_truncated();
    sleep(time).await;
    cluster.redis().restart().await;
    cluster.log_action("Redis answers again");
    cluster.check_reports_again();
}

/// Promotes a replica that is `lag` behind, and leaves one node with the old primary for `time`.
async fn split_brain(cluster: &mut TestCluster, node: usize, lag: Duration, time: Duration) {
    let all: Vec<_> = cluster.nodes().collect();
    let others: Vec<_> = cluster.nodes().filter(|it| *it != node).collect();
    cluster.mark_absent(&all);
    let (replica, since) = cluster.promote_replica(lag).await;
    cluster.log_action(format_args!(
        "a replica {lag:?} behind is promoted; node {node} stays behind, for {time:?}"
    ));
    cluster.mark_truncated();
    cluster.move_nodes(&others, &replica);
    sleep(time).await;
    cluster.move_nodes(&[node], &replica);
    cluster.end_split(since);
    cluster.replace_redis(replica);
    cluster.log_action(format_args!("node {node} follows"));
    cluster.check_reports_again();
}

fn heal(cluster: &mut TestCluster, nodes: &[usize]) {
    for proxy in cluster.proxies(nodes) {
        proxy.heal();
    }
    cluster.log_action("the proxies heal");
}
