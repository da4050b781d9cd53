//! Runs a cluster under load, injects faults, and prints what its clients saw.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use gateway_chaos::faults::{FaultOptions, run};
use gateway_harness::conclude;

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let options = FaultOptions::parse();
    conclude(&run(&options).await?, options.json.as_deref())
}
