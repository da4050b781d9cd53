//! Takes a million ids from several nodes while nodes, clocks and Redis go wrong, and looks whether one comes twice.

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
