//! What it costs to bring one event to many sockets, beside the yardstick and others.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Parser;

use super::{
    contest::{Contender, ContestOptions, Crowd, Discipline, Figure, Part, Sample, Server, Verdict, cpu_us_each},
    latencies::Summary,
};

/// Bursts before anything is measured.
const WARM_UP: u32 = 3;

const FIGURES: [Figure; 3] = [
    Figure {
        name: "cpu_us_per_delivery",
        title: "CPU us / delivery",
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

/// Sends events to many sockets of each contender in turn, and prints what a delivery costs.
#[derive(Debug, Clone, Parser)]
#[command(name = "fanout")]
pub struct Options {
    /// Sockets that receive every event
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub sockets: u32,
    /// Events that are sent at once; the next ones follow when everybody has them
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub burst: u32,
    /// Events a second, instead of as fast as everybody has them
    #[arg(long)]
    pub rate: Option<u32>,
    /// Deliveries to each contender in each round, about
    #[arg(long, default_value_t = 300_000)]
    pub deliveries: u32,
    /// Bytes of an event's data
    #[arg(long, default_value_t = 200)]
    pub bytes: usize,
    /// What all tools that compare take
    #[command(flatten)]
    pub contest: ContestOptions,
}

impl Options {
    fn bursts(&self) -> u32 {
        (self.deliveries / self.sockets / self.burst).max(3)
    }
}

/// Measures every contender in turn.
///
/// # Errors
/// When a contender does not start, does not let its clients in, or closes a connection.
pub fn run(options: &Options) -> Result<Verdict> {
    let pace = options
        .rate
        .map_or_else(String::new, |rate| format!(", {rate} times a second"));
    let title = format!(
        "fan-out of {} B to {} sockets, {} at once{pace}",
        options.bytes, options.sockets, options.burst
    );
    let discipline = Discipline {
        title,
        clients: options.sockets + 1,
        figures: &FIGURES,
        references: &[
            Contender::Gateway,
            Contender::Loop,
            Contender::BUN,
            Contender::CENTRIFUGE,
        ],
        never: &["missing", "disordered"],
    };
    discipline.hold(&options.contest, |server| measure(options, server))
}

fn measure(options: &Options, server: &Server) -> Result<Sample> {
    let mut crowd = Crowd::new(&server.target, options.sockets + 1)?;
    crowd.join(options.sockets, Part::Receiver)?;
    crowd.join(1, Part::Sender)?;
    let mut next = 1;
    for _ in 0..WARM_UP {
        burst(options, &mut crowd, &mut next)?;
        ensure!(arrived(options, &mut crowd, 1)?, "the first events did not arrive");
        crowd.take();
    }
    let before = server.usage()?;
    let began = Instant::now();
    for number in 0..options.bursts() {
        if let Some(rate) = options.rate {
            let due = began + Duration::from_secs(1) / rate * number;
            while Instant::now() < due {
                crowd.turn(due.saturating_duration_since(Instant::now()))?;
            }
        }
        burst(options, &mut crowd, &mut next)?;
        if options.rate.is_none() && !arrived(options, &mut crowd, number + 1)? {
            break;
        }
    }
    arrived(options, &mut crowd, options.bursts())?;
    let after = server.usage()?;
    let tally = crowd.take();
    let expected = u64::from(options.bursts()) * u64::from(options.burst) * u64::from(options.sockets);
    let Summary { p50_ms, p99_ms, .. } = tally.latencies.summary();
    #[expect(clippy::cast_precision_loss, reason = "counts stay below 2^53")]
    Ok(Sample::from([
        ("cpu_us_per_delivery", cpu_us_each(&before, &after, tally.deliveries)),
        ("p50_ms", p50_ms),
        ("p99_ms", p99_ms),
        ("missing", expected.abs_diff(tally.deliveries) as f64),
        ("disordered", tally.disordered as f64),
    ]))
}

fn burst(options: &Options, crowd: &mut Crowd<'_>, next: &mut u32) -> Result<()> {
    let numbers = *next..*next + options.burst;
    *next = numbers.end;
    crowd.publish(numbers, options.bytes)
}

/// Waits until everybody has had so many bursts.
fn arrived(options: &Options, crowd: &mut Crowd<'_>, bursts: u32) -> Result<bool> {
    let expected = u64::from(bursts) * u64::from(options.burst) * u64::from(options.sockets);
    crowd.turn_until(|tally| tally.deliveries >= expected)
}
