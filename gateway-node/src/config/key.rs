//! The keys that clients present.

use serde::{Deserialize, Deserializer, Serialize};
use shared::{
    client_type::ClientType,
    key::{SecretHash, validate_secret},
};

use super::{
    application::DEFAULT_APPLICATION,
    secret::Secret,
    setting::{Setting, SettingKind, section, setting},
    timestamp::Timestamp,
    words::{is_application_id, is_name},
};

/// What a key may do over HTTP, besides authenticating an Identify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Permission {
    /// Publish events.
    Publish,
    /// Read sessions and the state of the cluster.
    Read,
    /// Administer: act on sessions and read metrics.
    Admin,
    /// Issue and revoke tickets.
    Tickets,
}

impl Permission {
    /// Every permission, in the order in which tables list them.
    pub const ALL: [Self; 4] = [Self::Publish, Self::Read, Self::Admin, Self::Tickets];

    /// Returns the permission's name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Read => "read",
            Self::Admin => "admin",
            Self::Tickets => "tickets",
        }
    }
}

setting! { Vec<Permission>: List, "a list of publish, read, admin, tickets"; }

/// The client types that a key is valid for: `"bot"`, or a list of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct KeyTypes(pub Vec<ClientType>);

impl<'de> Deserialize<'de> for KeyTypes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum OneOrMore {
            One(ClientType),
            More(Vec<ClientType>),
        }
        Ok(Self(match OneOrMore::deserialize(deserializer)? {
            OneOrMore::One(kind) => vec![kind],
            OneOrMore::More(kinds) => kinds,
        }))
    }
}

setting! { KeyTypes: List, "bot, website, service or a list of them"; }

/// The SHA-256 of a secret as the configuration writes it: 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HashText(pub String);

impl Setting for HashText {
    const KIND: SettingKind = SettingKind::Text;
    const EXPECTED: &'static str = "64 lower-case hexadecimal digits, the SHA-256 of the secret";
    // An invalid hash may be a secret in the wrong field, so errors do not show it.
    const SECRET: bool = true;
}

section! {
    /// One `[[keys]]` entry. A client presents the key as `id.secret`.
    pub struct KeySettings {
        /// The key's id. It is not secret: logs and `keys list` show it.
        id: String, check is_key_id, expect "1 to 64 of A-Z a-z 0-9 _ -, without a dot";
        /// The secret: 32 or more printable ASCII characters without a dot. Give either this or `hash`.
        secret: Option<Secret> = None, check is_secret, expect "32 or more printable ASCII characters without a dot";
        /// The SHA-256 of the secret in lower-case hexadecimal. Give either this or `secret`.
        hash: Option<HashText> = None, check is_hash;
        /// The client types that the key is valid for: `bot`, `website`, `service`, or a list of them.
        #[serde(rename = "type")]
        types: KeyTypes, check has_a_type;
        /// The application whose events and sessions the key can access.
        application: String = DEFAULT_APPLICATION.to_owned(), check is_application_id, expect "1 to 64 of a-z 0-9 _ -";
        /// What the key may do over HTTP: `publish`, `read`, `admin`, `tickets`.
        permissions: Vec<Permission> = Vec::new();
        /// When the key expires, in RFC 3339. If unset, never.
        expires_at: Option<Timestamp> = None;
    }
}

impl KeySettings {
    /// Returns the key of development mode: valid for every client type, with every permission, and without an expiry.
    pub fn development(secret: Secret) -> Self {
        Self {
            id: "development".to_owned(),
            secret: Some(secret),
            types: KeyTypes(ClientType::ALL.to_vec()),
            permissions: Permission::ALL.to_vec(),
            ..Self::default()
        }
    }

    /// Returns the hash to compare a presented secret with: the configured one, or that of the configured secret.
    ///
    /// Returns `None` only for a key that was not loaded, since loading requires one of the two.
    pub fn secret_hash(&self) -> Option<SecretHash> {
        let configured = self.hash.as_ref().and_then(|HashText(hash)| hash.parse().ok());
        configured.or_else(|| self.secret.as_ref().map(|secret| SecretHash::of(secret.expose())))
    }
}

/// Returns whether `id` is a valid key id: a name without a dot, because a dot ends the id in `id.secret`.
pub(crate) fn is_key_id(id: &str) -> bool {
    is_name(id) && !id.contains('.')
}

#[allow(clippy::ref_option, reason = "the shape that every check of a setting has")]
fn is_secret(secret: &Option<Secret>) -> bool {
    secret
        .as_ref()
        .is_none_or(|secret| validate_secret(secret.expose()).is_ok())
}

#[allow(clippy::ref_option, reason = "the shape that every check of a setting has")]
fn is_hash(hash: &Option<HashText>) -> bool {
    hash.as_ref()
        .is_none_or(|HashText(hash)| hash.parse::<SecretHash>().is_ok())
}

fn has_a_type(types: &KeyTypes) -> bool {
    !types.0.is_empty()
}
