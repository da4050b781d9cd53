//! Measures what it costs to bring an event to many sockets, beside the yardstick and others.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use gateway_tests::load::{
    conclude,
    fanout::{Options, run},
};

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    conclude(&run(&options)?, options.contest.json.as_deref())
}
