//! Floods a real node with clients that never identify, beside healthy ones, and prints what these notice.

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
