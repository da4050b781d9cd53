//! Errors: one line for each problem of a configuration.

use std::fmt;

use super::{secret::REDACTED, setting::SettingDoc};

/// Maximum bytes of a key or a value in an error line.
const SHOWN_BYTES: usize = 128;

/// A problem of a configuration. `Display` prints one line without a line break, whatever the operator wrote, and never
/// shows a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("configuration: {key}{} in {origin}: expected {expected}", Assigned(.value.as_deref()))]
#[non_exhaustive]
pub struct ConfigError {
    /// The full key, such as `limits.message_bytes`, or a line and column if the file is not TOML.
    pub key: String,
    /// The value as it was written. `None` if there is none, or if it may be a secret under a mistyped name.
    pub value: Option<String>,
    /// The origin of the value: a file's path, `environment NAME`, `flag --name` or `the defaults`.
    pub origin: String,
    /// What a valid value would have been.
    pub expected: String,
}

impl ConfigError {
    /// Creates a problem of `key`. `value` is the output of [`shown`]; the other texts are made printable here.
    pub(super) fn new(key: &str, value: Option<String>, origin: &str, expected: impl Into<String>) -> Self {
        Self {
            key: cut(printable(key)),
            value,
            origin: printable(origin),
            expected: printable(&expected.into()),
        }
    }
}

/// All problems of a configuration. `Display` prints one line for each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", Lines(.0))]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// Wraps `errors`, which are reported in this order. Returns `None` if there are none.
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

/// Formats a value of `key` for an error: quoted, escaped, truncated, and redacted if it is or may contain a secret.
///
/// `key` may be a section whose value is invalid as a whole. It is redacted if any setting in the section is secret.
pub(super) fn shown(key: &str, value: &serde_json::Value, docs: &[SettingDoc]) -> String {
    let at_or_below = |doc: &&SettingDoc| {
        doc.key
            .strip_prefix(key)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    if docs.iter().filter(at_or_below).any(|doc| doc.secret) {
        return REDACTED.to_owned();
    }
    // An operator who mistakes the id for the whole key pastes the secret after a dot.
    if key == "keys[].id"
        && let Some((id, _)) = value.as_str().and_then(|text| text.split_once('.'))
    {
        return cut(printable(&format!("\"{id}.{REDACTED}\"")));
    }
    cut(printable(&value.to_string()))
}

/// Escapes control characters, line and paragraph separators and the like, so that `text` fits on one line.
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

/// Truncates `text` to [`SHOWN_BYTES`] and marks the cut with an ellipsis.
pub(super) fn cut(mut text: String) -> String {
    if text.len() > SHOWN_BYTES {
        text.truncate(boundary(&text, SHOWN_BYTES));
        text.push('…');
    }
    text
}

/// Returns the end of the last whole character within the first `byte` bytes of `text`.
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
    fn an_error_is_one_short_line_whatever_the_operator_wrote() {
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
