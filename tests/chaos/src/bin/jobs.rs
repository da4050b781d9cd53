//! Publishes jobs to a cluster while its workers, nodes and Redis fail, and prints what became of them.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use gateway_chaos::jobs::{JobOptions, run};
use gateway_harness::conclude;

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let options = JobOptions::parse();
    conclude(&run(&options).await?, options.json.as_deref())
}
