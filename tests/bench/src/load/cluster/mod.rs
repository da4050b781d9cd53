//! What a cluster makes of Redis: how many events a second three nodes get through it, against the same script in a bare
//! loop, and how much later an event comes, against a bare message.
//!
//! Everything is measured in one run, one after the other and again in every round, so that what else the machine does
//! meets all of it.

mod delivery_checker;
mod event;
mod measure;
mod receiver;
mod redis_baseline;
mod report;
mod resp;
mod send_window;
mod sender;
pub(super) mod servers;
mod session;

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use clap::Parser;

pub use self::{
    delivery_checker::DeliveryErrors,
    report::{ClusterLoadReport, ClusterSpread, Cost, Latency},
};
use self::{measure::Measure, report::ClusterRounds};
use super::{cores::on_a_thread, gateway::binary};

/// Nodes that share the Redis.
const NODES: usize = 3;
/// The bounds of the log, for the nodes and for the yardstick: the defaults.
const LOG_ENTRIES: usize = 100_000;
const LOG_AGE_MS: u64 = 600_000;
const LOG_BYTES: usize = 67_108_864;

/// Publishes through three nodes that share a Redis, and compares that with what Redis does by itself.
#[derive(Debug, Clone, Parser)]
#[command(name = "cluster")]
pub struct ClusterLoadOptions {
    /// Seconds of each measurement of throughput; one of latency takes a quarter of it
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    pub seconds: f64,
    /// How often everything is measured
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Bytes of an event's data
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(64..60_000))]
    pub payload: u32,
    /// Events of one HTTP request
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub batch: u32,
    /// Events that a sender may be ahead of the slowest receiver
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    pub window: u32,
    /// The node's binary, where it is not beside this one
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
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.01..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected a number from 0.01 to 3600".to_owned()),
    }
}

/// Runs the servers and measures.
///
/// # Errors
/// When something other than losses goes wrong: a server does not start, or a node closes a session.
pub fn run(options: &ClusterLoadOptions) -> Result<ClusterLoadReport> {
    on_a_thread(|| {
        let mut measure = Measure::start(&binary(options.gateway.as_deref())?, options)?;
        let mut rounds = ClusterRounds::default();
        for _ in 0..options.rounds {
            measure.round(&mut rounds)?;
        }
        Ok(ClusterLoadReport::new(
            options,
            &rounds,
            measure.deliveries(),
            measure.log()?,
        ))
    })
}
