//! Measures the cost of delivering an event to many sockets, compared with the bare loop and other servers.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use gateway_bench::load::fanout::{FanoutOptions, run};
use gateway_harness::conclude;

fn main() -> Result<ExitCode> {
    let options = FanoutOptions::parse();
    conclude(&run(&options)?, options.contest.json.as_deref())
}
