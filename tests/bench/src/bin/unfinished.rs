//! Opens requests that never end, and measures their cost and the effect on a healthy client.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use gateway_bench::load::unfinished::{UnfinishedOptions, run};
use gateway_harness::conclude;

fn main() -> Result<ExitCode> {
    let options = UnfinishedOptions::parse();
    conclude(&run(&options)?, options.json.as_deref())
}
