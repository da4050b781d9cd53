//! Requests a million ids from several nodes while nodes, clocks and Redis fail, and checks that none is issued twice.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use gateway_chaos::ids::{IdOptions, run};
use gateway_harness::conclude;

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let options = IdOptions::parse();
    conclude(&run(&options).await?, options.json.as_deref())
}
