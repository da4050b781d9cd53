//! The keys that are kept in Redis, by their ids. What a record says is nobody's business here.
//!
//! `<prefix>:{_cluster}:keys` is a hash of records by id; `…:keys:revision` goes up with every change.

use std::{path::Path, sync::Arc};

use secrecy::SecretString;
use tokio::{sync::watch, time::sleep};

use super::{KEY_CHECK, RedisSetupError, Shared, link::Link, problem::Problem, server_of};

/// Ids and their records.
pub type KeyRecords = Arc<Vec<(String, String)>>;

/// A way to the keys for who is no node.
pub struct KeyStore {
    server: super::Server,
    key: String,
}

/// The server cannot be asked; one line says why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeyStoreError(String);

impl From<Problem> for KeyStoreError {
    fn from(problem: Problem) -> Self {
        Self(problem.to_string())
    }
}

impl KeyStore {
    /// The keys on the server at `url`, whose certificate is held against the PEM file `authority` if there is one; `prefix`
    /// is that of the nodes.
    ///
    /// # Errors
    /// When the URL or the authority's file cannot be used.
    pub fn new(url: &SecretString, authority: Option<&Path>, prefix: &str) -> Result<Self, RedisSetupError> {
        Ok(Self {
            server: server_of(url, authority)?,
            key: key(prefix),
        })
    }

    /// All of them.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn all(&self) -> Result<Vec<(String, String)>, KeyStoreError> {
        Ok(read(&self.server.link().await?, &self.key).await?)
    }

    /// Adds a key. False where there is one with this id already.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn add(&self, id: &str, record: &str) -> Result<bool, KeyStoreError> {
        self.change("HSETNX", &[id, record]).await
    }

    /// Removes a key. False where there is none with this id.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn remove(&self, id: &str) -> Result<bool, KeyStoreError> {
        self.change("HDEL", &[id]).await
    }

    async fn change(&self, command: &str, arguments: &[&str]) -> Result<bool, KeyStoreError> {
        let link = self.server.link().await?;
        let mut change = redis::cmd(command);
        change.arg(&self.key).arg(arguments);
        let mut raise = redis::cmd("INCR");
        raise.arg(revision_key(&self.key));
        // In this order: who sees the revision sees the change.
        let answers = link.run([change, raise]).await?;
        match answers.first() {
            Some(Ok(words)) => Ok(words.number(0) == 1),
            _ => Err(link.out_of_memory().into()),
        }
    }
}

fn key(prefix: &str) -> String {
    format!("{prefix}:{{_cluster}}:keys")
}

fn revision_key(key: &str) -> String {
    format!("{key}:revision")
}

async fn read(link: &Link, key: &str) -> Result<Vec<(String, String)>, Problem> {
    let mut ask = redis::cmd("HGETALL");
    ask.arg(key);
    let words = link.ask(ask).await?;
    let words: Vec<_> = words.rest(0).collect();
    let pairs = words.chunks_exact(2);
    Ok(pairs.map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect())
}

/// Tells of the keys whenever they have changed, until the link ends.
pub(super) async fn follow(shared: &Shared, link: &Link, keys: &watch::Sender<Option<KeyRecords>>) -> Problem {
    let key = key(&shared.options.prefix);
    let mut known = None;
    loop {
        let mut ask = redis::cmd("GET");
        ask.arg(revision_key(&key));
        let revision = match link.ask(ask).await {
            Ok(words) => words.number(0),
            Err(problem) => return problem,
        };
        if known != Some(revision) {
            // Read after the revision: what changes in between is read again.
            match read(link, &key).await {
                Ok(records) => drop(keys.send_replace(Some(Arc::new(records)))),
                Err(problem) => return problem,
            }
            known = Some(revision);
        }
        sleep(KEY_CHECK).await;
    }
}
