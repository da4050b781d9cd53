//! `check-config`: says whether a node would start with this configuration.

use std::io::Write;

use super::CliError;
use crate::config::Sources;

/// Loads everything that a start would load, the schemas too, and prints one line about it.
pub(super) fn run(sources: &Sources, out: &mut dyn Write) -> Result<(), CliError> {
    let settings = sources.load()?;
    let events = settings.event_table()?;
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
