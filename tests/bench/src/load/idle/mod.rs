//! The cost of idle clients: CPU, and memory before and after each has received a large event.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Parser;

use super::contest::{
    Benchmark, ClientPool, ClientRole, ContestOptions, ContestReport, ContestServer, Contestant, Figure, Sample,
};

const FIGURES: [Figure; 3] = [
    Figure {
        name: "kib_per_client",
        title: "KiB / client",
    },
    Figure {
        name: "kib_per_client_later",
        title: "after a large event",
    },
    Figure {
        name: "cpu_ms_per_second",
        title: "CPU ms / s",
    },
];

/// Connects idle clients to each contestant in turn and prints what they cost.
#[derive(Debug, Clone, Parser)]
#[command(name = "idle")]
pub struct IdleOptions {
    /// Clients
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub sockets: u32,
    /// Size of the large event's data, in bytes
    #[arg(long, default_value_t = 65_000)]
    pub bytes: usize,
    /// Seconds of idling, before and after the large event
    #[arg(long, default_value_t = 3)]
    pub seconds: u32,
    /// Options of every comparison tool
    #[command(flatten)]
    pub contest: ContestOptions,
}

/// Runs the benchmark on every contestant.
///
/// # Errors
/// Fails if a contestant does not start, does not admit its clients, or closes a connection.
pub fn run(options: &IdleOptions) -> Result<ContestReport> {
    let title = format!(
        "{} clients that do nothing, and one event of {} B to each",
        options.sockets, options.bytes
    );
    let benchmark = Benchmark {
        title,
        clients: options.sockets + 1,
        figures: &FIGURES,
        references: &[Contestant::Gateway, Contestant::BUN],
        must_be_zero: &[],
    };
    benchmark.run(&options.contest, |server| measure(options, server))
}

fn measure(options: &IdleOptions, server: &ContestServer) -> Result<Sample> {
    let clients = f64::from(options.sockets);
    let mut pool = ClientPool::new(&server.target, options.sockets + 1)?;
    let before = server.usage()?;
    pool.join(options.sockets, ClientRole::Receiver)?;
    pool.join(1, ClientRole::Sender)?;
    rest(options, &mut pool)?;
    let began = server.usage()?;
    rest(options, &mut pool)?;
    let idle = server.usage()?;
    pool.publish(1..2, options.bytes)?;
    let expected = u64::from(options.sockets);
    let arrived = pool.turn_until(|stats| stats.deliveries >= expected)?;
    ensure!(arrived, "the event did not reach every client");
    rest(options, &mut pool)?;
    let later = server.usage()?;
    Ok(Sample::from([
        ("kib_per_client", idle.kib_since(&before) / clients),
        ("kib_per_client_later", later.kib_since(&before) / clients),
        (
            "cpu_ms_per_second",
            idle.cpu_us_since(&began) / 1000.0 / f64::from(options.seconds.max(1)),
        ),
    ]))
}

/// Handles socket events for `seconds` without sending anything.
fn rest(options: &IdleOptions, pool: &mut ClientPool<'_>) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(options.seconds.into());
    while Instant::now() < until {
        pool.turn(until.saturating_duration_since(Instant::now()))?;
    }
    Ok(())
}
