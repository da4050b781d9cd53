//! `check-config`: checks whether a node would start with this configuration.

use std::io::Write;

use super::CliError;
use crate::{config::Sources, node::Preflight};

/// Runs the checks of a start. Prints on `out` a one-line summary after a line for
/// each value that is in a file of its own, and warnings on `err`.
pub(super) fn run(sources: &Sources, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), CliError> {
    let Preflight {
        settings,
        events,
        warnings,
        ..
    } = Preflight::of(sources, crate::clock::wall_clock())?;
    for warning in &warnings {
        writeln!(err, "warning: {warning}")?;
    }
    for (key, origin) in settings.read_from_files() {
        writeln!(out, "{key} is set in {origin}")?;
    }
    let mode = if settings.development() {
        ", development mode"
    } else {
        ""
    };
    writeln!(
        out,
        "configuration ok: {}, {}, {}{mode}",
        count(settings.applications.len(), "application"),
        count(settings.keys.len(), "key"),
        count(events.len(), "event"),
    )?;
    Ok(())
}

fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}
