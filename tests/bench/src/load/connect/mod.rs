//! What it costs to let a client in: TCP, the handshake, and whatever makes it a receiver.

use anyhow::Result;
use clap::Parser;

use super::contest::{
    Contender, ContestOptions, Crowd, Discipline, Figure, Part, Sample, Server, Verdict, cpu_us_each,
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
pub struct Options {
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
pub fn run(options: &Options) -> Result<Verdict> {
    let title = format!("letting {} clients in", options.sockets);
    let discipline = Discipline {
        title,
        clients: options.sockets,
        figures: &FIGURES,
        references: &[Contender::Gateway, Contender::Loop, Contender::BUN],
        never: &[],
    };
    discipline.hold(&options.contest, |server| measure(options, server))
}

fn measure(options: &Options, server: &Server) -> Result<Sample> {
    let mut crowd = Crowd::new(&server.target, options.sockets)?;
    let before = server.usage()?;
    crowd.join(options.sockets, Part::Receiver)?;
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
