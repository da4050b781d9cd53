//! Keys: what a client presents, what the configuration keeps of it, and how the two are compared.
//!
//! A key is `id.secret`. The gateway keeps the SHA-256 of the secret; nothing in this file shows a secret in `Debug`.

use std::{fmt, str::FromStr};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The shortest secret, in characters.
pub const MIN_SECRET_LEN: usize = 32;

/// A key as a client presents it, taken apart.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PresentedKey<'a> {
    /// What comes before the last dot; names the key in configuration and logs. Never empty.
    pub id: &'a str,
    /// What comes after it. Not validated: a secret that breaks the rules matches no hash.
    pub secret: &'a str,
}

impl<'a> PresentedKey<'a> {
    /// Takes `id.secret` apart at its last dot, since a secret has none.
    ///
    /// `None` without a dot or without an id.
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

/// Why a secret cannot be part of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// It has fewer than [`MIN_SECRET_LEN`] characters.
    #[error("a secret has at least {MIN_SECRET_LEN} characters, this one has {len}")]
    TooShort {
        /// How many it has.
        len: usize,
    },
    /// It has a character outside of U+0020 to U+007E.
    #[error("a secret has printable ASCII characters only")]
    NotPrintable,
    /// It has a dot, at which a key is taken apart.
    #[error("a secret has no dot")]
    Dot,
}

/// Whether `secret` may be part of a key: 32 or more printable ASCII characters (U+0020 to U+007E) without a dot.
///
/// # Errors
///
/// The first rule of [`SecretError`] that it breaks, the characters before the length.
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

/// A new secret of 64 characters from 256 random bits.
pub fn generate(bytes: [u8; 32]) -> String {
    hex::encode(bytes)
}

/// The SHA-256 of a secret, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// The hash of `secret`.
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// Whether `secret` has this hash, in a time that does not depend on where the two differ.
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

/// The string is not 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a hash is 64 lower-case hexadecimal digits")]
pub struct HashError;

impl FromStr for SecretHash {
    type Err = HashError;

    fn from_str(digits: &str) -> Result<Self, Self::Err> {
        // One hash has one spelling, so that a search for it in a configuration finds it.
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
    fn a_key_is_taken_apart_at_its_last_dot() {
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
    fn a_secret_obeys_every_rule() {
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
    fn a_hash_matches_its_secret_alone() {
        let hash = SecretHash::of(SECRET);
        assert!(hash.matches(SECRET));
        assert!(!hash.matches(&SECRET[1..]));
        assert!(!hash.matches(""));
        assert_eq!(hash.to_string(), HASH);
        assert_eq!(HASH.parse(), Ok(hash));
    }

    #[test]
    fn a_hash_has_one_spelling() {
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
    fn debug_shows_no_secret() {
        let key = format!("{:?}", PresentedKey::parse("id.s3cr3t"));
        assert!(key.contains("id") && key.contains("<redacted>") && !key.contains("s3cr3t"));
        let hash = format!("{:?}", SecretHash::of(SECRET));
        assert!(hash.contains("<redacted>") && !hash.contains(&HASH[..8]));
    }

    proptest! {
        #[test]
        fn what_is_generated_is_a_valid_secret(bytes: [u8; 32]) {
            let secret = generate(bytes);
            prop_assert_eq!(secret.len(), 64);
            prop_assert_eq!(validate_secret(&secret), Ok(()));
            let key = format!("id.{secret}");
            let presented = PresentedKey::parse(&key).map(|key| key.secret);
            prop_assert_eq!(presented, Some(secret.as_str()));
        }

        #[test]
        fn a_hash_survives_its_spelling(secret: String) {
            let hash = SecretHash::of(&secret);
            prop_assert_eq!(hash.to_string().parse(), Ok(hash));
        }
    }
}
