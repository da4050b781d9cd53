//! Measures what it costs to bring an event to many sockets, beside the yardstick and others.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use gateway_bench::load::fanout::{FanoutOptions, run};
use gateway_harness::conclude;

fn main() -> Result<ExitCode> {
    let options = FanoutOptions::parse();
    conclude(&run(&options)?, options.contest.json.as_deref())
}
