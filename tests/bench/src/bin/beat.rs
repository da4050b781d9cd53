//! Measures what a heartbeat and its answer cost, beside the shortest echo of others.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use gateway_tests::load::{
    beat::{Options, run},
    conclude,
};

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    conclude(&run(&options)?, options.contest.json.as_deref())
}
