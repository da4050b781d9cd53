//! The cost of delivering one event to many sockets, compared with the bare loop and other servers.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Parser;

use super::{
    contest::{
        Benchmark, ClientPool, ClientRole, ContestOptions, ContestReport, ContestServer, Contestant, Figure, Sample,
        cpu_us_each,
    },
    latencies::LatencySummary,
};

/// Bursts sent before the measurement starts.
const WARM_UP: u32 = 3;

const FIGURES: [Figure; 5] = [
    Figure {
        name: "cpu_us_per_delivery",
        title: "CPU us / delivery",
    },
    Figure {
        name: "messages_per_read",
        title: "messages / read",
    },
    Figure {
        name: "join_windows_per_pass",
        title: "join windows / pass",
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

/// Sends events to many sockets of each contestant in turn and prints the cost of a delivery.
#[derive(Debug, Clone, Parser)]
#[command(name = "fanout")]
pub struct FanoutOptions {
    /// Sockets that receive every event
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub sockets: u32,
    /// Events sent at once; the next burst follows when every socket has received them
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub burst: u32,
    /// Keeps this many events in flight instead of sending bursts: the next one is sent for as many deliveries as there are
    /// sockets
    #[arg(long, conflicts_with_all = ["burst", "rate"], value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub in_flight: Option<u32>,
    /// Bursts per second, instead of as soon as every socket has received the last one
    #[arg(long)]
    pub rate: Option<u32>,
    /// Approximate deliveries to each contestant in each round
    #[arg(long, default_value_t = 300_000)]
    pub deliveries: u32,
    /// Size of an event's data, in bytes
    #[arg(long, default_value_t = 200)]
    pub bytes: usize,
    /// Options of every comparison tool
    #[command(flatten)]
    pub contest: ContestOptions,
}

impl FanoutOptions {
    fn bursts(&self) -> u32 {
        (self.deliveries / self.sockets / self.burst).max(3)
    }

    /// How many events are in flight at most.
    fn at_once(&self) -> u32 {
        self.in_flight.unwrap_or(self.burst)
    }
}

/// Runs the benchmark on every contestant.
///
/// # Errors
/// Fails if a contestant does not start, does not admit its clients, or closes a connection.
pub fn run(options: &FanoutOptions) -> Result<ContestReport> {
    let pace = options
        .rate
        .map_or_else(String::new, |rate| format!(", {rate} times a second"));
    let how = if options.in_flight.is_some() {
        "in flight"
    } else {
        "at once"
    };
    let title = format!(
        "fan-out of {} B to {} sockets, {} {how}{pace}",
        options.bytes,
        options.sockets,
        options.at_once()
    );
    let benchmark = Benchmark {
        title,
        clients: options.sockets + 1,
        figures: &FIGURES,
        references: &[
            Contestant::Gateway,
            Contestant::Loop,
            Contestant::BUN,
            Contestant::CENTRIFUGE,
        ],
        must_be_zero: &["missing", "disordered"],
    };
    benchmark.run(&options.contest, |server| measure(options, server))
}

fn measure(options: &FanoutOptions, server: &ContestServer) -> Result<Sample> {
    let mut pool = ClientPool::new(&server.target, options.sockets + 1)?;
    pool.join(options.sockets, ClientRole::Receiver)?;
    pool.join(1, ClientRole::Sender)?;
    let mut next = 1;
    for _ in 0..WARM_UP {
        burst(options, &mut pool, &mut next)?;
        ensure!(arrived(options, &mut pool, 1)?, "the first events did not arrive");
        pool.take();
    }
    let counted = server.counters()?;
    let before = server.usage()?;
    if let Some(in_flight) = options.in_flight {
        keep_in_flight(options, &mut pool, in_flight, &mut next)?;
    } else {
        send_bursts(options, &mut pool, &mut next)?;
    }
    arrived(options, &mut pool, options.bursts())?;
    let after = server.usage()?;
    let windows = server
        .counters()?
        .zip(counted)
        .and_then(|(after, before)| after.window_share(before));
    let stats = pool.take();
    let expected = u64::from(options.bursts()) * u64::from(options.burst) * u64::from(options.sockets);
    let LatencySummary { p50_ms, p99_ms, .. } = stats.latencies.summary();
    #[expect(clippy::cast_precision_loss, reason = "counts stay below 2^53")]
    let mut sample = Sample::from([
        ("cpu_us_per_delivery", cpu_us_each(&before, &after, stats.deliveries)),
        ("messages_per_read", stats.deliveries as f64 / stats.reads.max(1) as f64),
        ("p50_ms", p50_ms),
        ("p99_ms", p99_ms),
        ("missing", expected.abs_diff(stats.deliveries) as f64),
        ("disordered", stats.disordered as f64),
    ]);
    sample.extend(windows.map(|windows| ("join_windows_per_pass", windows)));
    Ok(sample)
}

/// Sends all bursts.
fn send_bursts(options: &FanoutOptions, pool: &mut ClientPool<'_>, next: &mut u32) -> Result<()> {
    let began = Instant::now();
    for number in 0..options.bursts() {
        if let Some(rate) = options.rate {
            let due = began + Duration::from_secs(1) / rate * number;
            while Instant::now() < due {
                pool.turn(due.saturating_duration_since(Instant::now()))?;
            }
        }
        burst(options, pool, next)?;
        if options.rate.is_none() && !arrived(options, pool, number + 1)? {
            break;
        }
    }
    Ok(())
}

/// Sends all events, each as soon as fewer than `in_flight` have not reached every socket.
fn keep_in_flight(options: &FanoutOptions, pool: &mut ClientPool<'_>, in_flight: u32, next: &mut u32) -> Result<()> {
    let events = options.bursts();
    let mut sent = 0;
    while sent < events {
        // Deliveries to all sockets are counted together.
        let complete = (sent + 1).saturating_sub(in_flight);
        let needed = u64::from(complete) * u64::from(options.sockets);
        if !pool.turn_until(|stats| stats.deliveries >= needed)? {
            break;
        }
        pool.publish(*next..*next + 1, options.bytes)?;
        *next += 1;
        sent += 1;
    }
    Ok(())
}

fn burst(options: &FanoutOptions, pool: &mut ClientPool<'_>, next: &mut u32) -> Result<()> {
    let numbers = *next..*next + options.burst;
    *next = numbers.end;
    pool.publish(numbers, options.bytes)
}

/// Waits until every socket has received the first `bursts` bursts. Returns `false` on timeout.
fn arrived(options: &FanoutOptions, pool: &mut ClientPool<'_>, bursts: u32) -> Result<bool> {
    let expected = u64::from(bursts) * u64::from(options.burst) * u64::from(options.sockets);
    pool.turn_until(|stats| stats.deliveries >= expected)
}
