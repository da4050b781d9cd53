//! A rolling deploy under load: the nodes of a cluster are stopped and started again one after another, while bots that
//! speak Discord's protocol receive events and resume as libraries do.
//!
//! `bot` is one of the bots and counts what it receives; `publisher` sends the numbered events; `report` has the
//! result.

mod bot;
mod publisher;
mod report;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use clap::Parser;
use gateway_harness::{KEYS, NodeProcess, RedisProcess, Setup, ready, within_time};
use tokio::sync::watch;

pub use self::report::RollingReport;
use self::{bot::RollingBot, publisher::RollingPublisher};

/// The number of nodes.
const NODES: usize = 3;
/// How long a node may take to drain.
const LEAVING: Duration = Duration::from_secs(30);
/// How long the bots may take to receive everything once the last event was sent.
const CATCHING_UP: Duration = Duration::from_secs(60);

/// Deploys a cluster of three nodes anew while it is in use, and checks what its clients saw.
#[derive(Debug, Clone, Parser)]
#[command(name = "rolling")]
pub struct RollingOptions {
    /// Sessions
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub sessions: u32,
    /// Shards; every event is for one of them
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub shards: u32,
    /// Events per second
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: u32,
    /// How often every node is stopped and started again
    #[arg(long, default_value_t = 1)]
    pub rounds: u32,
    /// Writes the result to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Watches the addresses of the nodes that accept clients now.
type NodeAddresses = watch::Receiver<Vec<SocketAddr>>;

/// Carries out the run.
///
/// # Errors
/// Returns an error if the task of a bot or of the publisher has panicked.
pub async fn run(options: &RollingOptions) -> Result<RollingReport> {
    let redis = RedisProcess::start().await;
    let mut nodes = Vec::new();
    for _ in 0..NODES {
        nodes.push(start(&redis).await);
    }
    let (opened, accepting) = watch::channel(addresses(&nodes));
    let (total_sender, total) = watch::channel(None);
    let bots: Vec<_> = (0..options.sessions)
        .map(|number| {
            let bot = RollingBot::new(number % options.shards, options.shards);
            tokio::spawn(bot.run(accepting.clone(), total.clone()))
        })
        .collect();
    let publisher = RollingPublisher::new(options.shards, options.rate);
    publisher.wait_for(options.sessions, &nodes).await;
    let (stop, stopped) = watch::channel(false);
    let publishing = tokio::spawn(publisher.publish(accepting.clone(), stopped));
    for _ in 0..options.rounds {
        for place in 0..NODES {
            // A load balancer takes a node out as soon as it stops being ready, so clients go elsewhere from here on.
            let others = nodes.iter().enumerate().filter(|(other, _)| *other != place);
            opened.send_replace(others.map(|(_, node)| node.address()).collect());
            nodes[place].signal(nix::sys::signal::Signal::SIGTERM);
            nodes[place].ended(LEAVING).await;
            nodes[place] = start(&redis).await;
            opened.send_replace(addresses(&nodes));
        }
    }
    stop.send_replace(true);
    let events = publishing.await.context("the publisher")?;
    total_sender.send_replace(Some(events));
    let mut report = RollingReport::new(options, events);
    for bot in bots {
        let stats = within_time("every bot's last event", CATCHING_UP, bot).await;
        report.add(&stats.context("a bot")?);
    }
    Ok(report)
}

async fn start(redis: &RedisProcess) -> NodeProcess {
    let applications =
        "[[applications]]\nid = \"utilbot\"\nmax_concurrency = 60000\nsession_starts_per_day = 1000000\n";
    let node = Setup::new()
        .file(&format!("{applications}{KEYS}"))
        .redis(&redis.url())
        .set("discord.heartbeat_interval_ms", 5000)
        .set("limits.connections_per_address", 60_000)
        .set("limits.connection_attempts_per_minute", 1_000_000)
        .set("limits.publish_events_per_minute", 1_000_000_000)
        .set("limits.publish_bytes_per_minute", 1_u64 << 40)
        .set("limits.idempotency_keys", 10_000_000)
        .start()
        .await;
    ready(&node).await;
    node
}

fn addresses(nodes: &[NodeProcess]) -> Vec<SocketAddr> {
    nodes.iter().map(NodeProcess::address).collect()
}

/// Returns a guild of shard `shard`; the publisher addresses a shard by its guild.
fn guild_of(shard: u32) -> u64 {
    u64::from(shard) << 22
}

/// Watches the total number of events, which is set once the last one has been sent.
type EventTotal = watch::Receiver<Option<u64>>;
