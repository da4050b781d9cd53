//! `keys revoke`: removes a key from Redis and shows where it is in the configuration file.

use std::{
    io::Write,
    ops::{Range, RangeInclusive},
    path::Path,
};

use toml::de::DeTable;

use super::{CliError, KeyFileStore};
use crate::config::Sources;

/// Removes a key from Redis, and names the lines to delete if it is in the file.
///
/// A key must be revocable in a hurry, so the rest of the file may be invalid. Redis is used only if the configuration
/// is valid.
pub(super) fn run(id: &str, file: Option<&Path>, sources: &Sources, out: &mut dyn Write) -> Result<(), CliError> {
    let lines = file.map(|path| lines(id, path)).transpose()?.flatten();
    let settings = sources.load();
    let store = match &settings {
        Ok(settings) => KeyFileStore::of(settings)?,
        Err(_) => None,
    };
    let removed = store.as_ref().map_or(Ok(false), |store| store.remove(id));
    let is_in_file = lines.is_some();
    if let (Some(path), Some(lines)) = (file, lines) {
        let lines = match (lines.start(), lines.end()) {
            (first, last) if first == last => format!("line {first}"),
            (first, last) => format!("lines {first} to {last}"),
        };
        writeln!(
            out,
            "{}: to revoke {id}, delete {lines} and send SIGHUP to the node",
            path.display()
        )?;
    }
    let is_removed = removed?;
    if is_removed {
        writeln!(out, "redis: removed {id}; every node refuses it within a second")?;
    }
    match (file, settings) {
        (_, Err(error)) if is_in_file => writeln!(out, "redis was not checked: {error}")?,
        (_, Err(error)) => return Err(error.into()),
        _ if is_in_file || is_removed => {}
        (Some(path), _) => {
            let redis = store.map_or("", |_| " or in redis");
            return usage(&format!("no key {id:?} in {}{redis}", path.display()));
        }
        (None, _) if store.is_some() => return usage(&format!("no key {id:?} in redis")),
        (None, _) => return usage("name the file that contains the key with --config FILE"),
    }
    Ok(())
}

/// Returns the lines of a key in the file, or `None` if it is not there.
fn lines(id: &str, path: &Path) -> Result<Option<RangeInclusive<usize>>, CliError> {
    let path_text = path.display();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return usage(&format!("cannot read {path_text}: {error}")),
    };
    match DeTable::parse(&text) {
        Ok(table) => Ok(find(id, &text, &table.into_inner())),
        Err(error) => {
            let line = line(&text, error.span().map_or(0, |span| span.start));
            usage(&format!(
                "{path_text} is not valid TOML: line {line}: {}",
                error.message()
            ))
        }
    }
}

fn usage<T>(text: &str) -> Result<T, CliError> {
    Err(CliError::Usage(format!("keys revoke: {text}")))
}

/// Returns the lines, counted from 1, of the `keys` entry with this id: its header and all its fields.
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

/// Returns the line, counted from 1, that a byte is on.
fn line(text: &str, byte: usize) -> usize {
    text.bytes().take(byte).filter(|byte| *byte == b'\n').count() + 1
}
