//! Measures the cost of a heartbeat and its ACK, compared with the shortest round trip of other servers.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use gateway_bench::load::beat::{BeatOptions, run};
use gateway_harness::conclude;

fn main() -> Result<ExitCode> {
    let options = BeatOptions::parse();
    conclude(&run(&options)?, options.contest.json.as_deref())
}
