//! Sends requests through a cluster while bots and nodes are killed, and prints what became of them.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use gateway_chaos::requests::{RequestOptions, run};
use gateway_harness::conclude;

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let options = RequestOptions::parse();
    conclude(&run(&options).await?, options.json.as_deref())
}
