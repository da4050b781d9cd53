//! Measures the cost of idle clients, compared with the bare loop and other servers.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use gateway_bench::load::idle::{IdleOptions, run};
use gateway_harness::conclude;

fn main() -> Result<ExitCode> {
    let options = IdleOptions::parse();
    conclude(&run(&options)?, options.contest.json.as_deref())
}
