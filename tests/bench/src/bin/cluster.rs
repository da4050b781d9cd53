//! Publishes through three nodes that share a Redis, and compares the result with Redis alone.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use gateway_bench::load::cluster::{ClusterLoadOptions, run};
use gateway_harness::conclude;

fn main() -> Result<ExitCode> {
    let options = ClusterLoadOptions::parse();
    conclude(&run(&options)?, options.json.as_deref())
}
