//! A key as the node holds it: its secret is only present as a hash.

use std::{sync::Arc, time::SystemTime};

use shared::{
    client_type::{ClientType, ClientTypes},
    key::SecretHash,
};

use crate::config::{KeySettings, Permission, Timestamp};

/// A key and what it permits. Two keys are equal if all of their fields are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    id: Arc<str>,
    hash: SecretHash,
    kinds: ClientTypes,
    application: Arc<str>,
    permissions: Vec<Permission>,
    expires_at: Option<SystemTime>,
}

/// Key settings with no usable secret. The configuration's checks should have rejected them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("key {0} needs either a secret or the hash of one")]
pub struct KeyError(String);

impl KeyError {
    pub(super) fn new(id: &str) -> Self {
        Self(id.to_owned())
    }
}

impl Key {
    /// Creates the key that the settings describe.
    ///
    /// # Errors
    /// Fails if the settings hold no usable secret.
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

    /// Returns the part before the dot, which is not secret.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the id as a shared string, for callers that store it.
    pub const fn shared_id(&self) -> &Arc<str> {
        &self.id
    }

    /// Returns the application that the key belongs to.
    pub const fn application(&self) -> &Arc<str> {
        &self.application
    }

    /// Returns whether a client of this type may identify with the key.
    pub const fn is_for(&self, kind: ClientType) -> bool {
        self.kinds.contains(kind)
    }

    /// Returns whether the key grants this permission over HTTP.
    pub fn may(&self, permission: Permission) -> bool {
        self.permissions.contains(&permission)
    }

    /// Returns a text that differs for every secret of a key.
    pub fn fingerprint(&self) -> String {
        // The hash of the hash: nobody can use it in the place of either.
        SecretHash::of(&self.hash.to_string()).to_string()
    }

    /// Returns when the key expires, if it does.
    pub const fn expires_at(&self) -> Option<SystemTime> {
        self.expires_at
    }

    pub(crate) fn has_expired(&self, now: SystemTime) -> bool {
        self.expires_at.is_some_and(|time| time <= now)
    }

    pub(super) const fn hash(&self) -> &SecretHash {
        &self.hash
    }
}
