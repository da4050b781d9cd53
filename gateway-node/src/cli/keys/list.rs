//! `keys list`: a table of the keys, without anything secret.

use std::io::Write;

use super::CliError;
use crate::config::KeySettings;

const COLUMNS: [&str; 5] = ["ID", "TYPE", "APPLICATION", "PERMISSIONS", "EXPIRES"];

/// Prints a line for each key under a line of headings, the columns aligned.
pub(super) fn run(keys: &[KeySettings], out: &mut dyn Write) -> Result<(), CliError> {
    let mut rows = vec![COLUMNS.map(str::to_owned)];
    rows.extend(keys.iter().map(row));
    let widths: [usize; COLUMNS.len()] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or_default());
    for row in &rows {
        let cells: Vec<_> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

fn row(key: &KeySettings) -> [String; COLUMNS.len()] {
    let types: Vec<_> = key.types.0.iter().map(|kind| kind.as_str()).collect();
    let permissions: Vec<_> = key.permissions.iter().map(|permission| permission.as_str()).collect();
    [
        key.id.clone(),
        types.join(","),
        key.application.clone(),
        if permissions.is_empty() {
            "none".to_owned()
        } else {
            permissions.join(",")
        },
        key.expires_at
            .map_or_else(|| "never".to_owned(), |time| time.to_string()),
    ]
}
