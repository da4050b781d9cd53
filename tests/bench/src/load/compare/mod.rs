//! The whole comparison: runs every comparison tool, one after the other.

use anyhow::Result;
use clap::Parser;
use gateway_harness::ToolReport;
use serde::Serialize;

use super::{
    beat, connect,
    contest::{ContestOptions, ContestReport},
    fanout, idle,
};

/// Runs every comparison tool and prints their tables.
#[derive(Debug, Clone, Parser)]
#[command(name = "compare")]
pub struct CompareOptions {
    /// Divides the size of every benchmark by this number
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub divide: u32,
    /// Options of every comparison tool
    #[command(flatten)]
    pub contest: ContestOptions,
}

/// The tables, in the order of the benchmarks.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct CompareReport(Vec<ContestReport>);

/// Runs all benchmarks and passes each table to `each` as soon as it is complete.
///
/// # Errors
/// Fails if any benchmark fails.
pub fn run(options: &CompareOptions, mut each: impl FnMut(&ContestReport)) -> Result<CompareReport> {
    let CompareOptions { divide, contest } = options;
    let smaller = |number: u32| (number / divide).max(1);
    let mut reports = Vec::new();
    let mut conclude = |report: ContestReport| {
        each(&report);
        reports.push(report);
    };
    let fan_out = |sockets, in_flight, deliveries, rate| {
        fanout::run(&fanout::FanoutOptions {
            sockets: smaller(sockets),
            burst: 1,
            in_flight,
            rate,
            deliveries: smaller(deliveries),
            bytes: 200,
            contest: contest.clone(),
        })
    };
    conclude(fan_out(1000, None, 300_000, None)?);
    conclude(fan_out(10_000, None, 300_000, None)?);
    conclude(fan_out(1000, Some(8), 400_000, None)?);
    conclude(fan_out(10_000, Some(8), 1_200_000, None)?);
    conclude(fan_out(1000, None, 100_000, Some(30))?);
    conclude(connect::run(&connect::ConnectLoadOptions {
        sockets: smaller(10_000),
        contest: contest.clone(),
    })?);
    conclude(idle::run(&idle::IdleOptions {
        sockets: smaller(10_000),
        bytes: 65_000,
        seconds: 2 / divide,
        contest: contest.clone(),
    })?);
    conclude(beat::run(&beat::BeatOptions {
        sockets: smaller(1000),
        beats: smaller(50_000),
        contest: contest.clone(),
    })?);
    Ok(CompareReport(reports))
}

impl ToolReport for CompareReport {
    fn failures(&self) -> Vec<String> {
        self.0.iter().flat_map(ToolReport::failures).collect()
    }
}
