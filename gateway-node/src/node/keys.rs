//! The keys that are good: those of the configuration, and those that are kept in Redis.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use tokio::sync::watch;

use crate::{
    auth::{Key, KeyRecord, Keyring},
    cluster::KeyRecords,
    registry::Registry,
};

/// Puts together what the keyring holds.
pub(super) struct Keys {
    keyring: Keyring,
    registry: Registry,
    applications: Vec<String>,
    sources: Mutex<Sources>,
}

struct Sources {
    configured: Vec<Key>,
    stored: Vec<Key>,
}

impl Keys {
    /// Begins with the keys of the configuration, which are in the keyring already.
    pub(super) fn new(keyring: Keyring, registry: Registry, applications: Vec<String>, configured: Vec<Key>) -> Self {
        let stored = Vec::new();
        Self {
            keyring,
            registry,
            applications,
            sources: Mutex::new(Sources { configured, stored }),
        }
    }

    /// Replaces the keys of the configuration.
    pub(super) fn configure(&self, keys: Vec<Key>) {
        self.change(|sources| sources.configured = keys);
    }

    /// Takes over what is kept in Redis whenever it changes. While Redis is away the last keys stay good.
    pub(super) async fn follow(&self, mut records: watch::Receiver<Option<KeyRecords>>) {
        while records.changed().await.is_ok() {
            let Some(records) = records.borrow_and_update().clone() else {
                continue;
            };
            let keys: Vec<_> = records
                .iter()
                .filter_map(|(id, record)| self.open(id, record))
                .collect();
            let count = keys.len();
            self.change(|sources| sources.stored = keys);
            log::info!(keys = count; "keys read from redis");
        }
    }

    fn open(&self, id: &str, record: &str) -> Option<Key> {
        match KeyRecord::open(id, record) {
            Ok(key) if self.applications.iter().any(|known| **known == **key.application()) => Some(key),
            Ok(key) => {
                log::warn!(key = id, application = &**key.application(); "left out a key in redis of an unknown application");
                None
            }
            Err(error) => {
                log::warn!(key = id, cause:% = error; "left out a key in redis");
                None
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut Sources)) {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut sources);
        // A key of the configuration hides one in Redis with its id.
        let configured: HashSet<_> = sources.configured.iter().map(Key::id).collect();
        let stored = sources.stored.iter().filter(|key| !configured.contains(key.id()));
        self.keyring
            .replace(sources.configured.iter().chain(stored).cloned().collect());
        drop(sources);
        self.registry.recheck_keys();
    }
}
