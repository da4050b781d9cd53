//! Begins requests that never end at a real node, beside a client that asks whether it lives, and prints what both cost.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use gateway_bench::load::unfinished::{UnfinishedOptions, run};
use gateway_harness::conclude;

fn main() -> Result<ExitCode> {
    let options = UnfinishedOptions::parse();
    conclude(&run(&options)?, options.json.as_deref())
}
