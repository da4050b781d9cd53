//! Session ids: snowflakes, unique among the live sessions of the whole cluster.

use std::{fmt, num::ParseIntError};

use serde::{Deserialize, Serialize};

/// The id of a session, displayed and sent to clients as decimal digits.
///
/// On the wire it is a string, never a number: JavaScript's numbers represent only 53 bits exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct SessionId(u64);

impl SessionId {
    /// Creates an id from its number, for example one read back from a log.
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// Returns the id as a number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl From<SessionId> for String {
    fn from(id: SessionId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for SessionId {
    type Error = ParseIntError;

    fn try_from(digits: String) -> Result<Self, ParseIntError> {
        digits.parse().map(Self)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_displays_as_decimal_digits() {
        assert_eq!(SessionId::from_raw(0).to_string(), "0");
        assert_eq!(SessionId::from_raw(u64::MAX).to_string(), "18446744073709551615");
        assert_eq!(SessionId::from_raw(42).get(), 42);
    }

    #[test]
    fn json_has_an_id_as_text() {
        let id = SessionId::from_raw(u64::MAX);
        let json = serde_json::to_string(&id).expect("an id is valid JSON");
        assert_eq!(json, r#""18446744073709551615""#);
        assert_eq!(serde_json::from_str::<SessionId>(&json).ok(), Some(id));
        assert!(serde_json::from_str::<SessionId>("42").is_err());
    }
}
