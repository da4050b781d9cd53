//! Texts that are never shown.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::setting::{Setting, SettingKind};

/// What stands where a secret would.
pub const REDACTED: &str = "<redacted>";

/// A text that Debug and serialisation show as `<redacted>` and whose memory is wiped when it is dropped.
#[derive(Debug, Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// The text itself. Each call is a place to look at when asking where a secret goes.
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
    const EXPECTED: &'static str = "a text";
    const SECRET: bool = true;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may end where it fails")]

    use super::*;

    #[test]
    fn a_secret_shows_in_no_format() {
        let secret = Secret::from("correct horse battery staple".to_owned());
        assert!(!format!("{secret:?}").contains("horse"));
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"<redacted>\"");
        assert_eq!(secret.expose(), "correct horse battery staple");
    }
}
