//! API keys: parsing, validation of secrets, and comparison with configured hashes.
//!
//! A key is `id.secret`. The gateway stores only the SHA-256 of the secret. No `Debug` output in this file reveals a
//! secret.

use std::{fmt, str::FromStr};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The shortest secret, in characters.
pub const MIN_SECRET_LEN: usize = 32;

/// A key as presented by a client, split into id and secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PresentedKey<'a> {
    /// The part before the last dot, which names the key in the configuration and in logs. Never empty.
    pub id: &'a str,
    /// The part after the last dot. Not validated: an invalid secret matches no hash.
    pub secret: &'a str,
}

impl<'a> PresentedKey<'a> {
    /// Splits `id.secret` at the last dot, since a secret contains none.
    ///
    /// Returns `None` if there is no dot, or no id before it.
    pub fn parse(key: &'a str) -> Option<Self> {
        let (id, secret) = key.rsplit_once('.')?;
        (!id.is_empty()).then_some(Self { id, secret })
    }
}

impl fmt::Debug for PresentedKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresentedKey")
            .field("id", &self.id)
            .field("secret", &format_args!("<redacted>"))
            .finish()
    }
}

/// Why a string cannot be the secret of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The string has fewer than [`MIN_SECRET_LEN`] characters.
    #[error("a secret must have at least {MIN_SECRET_LEN} characters, this one has {len}")]
    TooShort {
        /// The number of characters that it has.
        len: usize,
    },
    /// The string has a character outside U+0020 to U+007E.
    #[error("a secret may contain only printable ASCII characters")]
    NotPrintable,
    /// The string contains a dot, which separates id and secret.
    #[error("a secret must not contain a dot")]
    Dot,
}

/// Checks that `secret` may be part of a key: at least 32 printable ASCII characters (U+0020 to U+007E), none of them a
/// dot.
///
/// # Errors
///
/// The first rule that `secret` breaks. Characters are checked before the length.
pub fn validate_secret(secret: &str) -> Result<(), SecretError> {
    if !secret.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err(SecretError::NotPrintable);
    }
    if secret.contains('.') {
        return Err(SecretError::Dot);
    }
    if secret.len() < MIN_SECRET_LEN {
        return Err(SecretError::TooShort { len: secret.len() });
    }
    Ok(())
}

/// Encodes 256 random bits as a secret of 64 characters.
pub fn generate(bytes: [u8; 32]) -> String {
    hex::encode(bytes)
}

/// The SHA-256 of a secret, displayed as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// Hashes `secret`.
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// Returns whether `secret` has this hash. The time taken does not depend on where the hashes differ.
    pub fn matches(&self, secret: &str) -> bool {
        *self == Self::of(secret)
    }
}

impl PartialEq for SecretHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SecretHash {}

impl fmt::Display for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(<redacted>)")
    }
}

/// The error for a string that is not 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a hash is 64 lower-case hexadecimal digits")]
pub struct HashError;

impl FromStr for SecretHash {
    type Err = HashError;

    fn from_str(digits: &str) -> Result<Self, Self::Err> {
        // Only one spelling is accepted, so that searching a configuration for a hash finds it.
        if digits.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(HashError);
        }
        let mut hash = [0; 32];
        hex::decode_to_slice(digits, &mut hash).map_err(|_| HashError)?;
        Ok(Self(hash))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    /// `printf %s 0123456789abcdef0123456789abcdef | sha256sum`
    const HASH: &str = "3eb1bd439947eb762998e566ccc2e099c791118b2f40579cc4f7da2b5061b7f9";

    #[test]
    fn a_key_splits_at_its_last_dot() {
        let parsed = |key| PresentedKey::parse(key).map(|key| (key.id, key.secret));
        assert_eq!(parsed("id.secret"), Some(("id", "secret")));
        assert_eq!(parsed("a.b.secret"), Some(("a.b", "secret")));
        assert_eq!(parsed("id."), Some(("id", "")));
        assert_eq!(parsed(".secret"), None);
        assert_eq!(parsed("secret"), None);
        assert_eq!(parsed(""), None);
        assert_eq!(parsed("."), None);
    }

    #[test]
    fn secrets_that_break_a_rule_are_refused() {
        let printable: String = (' '..='~').filter(|c| *c != '.').collect();
        assert_eq!(validate_secret(SECRET), Ok(()));
        assert_eq!(validate_secret(&printable), Ok(()));
        assert_eq!(validate_secret(&SECRET[1..]), Err(SecretError::TooShort { len: 31 }));
        assert_eq!(validate_secret(""), Err(SecretError::TooShort { len: 0 }));
        assert_eq!(validate_secret(&format!("{SECRET}.")), Err(SecretError::Dot));
        for stranger in ['\n', '\t', '\0', '\u{7f}', 'é'] {
            assert_eq!(
                validate_secret(&format!("{SECRET}{stranger}")),
                Err(SecretError::NotPrintable)
            );
        }
    }

    #[test]
    fn a_hash_matches_only_its_secret() {
        let hash = SecretHash::of(SECRET);
        assert!(hash.matches(SECRET));
        assert!(!hash.matches(&SECRET[1..]));
        assert!(!hash.matches(""));
        assert_eq!(hash.to_string(), HASH);
        assert_eq!(HASH.parse(), Ok(hash));
    }

    #[test]
    fn only_lower_case_hexadecimal_digits_are_a_hash() {
        let strangers = [
            "",
            &HASH[1..],
            &format!("{HASH}0"),
            &HASH.to_uppercase(),
            &HASH.replacen('2', "g", 1),
            &format!(" {}", &HASH[1..]),
        ];
        for stranger in strangers {
            assert_eq!(stranger.parse::<SecretHash>(), Err(HashError), "{stranger}");
        }
    }

    #[test]
    fn debug_output_hides_secrets() {
        let key = format!("{:?}", PresentedKey::parse("id.s3cr3t"));
        assert!(key.contains("id") && key.contains("<redacted>") && !key.contains("s3cr3t"));
        let hash = format!("{:?}", SecretHash::of(SECRET));
        assert!(hash.contains("<redacted>") && !hash.contains(&HASH[..8]));
    }

    proptest! {
        #[test]
        fn generated_secrets_are_valid(bytes: [u8; 32]) {
            let secret = generate(bytes);
            prop_assert_eq!(secret.len(), 64);
            prop_assert_eq!(validate_secret(&secret), Ok(()));
            let key = format!("id.{secret}");
            let presented = PresentedKey::parse(&key).map(|key| key.secret);
            prop_assert_eq!(presented, Some(secret.as_str()));
        }

        #[test]
        fn displayed_hashes_parse_back(secret: String) {
            let hash = SecretHash::of(&secret);
            prop_assert_eq!(hash.to_string().parse(), Ok(hash));
        }
    }
}
