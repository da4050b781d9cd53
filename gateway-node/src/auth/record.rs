//! A key as it is stored in Redis: all of its fields except its id, and its secret only as a hash.

use serde::{Deserialize, Serialize};
use shared::key::SecretHash;

use super::{Key, KeyError};
use crate::config::{HashText, KeySettings, KeyTypes, Permission, Timestamp};

/// The stored fields of a key.
///
/// A field that this version does not know may be a restriction, so a record that has one is rejected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRecord {
    hash: String,
    #[serde(rename = "type")]
    types: KeyTypes,
    application: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    permissions: Vec<Permission>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

/// Why a record is rejected. Its messages never show the record, which may hold a secret in the wrong place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyRecordError {
    /// It cannot be parsed.
    #[error("this version cannot read its record")]
    Record(#[from] serde_json::Error),
    /// It holds no usable hash.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl KeyRecord {
    /// Creates the record of a key with these settings.
    ///
    /// # Errors
    /// Fails if the settings hold no usable secret.
    pub fn of(settings: &KeySettings) -> Result<Self, KeyError> {
        let hash = settings.secret_hash().ok_or_else(|| KeyError::new(&settings.id))?;
        Ok(Self {
            hash: hash.to_string(),
            types: settings.types.clone(),
            application: settings.application.clone(),
            permissions: settings.permissions.clone(),
            expires_at: settings.expires_at,
        })
    }

    /// Returns the settings of the key with this id.
    pub fn settings(self, id: &str) -> KeySettings {
        KeySettings {
            id: id.to_owned(),
            secret: None,
            hash: self.hash.parse::<SecretHash>().is_ok().then_some(HashText(self.hash)),
            types: self.types,
            application: self.application,
            permissions: self.permissions,
            expires_at: self.expires_at,
        }
    }

    /// Parses the record of the key with this id.
    ///
    /// # Errors
    /// Fails if the record is invalid.
    pub fn open(id: &str, record: &str) -> Result<Key, KeyRecordError> {
        let record: Self = serde_json::from_str(record)?;
        Ok(Key::new(&record.settings(id))?)
    }
}

#[cfg(test)]
mod tests {
    use shared::client_type::ClientType;

    use super::*;
    use crate::config::Secret;

    #[test]
    fn a_record_has_everything_but_the_secret() {
        let secret = "0123456789abcdef0123456789abcdef";
        let settings = KeySettings {
            id: "web".to_owned(),
            secret: Some(Secret::from(secret.to_owned())),
            types: KeyTypes(vec![ClientType::Website]),
            permissions: vec![Permission::Publish],
            expires_at: Some("2027-01-31T12:00:00Z".parse().unwrap()),
            ..KeySettings::default()
        };
        let record = serde_json::to_string(&KeyRecord::of(&settings).unwrap()).unwrap();
        assert!(!record.contains(secret), "{record}");
        assert_eq!(KeyRecord::open("web", &record).unwrap(), Key::new(&settings).unwrap());
    }

    #[test]
    fn invalid_records_are_rejected_without_showing_their_content() {
        for record in [
            "",
            "{}",
            r#"{"hash":"short","type":["bot"],"application":"a"}"#,
            r#"{"hash":"x","type":["robot"],"application":"a"}"#,
            r#"{"hash":"0000000000000000000000000000000000000000000000000000000000000000","type":["bot"],
                "application":"a","only_from":"hunter2"}"#,
            r#"{"hash":"0000000000000000000000000000000000000000000000000000000000000000","type":["bot"],
                "application":"a","permissions":["hunter2"]}"#,
            r#""hunter2""#,
        ] {
            let error = KeyRecord::open("id", record).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{record}: {error}");
        }
    }
}
