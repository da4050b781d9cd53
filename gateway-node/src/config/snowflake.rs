//! Discord ids in the configuration.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::setting::setting;

/// The highest id: the maximum of a signed 64-bit integer.
const MAX: u64 = i64::MAX.cast_unsigned();

/// A Discord id, from 1 to 2^63 - 1, written as a number or as a string of digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snowflake(u64);

impl Snowflake {
    /// Returns the id as a number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Snowflake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Snowflake {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Snowflake {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum NumberOrText {
            Number(u64),
            Text(String),
        }
        let number = match NumberOrText::deserialize(deserializer)? {
            NumberOrText::Number(number) => Some(number),
            // `parse` alone would also accept a leading sign.
            NumberOrText::Text(text) if text.starts_with(|first: char| first.is_ascii_digit()) => text.parse().ok(),
            NumberOrText::Text(_) => None,
        };
        let number = number.filter(|number| (1..=MAX).contains(number));
        number.map(Self).ok_or_else(|| D::Error::custom("not an id"))
    }
}

setting! { Snowflake: Text, "an id from 1 to 9223372036854775807, as a number or a string of digits"; }

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may end where it fails")]

    use serde_json::{Value, json};

    use super::*;

    fn read(value: Value) -> Option<u64> {
        serde_json::from_value::<Snowflake>(value).ok().map(Snowflake::get)
    }

    #[test]
    fn an_id_is_a_number_or_a_string_of_digits() {
        assert_eq!(read(json!(80_351_110_224_678_912_u64)), Some(80_351_110_224_678_912));
        assert_eq!(read(json!("80351110224678912")), Some(80_351_110_224_678_912));
        assert_eq!(read(json!(i64::MAX)), Some(MAX));
        let id: Snowflake = serde_json::from_value(json!(7)).unwrap();
        assert_eq!(serde_json::to_value(id).unwrap(), json!("7"));
    }

    #[test]
    fn invalid_ids_are_refused() {
        for stranger in [
            json!(0),
            json!("0"),
            json!(-1),
            json!("+1"),
            json!(" 1"),
            json!("1.0"),
            json!(""),
            json!("x"),
            json!(u64::MAX),
            json!(MAX + 1),
            json!([1]),
        ] {
            assert_eq!(read(stranger.clone()), None, "{stranger}");
        }
    }
}
