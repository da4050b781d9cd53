//! Measures the round trip of requests through two nodes, and through NATS.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use gateway_bench::load::replies::{ReplyOptions, run};
use gateway_harness::conclude;

fn main() -> Result<ExitCode> {
    let options = ReplyOptions::parse();
    conclude(&run(&options)?, options.json.as_deref())
}
