//! What it costs to let a client in: TCP, the handshake, and whatever makes it a receiver.

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

/// Lets clients into each contender in turn, and prints what one of them costs.
#[derive(Debug, Clone, Parser)]
#[command(name = "connect")]
pub struct ConnectLoadOptions {
    /// Clients
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub sockets: u32,
    /// What all tools that compare take
    #[command(flatten)]
    pub contest: ContestOptions,
}

/// Measures every contender in turn.
///
/// # Errors
/// When a contender does not start, or does not let its clients in.
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
