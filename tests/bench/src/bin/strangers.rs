//! Floods a node with clients that never identify, and measures the effect on healthy clients.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use gateway_bench::load::strangers::{StrangersOptions, run};
use gateway_harness::conclude;

fn main() -> Result<ExitCode> {
    let options = StrangersOptions::parse();
    match run(&options)? {
        Some(report) => conclude(&report, options.json.as_deref()),
        None => Ok(ExitCode::SUCCESS),
    }
}
