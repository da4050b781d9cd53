//! Access to the keys in Redis, for commands that run one operation and exit.

use tokio::runtime::Builder;

use crate::{
    auth::KeyRecord,
    backends::{KeyStore, KeyStoreError},
    cli::CliError,
    config::{KeySettings, Settings},
};

/// A blocking handle to the keys in Redis.
pub(super) struct KeyFileStore {
    keys: KeyStore,
    runtime: tokio::runtime::Runtime,
}

impl KeyFileStore {
    /// Opens the key store of this configuration. Returns `None` if it has no Redis.
    pub(super) fn of(settings: &Settings) -> Result<Option<Self>, CliError> {
        let Some(url) = &settings.redis.url else {
            return Ok(None);
        };
        let url = url.expose().to_owned().into();
        let keys = KeyStore::new(&url, &crate::node::redis_tls(settings), &settings.redis.prefix)
            .map_err(|error| CliError::Usage(error.to_string()))?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Some(Self { keys, runtime }))
    }

    /// Returns all readable keys, sorted by id.
    pub(super) fn all(&self) -> Result<Vec<KeySettings>, CliError> {
        let records = self.wait(self.keys.all())?;
        let mut keys: Vec<_> = records
            .into_iter()
            .filter_map(|(id, record)| Some(serde_json::from_str::<KeyRecord>(&record).ok()?.settings(&id)))
            .collect();
        keys.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(keys)
    }

    /// Adds a key. Returns `false` if its id is taken.
    pub(super) fn add(&self, key: &KeySettings) -> Result<bool, CliError> {
        let record = KeyRecord::of(key).map_err(|error| CliError::Usage(error.to_string()))?;
        let record = serde_json::to_string(&record).map_err(|error| CliError::Usage(error.to_string()))?;
        self.wait(self.keys.add(&key.id, &record))
    }

    /// Removes a key. Returns `false` if there is none with this id.
    pub(super) fn remove(&self, id: &str) -> Result<bool, CliError> {
        self.wait(self.keys.remove(id))
    }

    fn wait<T>(&self, answer: impl Future<Output = Result<T, KeyStoreError>>) -> Result<T, CliError> {
        // Connecting and each reply have their own deadlines.
        Ok(self.runtime.block_on(answer)?)
    }
}
