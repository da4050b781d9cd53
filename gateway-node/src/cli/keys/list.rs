//! `keys list`: a table of the keys, without their secrets.

use std::io::Write;

use super::CliError;
use crate::config::KeySettings;

const COLUMNS: [&str; 5] = ["ID", "TYPE", "APPLICATION", "PERMISSIONS", "EXPIRES"];

/// Prints a heading and one line per key, in aligned columns. If Redis is configured, a last column says where each key
/// comes from; a key in the file hides the key with the same id in Redis.
pub(super) fn run(keys: &[KeySettings], stored: Option<&[KeySettings]>, out: &mut dyn Write) -> Result<(), CliError> {
    let mut rows = vec![COLUMNS.map(str::to_owned).to_vec()];
    rows.extend(keys.iter().map(|key| row(key).to_vec()));
    if let Some(stored) = stored {
        let names = ["FROM"].into_iter().chain(keys.iter().map(|_| "file"));
        for (row, name) in rows.iter_mut().zip(names) {
            row.push(name.to_owned());
        }
        for key in stored {
            let is_hidden = keys.iter().any(|known| known.id == key.id);
            let from = if is_hidden { "redis, hidden" } else { "redis" };
            rows.push([&row(key)[..], &[from.to_owned()]].concat());
        }
    }
    let widths: Vec<_> = (0..rows[0].len())
        .map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or_default())
        .collect();
    for row in &rows {
        let cells: Vec<_> = row
            .iter()
            .zip(&widths)
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
