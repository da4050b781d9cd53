//! One key as the node holds it: its secret only as a hash.

use std::{sync::Arc, time::SystemTime};

use shared::{
    client_type::{ClientType, ClientTypes},
    key::SecretHash,
};

use crate::config::{KeySettings, Permission, Timestamp};

/// What a key is for. Two keys are the same when everything about them is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    id: Arc<str>,
    hash: SecretHash,
    kinds: ClientTypes,
    application: Arc<str>,
    permissions: Vec<Permission>,
    expires_at: Option<SystemTime>,
}

/// Settings of a key that the configuration's checks should not have let through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("key {0} needs either a secret or the hash of one")]
pub struct KeyError(String);

impl KeyError {
    pub(super) fn new(id: &str) -> Self {
        Self(id.to_owned())
    }
}

impl Key {
    /// The key that the settings describe.
    ///
    /// # Errors
    /// When they hold no usable secret.
    pub fn new(settings: &KeySettings) -> Result<Self, KeyError> {
        Ok(Self {
            id: settings.id.as_str().into(),
            hash: settings.secret_hash().ok_or_else(|| KeyError(settings.id.clone()))?,
            kinds: settings.types.0.iter().copied().collect(),
            application: settings.application.as_str().into(),
            permissions: settings.permissions.clone(),
            expires_at: settings.expires_at.map(Timestamp::system_time),
        })
    }

    /// The part before the dot, which is not secret.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The same, for whoever keeps it: all share one text.
    pub const fn shared_id(&self) -> &Arc<str> {
        &self.id
    }

    /// The application that the key belongs to.
    pub const fn application(&self) -> &Arc<str> {
        &self.application
    }

    /// Whether a client of this type may identify with it.
    pub const fn is_for(&self, kind: ClientType) -> bool {
        self.kinds.contains(kind)
    }

    /// Whether it may do this over HTTP.
    pub fn may(&self, permission: Permission) -> bool {
        self.permissions.contains(&permission)
    }

    pub(super) const fn expires_at(&self) -> Option<SystemTime> {
        self.expires_at
    }

    pub(crate) fn has_expired(&self, now: SystemTime) -> bool {
        self.expires_at.is_some_and(|time| time <= now)
    }

    pub(super) const fn hash(&self) -> &SecretHash {
        &self.hash
    }
}
