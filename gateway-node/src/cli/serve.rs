//! `serve`: runs the node.

use std::process::ExitCode;

use crate::config::Settings;

/// Runs a node with `settings` until it is told to stop.
pub fn run(settings: Settings) -> ExitCode {
    drop(settings);
    ExitCode::from(70)
}
