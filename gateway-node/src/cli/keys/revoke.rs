//! `keys revoke`: where a key is in the configuration file.

use std::{
    io::Write,
    ops::{Range, RangeInclusive},
    path::Path,
};

use toml::de::DeTable;

use super::CliError;

/// Names the lines to delete. The rest of the file need not be right, since a key must be revocable in a hurry.
pub(super) fn run(id: &str, file: Option<&Path>, out: &mut dyn Write) -> Result<(), CliError> {
    let usage = |text: String| Err(CliError::Usage(text));
    let Some(path) = file else {
        return usage("keys revoke: name the file that the key is in with --config FILE".to_owned());
    };
    let path_text = path.display();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return usage(format!("keys revoke: cannot read {path_text}: {error}")),
    };
    let table = match DeTable::parse(&text) {
        Ok(table) => table.into_inner(),
        Err(error) => {
            let line = line(&text, error.span().map_or(0, |span| span.start));
            return usage(format!(
                "keys revoke: {path_text} is no TOML: line {line}: {}",
                error.message()
            ));
        }
    };
    let Some(lines) = find(id, &text, &table) else {
        return usage(format!("keys revoke: no key {id:?} in {path_text}"));
    };
    let lines = match (lines.start(), lines.end()) {
        (first, last) if first == last => format!("line {first}"),
        (first, last) => format!("lines {first} to {last}"),
    };
    writeln!(
        out,
        "{path_text}: delete {lines}, then send SIGHUP to the node: that revokes {id}"
    )?;
    Ok(())
}

/// The lines, from 1, of the entry of `keys` with this id: its header and all its fields.
fn find(id: &str, text: &str, table: &DeTable<'_>) -> Option<RangeInclusive<usize>> {
    let entry = table.get("keys")?.get_ref().as_array()?.iter().find(|entry| {
        let name = entry.get_ref().as_table().and_then(|key| key.get("id"));
        name.and_then(|name| name.get_ref().as_str()) == Some(id)
    })?;
    let fields = entry
        .get_ref()
        .as_table()?
        .iter()
        .flat_map(|(name, value)| [name.span(), value.span()]);
    let span = fields.fold(entry.span(), |all, part| Range {
        start: all.start.min(part.start),
        end: all.end.max(part.end),
    });
    Some(line(text, span.start)..=line(text, span.end.saturating_sub(1)))
}

/// The line, from 1, that a byte is on.
fn line(text: &str, byte: usize) -> usize {
    text.bytes().take(byte).filter(|byte| *byte == b'\n').count() + 1
}
