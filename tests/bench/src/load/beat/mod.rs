//! The cost of a heartbeat and its ACK, one at a time, compared with the shortest round trip of other servers.

use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Parser;

use super::{
    contest::{
        Benchmark, ClientPool, ClientRole, ContestOptions, ContestReport, ContestServer, Contestant, Figure, Sample,
        cpu_us_each,
    },
    latencies::Latencies,
};

const FIGURES: [Figure; 3] = [
    Figure {
        name: "cpu_us_per_beat",
        title: "CPU us / beat",
    },
    Figure {
        name: "p50_ms",
        title: "p50 ms",
    },
    Figure {
        name: "p99_ms",
        title: "p99 ms",
    },
];

/// Sends heartbeats to each contestant in turn, one client at a time, and prints the cost of a round trip.
#[derive(Debug, Clone, Parser)]
#[command(name = "beat")]
pub struct BeatOptions {
    /// Clients
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub sockets: u32,
    /// Heartbeats in each round
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub beats: u32,
    /// Options of every comparison tool
    #[command(flatten)]
    pub contest: ContestOptions,
}

/// Runs the benchmark on every contestant.
///
/// # Errors
/// Fails if a contestant does not start, does not admit its clients, or does not answer.
pub fn run(options: &BeatOptions) -> Result<ContestReport> {
    let title = format!("a heartbeat and its answer, {} clients, one at a time", options.sockets);
    let benchmark = Benchmark {
        title,
        clients: options.sockets,
        figures: &FIGURES,
        references: &[Contestant::Gateway, Contestant::Loop, Contestant::BUN],
        must_be_zero: &[],
    };
    benchmark.run(&options.contest, |server| measure(options, server))
}

fn measure(options: &BeatOptions, server: &ContestServer) -> Result<Sample> {
    let mut pool = ClientPool::new(&server.target, options.sockets)?;
    pool.join(options.sockets, ClientRole::Receiver)?;
    let Some(beat) = pool.beat_bytes() else {
        return Ok(Sample::default());
    };
    let mut latencies = Latencies::default();
    let before = server.usage()?;
    for number in 0..options.beats {
        let sent = Instant::now();
        pool.beat((number % options.sockets) as usize, &beat)?;
        let answered = pool.turn_until(|stats| stats.answers > u64::from(number))?;
        ensure!(answered, "heartbeat {number} was not answered");
        latencies.add(sent.elapsed());
    }
    let after = server.usage()?;
    let summary = latencies.summary();
    Ok(Sample::from([
        ("cpu_us_per_beat", cpu_us_each(&before, &after, options.beats.into())),
        ("p50_ms", summary.p50_ms),
        ("p99_ms", summary.p99_ms),
    ]))
}
