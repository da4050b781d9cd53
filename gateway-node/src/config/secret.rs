//! Strings that are never printed.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::setting::{Setting, SettingKind};

/// Printed instead of a secret.
pub const REDACTED: &str = "<redacted>";

/// A string that `Debug` and serialisation print as `<redacted>` and whose memory is wiped on drop.
#[derive(Debug, Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Returns the secret itself. Search for calls of this method to see where secrets go.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(SecretString::from(text))
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

impl Setting for Secret {
    const KIND: SettingKind = SettingKind::Text;
    const EXPECTED: &'static str = "a string";
    const SECRET: bool = true;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may end where it fails")]

    use super::*;

    #[test]
    fn secrets_are_redacted_in_every_format() {
        let secret = Secret::from("correct horse battery staple".to_owned());
        assert!(!format!("{secret:?}").contains("horse"));
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"<redacted>\"");
        assert_eq!(secret.expose(), "correct horse battery staple");
    }
}
