//! The valid keys: those in the configuration and those in Redis.

use std::{collections::HashSet, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    auth::{Key, KeyRecord, KeyRecordError, Keyring},
    backends::KeyRecords,
    backplane::Revocations,
    registry::Registry,
};

/// Combines both sources of keys into the keyring.
pub(super) struct NodeKeys {
    keyring: Keyring,
    registry: Registry,
    applications: Vec<String>,
    sources: Mutex<KeySources>,
}

struct KeySources {
    configured: Vec<Key>,
    stored: Vec<Key>,
}

/// The ids and records in Redis that are not valid keys of this node, remembered so that each is logged only once.
type LeftOut = HashSet<(String, String)>;

/// Why a record in Redis is not a valid key of this node.
#[derive(Debug, thiserror::Error)]
enum LeaveOut {
    #[error(transparent)]
    Record(#[from] KeyRecordError),
    #[error("its application is not configured on this node")]
    Application,
}

impl NodeKeys {
    /// Starts with the configured keys, which are already in the keyring.
    pub(super) fn new(keyring: Keyring, registry: Registry, applications: Vec<String>, configured: Vec<Key>) -> Self {
        let stored = Vec::new();
        Self {
            keyring,
            registry,
            applications,
            sources: Mutex::new(KeySources { configured, stored }),
        }
    }

    /// Replaces the configured keys.
    pub(super) fn configure(&self, keys: Vec<Key>) {
        self.change(|sources| sources.configured = keys);
    }

    /// Applies the keys in Redis whenever they change. While Redis is unavailable, the last known keys stay valid.
    ///
    /// The keyring is complete once this has happened for the first time.
    pub(super) async fn follow(&self, mut records: watch::Receiver<Option<KeyRecords>>) {
        let mut left_out = LeftOut::new();
        while records.changed().await.is_ok() {
            let Some(records) = records.borrow_and_update().clone() else {
                continue;
            };
            let (mut keys, mut others) = (Vec::new(), LeftOut::new());
            for (id, record) in records.iter() {
                match self.open(id, record) {
                    Ok(key) => keys.push(key),
                    Err(reason) => {
                        let entry = (id.clone(), record.clone());
                        if !left_out.contains(&entry) {
                            log::warn!(key = id.as_str(); "ignoring a key in redis: {reason}");
                        }
                        others.insert(entry);
                    }
                }
            }
            left_out = others;
            let count = keys.len();
            self.change(|sources| sources.stored = keys);
            self.keyring.complete();
            log::info!(keys = count; "keys read from redis");
        }
    }

    /// Applies the revocations of users whenever they change.
    pub(super) async fn follow_revocations(&self, mut revocations: watch::Receiver<Revocations>) {
        while revocations.changed().await.is_ok() {
            let revoked = Arc::clone(&revocations.borrow_and_update());
            self.keyring.revoke_users(revoked);
            self.registry.recheck_keys();
        }
    }

    fn open(&self, id: &str, record: &str) -> Result<Key, LeaveOut> {
        let key = KeyRecord::open(id, record)?;
        if self.applications.iter().any(|known| **known == **key.application()) {
            Ok(key)
        } else {
            Err(LeaveOut::Application)
        }
    }

    fn change(&self, change: impl FnOnce(&mut KeySources)) {
        let mut sources = self.sources.lock();
        change(&mut sources);
        // A configured key hides the key with the same id in Redis.
        let configured: HashSet<_> = sources.configured.iter().map(Key::id).collect();
        let stored = sources.stored.iter().filter(|key| !configured.contains(key.id()));
        self.keyring
            .replace(sources.configured.iter().chain(stored).cloned().collect());
        drop(sources);
        self.registry.recheck_keys();
    }
}
