//! Measures how the cost of a delivery grows with the number of sessions, and plots it.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use gateway_bench::load::scale::{Role, ScaleOptions, run, watch};
use gateway_harness::conclude;

fn main() -> Result<ExitCode> {
    let ScaleOptions { role, sizes } = ScaleOptions::parse();
    if let Some(Role::NodeClients(options)) = role {
        watch(&options)?;
        return Ok(ExitCode::SUCCESS);
    }
    conclude(&run(&sizes)?, sizes.contest.json.as_deref())
}
