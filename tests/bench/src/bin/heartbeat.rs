//! Holds many identified sessions on a real node, beats for them, and prints what they cost.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use gateway_tests::load::{
    conclude,
    heartbeat::{Options, run},
};

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    conclude(&run(&options)?, options.json.as_deref())
}
