//! Has bots report changing guilds to a real node on a Redis, and prints what publishers of another application notice.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use gateway_bench::load::reports::{ReportsOptions, run};
use gateway_harness::conclude;

fn main() -> Result<ExitCode> {
    let options = ReportsOptions::parse();
    match run(&options)? {
        Some(report) => conclude(&report, options.json.as_deref()),
        None => Ok(ExitCode::SUCCESS),
    }
}
