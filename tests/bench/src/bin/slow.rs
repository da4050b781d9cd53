//! Evicts waves of slow clients from a real node, beside healthy ones, and prints what that cost.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use gateway_bench::load::slow::{SlowOptions, run};
use gateway_harness::conclude;

fn main() -> Result<ExitCode> {
    let options = SlowOptions::parse();
    conclude(&run(&options)?, options.json.as_deref())
}
