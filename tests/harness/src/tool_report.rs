//! What a tool found, and how it ends.

use std::{fmt::Display, fs, path::Path, process::ExitCode};

use anyhow::{Context as _, Result};
use serde::Serialize;

/// What a run found.
pub trait ToolReport: Serialize {
    /// What went wrong, one sentence each; none when everything was as promised.
    fn failures(&self) -> Vec<String>;
}

/// Prints what a run found, writes it as JSON to `json`, and says with which exit code the tool ends: 1 after a failure.
///
/// # Errors
/// When the file cannot be written.
#[expect(clippy::print_stdout, reason = "a tool prints its result")]
pub fn conclude(outcome: &(impl ToolReport + Display), json: Option<&Path>) -> Result<ExitCode> {
    println!("{outcome}");
    conclude_quietly(outcome, json)
}

/// The same for what has been printed already.
///
/// # Errors
/// When the file cannot be written.
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
