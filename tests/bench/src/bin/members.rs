//! Requests all members of a large guild many times at once, and measures the effect on another application.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use gateway_bench::load::members::{MembersOptions, run};
use gateway_harness::conclude;

fn main() -> Result<ExitCode> {
    let options = MembersOptions::parse();
    conclude(&run(&options)?, options.json.as_deref())
}
