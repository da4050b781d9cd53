//! How the cost of a delivery grows with the number of sessions: in one process, and on three nodes that share a
//! Redis.

mod cluster;
mod node_clients;
mod plot;

use std::{fmt, fs, path::PathBuf};

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use gateway_harness::ToolReport;
use serde::Serialize;

pub use self::node_clients::{NodeClientsOptions, watch};
use self::plot::Series;
use super::{
    contest::{ContestOptions, Contestant, FigureSpread},
    cores::on_a_thread,
    fanout,
    gateway::binary,
};

/// The figure that is read from each fan-out benchmark.
const FIGURE: &str = "cpu_us_per_delivery";

/// Measures the cost of a delivery from few sessions to many, and plots it.
#[derive(Debug, Clone, Parser)]
#[command(name = "scale")]
pub struct ScaleOptions {
    /// Set when the tool starts itself as another process
    #[command(subcommand)]
    pub role: Option<Role>,
    /// What to measure
    #[command(flatten)]
    pub sizes: Sizes,
}

/// What a child process of the tool does.
#[derive(Debug, Clone, Subcommand)]
pub enum Role {
    /// The clients of one node of the cluster
    #[command(name = "onlookers", hide = true)]
    NodeClients(NodeClientsOptions),
}

/// What to measure, and where to write the results.
#[derive(Debug, Clone, Args)]
pub struct Sizes {
    /// Sockets that the single gateway process holds, one measurement for each number
    #[arg(long, value_delimiter = ',', default_value = "1000,2000,5000,10000,19000")]
    pub sockets: Vec<u32>,
    /// Sockets that the nodes of the cluster hold together; 0 skips the cluster
    #[arg(long, default_value_t = 50_000)]
    pub cluster: u32,
    /// Events published to the whole cluster, one per second
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub events: u32,
    /// Approximate deliveries to each contestant in each round
    #[arg(long, default_value_t = 300_000)]
    pub deliveries: u32,
    /// Draws the result into this file
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Options of every comparison tool; the list of contestants is ignored here
    #[command(flatten)]
    pub contest: ContestOptions,
}

/// The result of a run. Its `Display` is a table.
#[derive(Debug, Serialize)]
pub struct ScaleReport {
    /// CPU microseconds per delivery by number of sockets in one process, for the gateway and for the bare loop.
    points: Vec<Point>,
    /// The cost on three nodes that share a Redis.
    cluster: Option<ClusterPoint>,
    failures: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Point {
    sockets: u32,
    gateway: FigureSpread,
    #[serde(rename = "yardstick")]
    baseline: FigureSpread,
}

#[derive(Debug, Serialize)]
struct ClusterPoint {
    sockets: u32,
    cpu_us_per_delivery: f64,
    kib_per_session: f64,
}

/// Measures, and draws the plot if asked to.
///
/// # Errors
/// Fails like [`fanout::run`], and if a server of the cluster does not start or the plot cannot be written.
pub fn run(options: &Sizes) -> Result<ScaleReport> {
    let mut report = ScaleReport {
        points: Vec::new(),
        cluster: None,
        failures: Vec::new(),
    };
    for &sockets in &options.sockets {
        let fan_out = fanout::run(&fanout::FanoutOptions {
            sockets,
            burst: 1,
            in_flight: None,
            rate: None,
            deliveries: options.deliveries,
            bytes: 200,
            contest: ContestOptions {
                contestants: vec![Contestant::Gateway, Contestant::Loop],
                ..options.contest.clone()
            },
        })?;
        let spread = |contestant| fan_out.spread(contestant, FIGURE).context("the fan-out has no figure");
        report.points.push(Point {
            sockets,
            gateway: spread(Contestant::Gateway)?,
            baseline: spread(Contestant::Loop)?,
        });
        report.failures.extend(fan_out.failures());
    }
    if options.cluster > 0 {
        let gateway = binary(options.contest.gateway.as_deref())?;
        let measured = on_a_thread(|| cluster::measure(&gateway, options.cluster, options.events))?;
        report.failures.extend(measured.failures);
        report.cluster = Some(ClusterPoint {
            sockets: measured.sessions,
            cpu_us_per_delivery: measured.cpu_us_per_delivery,
            kib_per_session: measured.kib_per_session,
        });
    }
    if let Some(path) = &options.svg {
        fs::write(path, report.picture()).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(report)
}

impl ScaleReport {
    fn picture(&self) -> String {
        let line = |name: &'static str, of: fn(&Point) -> &FigureSpread| Series {
            name,
            points: self
                .points
                .iter()
                .map(|point| (f64::from(point.sockets), of(point).median))
                .collect(),
        };
        let mut series = vec![line("gateway", |it| &it.gateway), line("bare loop", |it| &it.baseline)];
        if let Some(cluster) = &self.cluster {
            series.push(Series {
                name: "three nodes and a Redis",
                points: vec![(f64::from(cluster.sockets), cluster.cpu_us_per_delivery)],
            });
        }
        plot::draw("sessions", "CPU microseconds of a delivery", &series)
    }
}

impl ToolReport for ScaleReport {
    fn failures(&self) -> Vec<String> {
        self.failures.clone()
    }
}

impl fmt::Display for ScaleReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:>9}{:>28}{:>26}{:>9}",
            "sessions", "gateway, CPU us / delivery", "bare loop", "ratio"
        )?;
        for point in &self.points {
            let cell = |spread: &FigureSpread| format!("{:.2} ({:.2}-{:.2})", spread.median, spread.min, spread.max);
            writeln!(
                f,
                "{:>9}{:>28}{:>26}{:>9.2}",
                point.sockets,
                cell(&point.gateway),
                cell(&point.baseline),
                point.gateway.median / point.baseline.median
            )?;
        }
        if let Some(cluster) = &self.cluster {
            writeln!(
                f,
                "{:>9}{:>28.2}  three nodes and a Redis, {:.2} KiB / session",
                cluster.sockets, cluster.cpu_us_per_delivery, cluster.kib_per_session
            )?;
        }
        Ok(())
    }
}
