//! Measures the cost of admitting a client, compared with the bare loop and other servers.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use gateway_bench::load::connect::{ConnectLoadOptions, run};
use gateway_harness::conclude;

fn main() -> Result<ExitCode> {
    let options = ConnectLoadOptions::parse();
    conclude(&run(&options)?, options.contest.json.as_deref())
}
