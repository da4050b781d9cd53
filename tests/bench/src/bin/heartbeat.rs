//! Holds many identified sessions on a node, sends their heartbeats, and prints what they cost.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use gateway_bench::load::heartbeat::{HeartbeatOptions, run};
use gateway_harness::conclude;

fn main() -> Result<ExitCode> {
    let options = HeartbeatOptions::parse();
    conclude(&run(&options)?, options.json.as_deref())
}
