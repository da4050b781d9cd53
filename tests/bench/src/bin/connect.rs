//! Measures what it costs to let a client in, beside the yardstick and others.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use gateway_bench::load::connect::{ConnectLoadOptions, run};
use gateway_harness::conclude;

fn main() -> Result<ExitCode> {
    let options = ConnectLoadOptions::parse();
    conclude(&run(&options)?, options.contest.json.as_deref())
}
