//! What clients cost that do nothing: memory, before and after each of them had a large event, and CPU.

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

/// Lets clients into each contender in turn, has them do nothing, and prints what that costs.
#[derive(Debug, Clone, Parser)]
#[command(name = "idle")]
pub struct IdleOptions {
    /// Clients
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub sockets: u32,
    /// Bytes of the data of the large event
    #[arg(long, default_value_t = 65_000)]
    pub bytes: usize,
    /// Seconds in which nothing happens, before and after it
    #[arg(long, default_value_t = 3)]
    pub seconds: u32,
    /// What all tools that compare take
    #[command(flatten)]
    pub contest: ContestOptions,
}

/// Measures every contender in turn.
///
/// # Errors
/// When a contender does not start, does not let its clients in, or closes a connection.
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
    let came = pool.turn_until(|stats| stats.deliveries >= expected)?;
    ensure!(came, "the event did not reach everybody");
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

/// Lets time pass, and nothing else happen.
fn rest(options: &IdleOptions, pool: &mut ClientPool<'_>) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(options.seconds.into());
    while Instant::now() < until {
        pool.turn(until.saturating_duration_since(Instant::now()))?;
    }
    Ok(())
}
