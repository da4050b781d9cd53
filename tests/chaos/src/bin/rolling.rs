//! Deploys a cluster anew, node by node, while bots use it, and prints what they saw.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use gateway_chaos::rolling::{RollingOptions, run};
use gateway_harness::conclude;

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let options = RollingOptions::parse();
    conclude(&run(&options).await?, options.json.as_deref())
}
