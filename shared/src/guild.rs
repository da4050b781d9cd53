//! The id of a guild, as clients write it: a string of digits or an integer.

use std::fmt;

use serde_json::Value;

use crate::MAX_INTEGER;

/// The id of a guild.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GuildId(u64);

impl GuildId {
    /// The id with this value.
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// The value.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The id that `value` writes (protocol v1, "Documented events"): a string of ASCII digits that fits 64 bits, or
    /// an integer from 0 to 2^53 − 1. Both spellings of one number are one id.
    ///
    /// `None` for everything else, `1.0` and larger integers included: a number that is no longer exact in JavaScript
    /// would name another guild than the sender meant.
    pub fn from_json(value: &Value) -> Option<Self> {
        match value {
            Value::String(digits) => Self::from_digits(digits),
            Value::Number(number) => number.as_u64().filter(|id| *id <= MAX_INTEGER).map(Self),
            _ => None,
        }
    }

    /// The id that a string of one or more ASCII digits writes, if it fits 64 bits.
    pub fn from_digits(digits: &str) -> Option<Self> {
        // `u64::from_str` alone would take a leading plus.
        if digits.bytes().all(|byte| byte.is_ascii_digit()) {
            digits.parse().ok().map(Self)
        } else {
            None
        }
    }
}

impl fmt::Display for GuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
