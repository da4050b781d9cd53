//! Ids of users, which the operator's website gives to the people who use it.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::MAX_INTEGER;

/// The most characters of an id.
const MAX_CHARACTERS: usize = 64;

/// The id of a user: 1 to 64 printable ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserId(Arc<str>);

impl UserId {
    /// Creates an id from its text. Returns `None` if the text is empty, too long, or has other characters.
    pub fn new(text: &str) -> Option<Self> {
        let is_printable = |byte: u8| (b' '..=b'~').contains(&byte);
        let is_valid = (1..=MAX_CHARACTERS).contains(&text.len()) && text.bytes().all(is_printable);
        is_valid.then(|| Self(text.into()))
    }

    /// Parses an id: a string, or an integer from 0 to 2^53 − 1, which equals its digits. Returns `None` for everything
    /// else.
    pub fn from_json(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Self::new(text),
            Value::Number(number) => {
                let number = number.as_u64().filter(|number| *number <= MAX_INTEGER)?;
                Self::new(&number.to_string())
            }
            _ => None,
        }
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_id_is_a_short_printable_string_or_an_integer() {
        let text = |value| UserId::from_json(&value).map(|user| user.to_string());
        for (value, expected) in [
            (json!("123"), "123"),
            (json!(123), "123"),
            (json!("~ a"), "~ a"),
            (json!(0), "0"),
        ] {
            assert_eq!(text(value).as_deref(), Some(expected));
        }
        assert!(text(json!("x".repeat(64))).is_some());
        for value in [
            json!(""),
            json!("x".repeat(65)),
            json!("ü"),
            json!("a\n"),
            json!(-1),
            json!(1.5),
            json!(9_007_199_254_740_992_u64),
            json!(null),
            json!(["1"]),
        ] {
            assert_eq!(text(value.clone()), None, "{value}");
        }
    }
}
