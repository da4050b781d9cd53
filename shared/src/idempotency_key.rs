//! Idempotency keys: a sender's name for an event, so that repeating it publishes nothing twice.

use std::{fmt, sync::Arc};

/// The most characters of a key.
const MAX_CHARACTERS: usize = 128;

/// An idempotency key: 1 to 128 printable ASCII characters. It is `k` of a v1 event, and `Idempotency-Key` over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(Arc<str>);

/// The error for a text that is no idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must have 1 to {MAX_CHARACTERS} printable ASCII characters")]
pub struct NoIdempotencyKey;

impl IdempotencyKey {
    /// Creates a key from its text.
    ///
    /// # Errors
    /// If the text is empty, too long, or has other characters.
    pub fn new(text: &str) -> Result<Self, NoIdempotencyKey> {
        let is_printable = |byte: u8| (b' '..=b'~').contains(&byte);
        if (1..=MAX_CHARACTERS).contains(&text.len()) && text.bytes().all(is_printable) {
            Ok(Self(text.into()))
        } else {
            Err(NoIdempotencyKey)
        }
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_1_to_128_printable_characters() {
        let longest = "x".repeat(128);
        for text in ["a", " ", "~", "order 7: paid", &longest] {
            assert_eq!(IdempotencyKey::new(text).unwrap().as_str(), text);
        }
        let too_long = "x".repeat(129);
        for text in ["", "\n", "\u{7f}", "ü", "a\0", &too_long] {
            assert_eq!(IdempotencyKey::new(text), Err(NoIdempotencyKey), "{text:?}");
        }
    }
}
