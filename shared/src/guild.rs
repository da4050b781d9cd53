//! Guild ids. Clients write them as strings of digits or as integers.

use std::fmt;

use serde_json::Value;

use crate::MAX_INTEGER;

/// The id of a guild.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GuildId(u64);

impl GuildId {
    /// Creates an id from its number.
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// Returns the id as a number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Parses a guild id (protocol v1, "Documented events"): a string of ASCII digits that fits into 64 bits, or an
    /// integer from 0 to 2^53 − 1. Both spellings of a number are the same id.
    ///
    /// Returns `None` for everything else, including `1.0` and larger integers: JavaScript cannot represent those
    /// exactly, so they could name another guild than the sender meant.
    pub fn from_json(value: &Value) -> Option<Self> {
        match value {
            Value::String(digits) => Self::from_digits(digits),
            Value::Number(number) => number.as_u64().filter(|id| *id <= MAX_INTEGER).map(Self),
            _ => None,
        }
    }

    /// Parses a string of one or more ASCII digits. Returns `None` for any other string, and if the number does not fit
    /// into 64 bits.
    pub fn from_digits(digits: &str) -> Option<Self> {
        // `u64::from_str` alone would accept a leading plus sign.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn digits_and_integers_are_ids() {
        let rows = [
            (json!("0"), 0),
            (json!("7"), 7),
            (json!("007"), 7),
            (json!("18446744073709551615"), u64::MAX),
            (json!(0), 0),
            (json!(7), 7),
            (json!(9_007_199_254_740_991_u64), MAX_INTEGER),
        ];
        for (value, id) in rows {
            assert_eq!(GuildId::from_json(&value), Some(GuildId(id)), "{value}");
        }
        assert_eq!(GuildId(12).to_string(), "12");
    }

    #[test]
    fn other_values_are_not_ids() {
        let rows = [
            json!(""),
            json!("+1"),
            json!("-1"),
            json!(" 1"),
            json!("1 "),
            json!("1.0"),
            json!("0x1"),
            json!("١"),
            json!("18446744073709551616"),
            json!(-1),
            json!(1.0),
            json!(1.5),
            json!(9_007_199_254_740_992_u64),
            json!(null),
            json!(true),
            json!([1]),
            json!({"id": 1}),
        ];
        for value in rows {
            assert_eq!(GuildId::from_json(&value), None, "{value}");
        }
    }

    proptest! {
        #[test]
        fn both_spellings_of_a_number_are_one_id(id in 0..=MAX_INTEGER) {
            let spelled = GuildId::from_json(&json!(id.to_string()));
            prop_assert_eq!(spelled, GuildId::from_json(&json!(id)));
            prop_assert_eq!(spelled.map(GuildId::get), Some(id));
        }
    }
}
