//! Runs the whole comparison of the gateway with the bare loop and other servers.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use gateway_bench::load::compare::{CompareOptions, run};
use gateway_harness::conclude_quietly;

#[expect(clippy::print_stdout, reason = "each table is printed as soon as it is complete")]
fn main() -> Result<ExitCode> {
    let options = CompareOptions::parse();
    let report = run(&options, |table| println!("{table}"))?;
    conclude_quietly(&report, options.contest.json.as_deref())
}
