//! The lines that say what is wrong with a configuration.

use std::fmt;

use super::{secret::REDACTED, setting::SettingDoc};

/// Bytes of a key or a value that the line shows.
const SHOWN_BYTES: usize = 128;

/// A problem of a configuration. Display is one line without a line break, whatever the operator wrote, and
/// never shows a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("configuration: {key}{} in {origin}: expected {expected}", Assigned(.value.as_deref()))]
#[non_exhaustive]
pub struct ConfigError {
    /// The full key, such as `limits.message_bytes`; a line and a column where the file is no TOML.
    pub key: String,
    /// The value as it was written; none where there is none, or where it may be a secret under a wrong name.
    pub value: Option<String>,
    /// Where the value comes from: a file's path, `environment NAME`, `flag --name` or `the defaults`.
    pub origin: String,
    /// What would have been right.
    pub expected: String,
}

impl ConfigError {
    /// A problem of `key`. The texts are made printable here; `value` is the output of [`shown`].
    pub(super) fn new(key: &str, value: Option<String>, origin: &str, expected: impl Into<String>) -> Self {
        Self {
            key: cut(printable(key)),
            value,
            origin: printable(origin),
            expected: printable(&expected.into()),
        }
    }
}

/// All problems of a configuration. Display is one line for each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", Lines(.0))]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// `errors` in the order in which they are told, if there are any.
    pub(super) fn of(errors: Vec<ConfigError>) -> Option<Self> {
        (!errors.is_empty()).then_some(Self(errors))
    }

    /// Returns the problems.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }
}

struct Lines<'a>(&'a [ConfigError]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let end = if index == 0 { "" } else { "\n" };
            write!(f, "{end}{error}")?;
        }
        Ok(())
    }
}

struct Assigned<'a>(Option<&'a str>);

impl fmt::Display for Assigned<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |value| write!(f, " = {value}"))
    }
}

/// A value of `key` as an error shows it: quoted, escaped, cut, and redacted where it is or may hold a secret.
///
/// `key` may be a section, whose value is wrong as a whole; then every setting below it counts.
pub(super) fn shown(key: &str, value: &serde_json::Value, docs: &[SettingDoc]) -> String {
    let at_or_below = |doc: &&SettingDoc| {
        doc.key
            .strip_prefix(key)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    if docs.iter().filter(at_or_below).any(|doc| doc.secret) {
        return REDACTED.to_owned();
    }
    // Whoever takes the id for the whole key pastes the secret behind a dot.
    if key == "keys[].id"
        && let Some((id, _)) = value.as_str().and_then(|text| text.split_once('.'))
    {
        return cut(printable(&format!("\"{id}.{REDACTED}\"")));
    }
    cut(printable(&value.to_string()))
}

/// `text` on one line: control characters, line and paragraph separators and the like are escaped.
pub(super) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '"' | '\'' | '\\' => out.push(char),
            _ => out.extend(char.escape_debug()),
        }
    }
    out
}

/// At most [`SHOWN_BYTES`] of `text`, with a mark where something is missing.
pub(super) fn cut(mut text: String) -> String {
    if text.len() > SHOWN_BYTES {
        text.truncate(boundary(&text, SHOWN_BYTES));
        text.push('…');
    }
    text
}

/// The end of the last whole character within the first `byte` bytes of `text`.
pub(super) fn boundary(text: &str, byte: usize) -> usize {
    (0..=byte.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_operator_wrote_is_one_short_line() {
        let key = format!("limits.{}\n", "é\u{202e}".repeat(200));
        let value = serde_json::json!("\r\n\u{2028}\u{1b}[31m".repeat(100));
        let error = ConfigError::new(&key, Some(shown("limits.x", &value, &[])), "a\nb.toml", "c\nd");
        let line = error.to_string();
        assert!(
            !line
                .chars()
                .any(|char| char.is_control() || matches!(char, '\u{2028}' | '\u{202e}')),
            "{line}"
        );
        assert!(line.len() < 2 * SHOWN_BYTES + 100, "{line}");
        assert!(line.ends_with(r"… in a\nb.toml: expected c\nd"), "{line}");
    }

    #[test]
    fn a_value_that_may_hold_a_secret_is_not_shown() {
        let docs = super::super::reference();
        for (key, value) in [
            ("redis", serde_json::json!("redis://:hunter2@host")),
            ("redis.url", serde_json::json!(["hunter2"])),
            ("keys", serde_json::json!("hunter2")),
            ("keys[]", serde_json::json!("hunter2")),
            ("keys[].secret", serde_json::json!("hunter2")),
            ("keys[].hash", serde_json::json!("hunter2")),
            ("keys[].id", serde_json::json!("web.hunter2")),
        ] {
            assert!(!shown(key, &value, &docs).contains("hunter2"), "{key}");
        }
        assert_eq!(shown("keys[].id", &serde_json::json!("a b"), &docs), "\"a b\"");
    }
}
