//! What a cluster adds to the cost of Redis. Throughput: the events per second that three nodes get through Redis,
//! compared with the same script in a bare loop. Latency: the delay of an event, compared with a bare message.
//!
//! Everything is measured in one run, and all of it in every round, so that other load on the machine affects all
//! measurements.

mod bystander;
mod comparison;
mod delivery_checker;
mod event;
mod event_protocol;
mod measure;
mod paced;
mod peer_report;
mod peer_servers;
mod receiver;
mod redis_baseline;
mod report;
mod resp;
mod rounds;
mod send_window;
mod sender;
pub(super) mod servers;
mod window_run;

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, ensure};
use clap::Parser;

pub use self::{
    comparison::ClusterComparison,
    delivery_checker::DeliveryErrors,
    peer_report::PeerReport,
    peer_servers::ClusterPeer,
    report::{ClusterLoadReport, ClusterSpread, Cost, Latency},
};
use self::{measure::Measure, paced::Pace, rounds::ClusterRounds};
use super::{cores::on_a_thread, gateway::binary};

/// Nodes that share the Redis.
const NODES: usize = 3;
/// The limits of the log, for the nodes and for the baseline. These are the defaults.
const LOG_ENTRIES: usize = 100_000;
const LOG_AGE_MS: u64 = 600_000;
const LOG_BYTES: usize = 67_108_864;

/// Publishes through three nodes that share a Redis, and compares the result with Redis alone.
#[derive(Debug, Clone, Parser)]
#[command(name = "cluster")]
pub struct ClusterLoadOptions {
    /// Seconds of each throughput measurement; a latency measurement takes a quarter of it
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    pub seconds: f64,
    /// Rounds; each runs every measurement once
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Size of an event's data, in bytes
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(64..60_000))]
    pub payload: u32,
    /// Events per HTTP request
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub batch: u32,
    /// How many events a sender may be ahead of the slowest receiver
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    pub window: u32,
    /// Events per second of the latency measurements at a constant rate
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rate: u32,
    /// Receivers of these measurements, all on one server
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub receivers: u32,
    /// Third-party servers that share the Redis and are measured in the same rounds, from `tests/bench/peers`
    #[arg(long, value_name = "PEERS", value_delimiter = ',')]
    pub peers: Vec<ClusterPeer>,
    /// Servers of each peer
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(2..=8))]
    pub peer_servers: u32,
    /// Another binary of the node, to compare two builds. Then both are measured in every round, and the first one twice
    #[arg(long, value_name = "PATH")]
    pub other: Option<PathBuf>,
    /// Path of the node's binary, if it is not in the directory of this program
    #[arg(long, value_name = "PATH")]
    pub gateway: Option<PathBuf>,
    /// Writes the result to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

impl ClusterLoadOptions {
    fn time(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    fn pace(&self) -> Pace {
        Pace {
            rate: self.rate,
            receivers: self.receivers,
            payload: self.payload as usize,
        }
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.01..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected a number from 0.01 to 3600".to_owned()),
    }
}

/// Runs the servers and the measurements.
///
/// # Errors
/// Fails if the run itself breaks: a server is not installed or does not start, or it closes a session. Lost events are
/// reported, not errors.
pub fn run(options: &ClusterLoadOptions) -> Result<ClusterComparison> {
    on_a_thread(|| {
        let gateway = binary(options.gateway.as_deref())?;
        let mut builds = vec![("gateway", gateway.clone())];
        if let Some(other) = &options.other {
            builds.extend([("gateway again", gateway), ("other", other.clone())]);
        }
        let peers = &options.peers[..];
        let is_twice = (1..peers.len()).any(|number| peers[..number].contains(&peers[number]));
        ensure!(
            !is_twice,
            "two peers of the same kind would receive each other's events"
        );
        let mut measured = Vec::new();
        for (name, binary) in builds {
            // The peers share the Redis of the first build.
            let peers = if measured.is_empty() { peers } else { &[] };
            let measure = Measure::start(&binary, options, peers)?;
            measured.push((name, measure, ClusterRounds::with_peers(peers)));
        }
        for _ in 0..options.rounds {
            for (_, measure, rounds) in &mut measured {
                measure.round(rounds)?;
            }
        }
        let reports = measured.into_iter().map(|(name, measure, mut rounds)| {
            measure.finish(&mut rounds);
            let report = ClusterLoadReport::new(options, &rounds, measure.deliveries(), measure.log()?);
            Ok((name, report))
        });
        Ok(ClusterComparison(reports.collect::<Result<_>>()?))
    })
}
