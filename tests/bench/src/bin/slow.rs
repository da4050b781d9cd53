//! Has a node evict waves of slow clients, and measures the effect on the node and on healthy clients.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use gateway_bench::load::slow::{SlowOptions, run};
use gateway_harness::conclude;

fn main() -> Result<ExitCode> {
    let options = SlowOptions::parse();
    conclude(&run(&options)?, options.json.as_deref())
}
