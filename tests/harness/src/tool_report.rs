//! The report of a tool, and the exit code that follows from it.

use std::{fmt::Display, fs, path::Path, process::ExitCode};

use anyhow::{Context as _, Result};
use serde::Serialize;

/// What a tool found in a run.
pub trait ToolReport: Serialize {
    /// Returns what failed, one sentence each; empty if every promise was kept.
    fn failures(&self) -> Vec<String>;
}

/// Prints the report, writes it to `json`, and returns the tool's exit code: 1 if there are failures.
///
/// # Errors
/// Returns an error if the file cannot be written.
#[expect(clippy::print_stdout, reason = "a tool prints its result")]
pub fn conclude(outcome: &(impl ToolReport + Display), json: Option<&Path>) -> Result<ExitCode> {
    println!("{outcome}");
    conclude_quietly(outcome, json)
}

/// Like [`conclude`], for a report that has been printed already.
///
/// # Errors
/// Returns an error if the file cannot be written.
#[expect(clippy::print_stderr, reason = "a tool says what failed")]
pub fn conclude_quietly(outcome: &impl ToolReport, json: Option<&Path>) -> Result<ExitCode> {
    if let Some(path) = json {
        let json = serde_json::to_string_pretty(outcome)?;
        fs::write(path, json).with_context(|| format!("writing {}", path.display()))?;
    }
    let failures = outcome.failures();
    for failure in &failures {
        eprintln!("failed: {failure}");
    }
    Ok(ExitCode::from(u8::from(!failures.is_empty())))
}
