//! Lets bots report changing guilds, and measures the effect on publishers of another application.

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
