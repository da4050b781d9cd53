//! Holds many identified sessions on a real node, beats for them, and prints what they cost.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser as _;
use gateway_tests::load::heartbeat::{Options, run};

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a tool prints its result")]
fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let report = run(&options)?;
    println!("{report}");
    if let Some(path) = &options.json {
        let json = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, json).with_context(|| format!("writing {}", path.display()))?;
    }
    let failures = report.failures();
    for failure in &failures {
        eprintln!("failed: {failure}");
    }
    Ok(ExitCode::from(u8::from(!failures.is_empty())))
}
