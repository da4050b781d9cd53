//! The cost of admitting a client: TCP, the WebSocket handshake, and whatever the protocol needs until the client is
//! subscribed.

use anyhow::Result;
use clap::Parser;

use super::contest::{
    Benchmark, ClientPool, ClientRole, ContestOptions, ContestReport, ContestServer, Contestant, Figure, Sample,
    cpu_us_each,
};

const FIGURES: [Figure; 2] = [
    Figure {
        name: "cpu_us_per_client",
        title: "CPU us / client",
    },
    Figure {
        name: "kib_per_client",
        title: "KiB / client",
    },
];

/// Connects clients to each contestant in turn and prints the cost of one.
#[derive(Debug, Clone, Parser)]
#[command(name = "connect")]
pub struct ConnectLoadOptions {
    /// Clients
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub sockets: u32,
    /// Options of every comparison tool
    #[command(flatten)]
    pub contest: ContestOptions,
}

/// Runs the benchmark on every contestant.
///
/// # Errors
/// Fails if a contestant does not start or does not admit its clients.
pub fn run(options: &ConnectLoadOptions) -> Result<ContestReport> {
    let title = format!("letting {} clients in", options.sockets);
    let benchmark = Benchmark {
        title,
        clients: options.sockets,
        figures: &FIGURES,
        references: &[Contestant::Gateway, Contestant::Loop, Contestant::BUN],
        must_be_zero: &[],
    };
    benchmark.run(&options.contest, |server| measure(options, server))
}

fn measure(options: &ConnectLoadOptions, server: &ContestServer) -> Result<Sample> {
    let mut pool = ClientPool::new(&server.target, options.sockets)?;
    let before = server.usage()?;
    pool.join(options.sockets, ClientRole::Receiver)?;
    let after = server.usage()?;
    let clients = f64::from(options.sockets);
    Ok(Sample::from([
        (
            "cpu_us_per_client",
            cpu_us_each(&before, &after, options.sockets.into()),
        ),
        ("kib_per_client", after.kib_since(&before) / clients),
    ]))
}
