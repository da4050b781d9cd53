//! `n`: the client's own name for a packet, which the answer to it carries.

use serde_json::value::RawValue;

use crate::{
    fields::{integer, string},
    problem::Problem,
};

/// The most bytes of a nonce that is a string.
const MAX_BYTES: usize = 64;

/// A nonce: a string of 1 to 64 bytes, or an integer from 0 to 2^53 − 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nonce(Box<str>);

impl Nonce {
    /// Parses `n` of a packet.
    ///
    /// # Errors
    /// A problem if the value has another type or size.
    pub fn parse(value: &RawValue) -> Result<Self, Problem> {
        let is_valid = match string(value) {
            Some(text) => (1..=MAX_BYTES).contains(&text.len()),
            None => integer(value).is_some(),
        };
        if is_valid {
            Ok(Self(value.get().into()))
        } else {
            Err(Problem::with(
                "Nonce must be a string of 1 to 64 bytes or an integer.",
                value,
            ))
        }
    }

    /// Returns the nonce as JSON, as it was sent.
    pub fn json(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<String, Problem> {
        let nonce = Nonce::parse(serde_json::from_str(json).unwrap())?;
        Ok(nonce.json().to_owned())
    }

    #[test]
    fn strings_and_integers_are_kept_as_they_were_sent() {
        let longest = format!("\"{}\"", "x".repeat(64));
        for json in [
            "0",
            "7",
            "9007199254740991",
            "\"a\"",
            r#""\u0061\n""#,
            "\"ü\"",
            &longest,
        ] {
            assert_eq!(parse(json).unwrap(), json);
        }
    }

    #[test]
    fn other_types_and_sizes_are_refused() {
        let too_long = format!("\"{}\"", "x".repeat(65));
        let too_long_in_bytes = format!("\"{}\"", "ü".repeat(33));
        for json in [
            "null",
            "true",
            "-1",
            "1.0",
            "1e3",
            "9007199254740992",
            "\"\"",
            "[]",
            "{}",
            r#""\ud800""#,
            &too_long,
            &too_long_in_bytes,
        ] {
            let problem = parse(json).unwrap_err();
            assert_eq!(problem.error, "Nonce must be a string of 1 to 64 bytes or an integer.");
        }
    }
}
