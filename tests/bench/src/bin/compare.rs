//! Prints the whole comparison of the gateway with the yardstick and with others on this machine.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use gateway_bench::load::compare::{CompareOptions, run};
use gateway_harness::conclude_quietly;

#[expect(clippy::print_stdout, reason = "each table is printed as soon as it is there")]
fn main() -> Result<ExitCode> {
    let options = CompareOptions::parse();
    let report = run(&options, |table| println!("{table}"))?;
    conclude_quietly(&report, options.contest.json.as_deref())
}
