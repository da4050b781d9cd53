//! The API keys stored in Redis, by their ids. This module does not interpret the records.
//!
//! `<prefix>:{_cluster}:keys` is a hash of records by id; `…:keys:revision` increases with every change.

use std::{sync::Arc, time::Duration};

use secrecy::SecretString;
use tokio::{sync::watch, time::sleep};

use super::{
    connection::{problem::RedisProblem, redis_connection::RedisConnection, server::RedisServer},
    shared::{KeyRecords, RedisShared},
    tls::{RedisSetupError, RedisTls},
};

/// How often a node checks whether the API keys have changed. A revoked key must take effect within a second.
const KEY_CHECK: Duration = Duration::from_millis(250);

/// Access to the keys for a process that is not a node, such as the command line.
pub struct KeyStore {
    server: RedisServer,
    key: String,
}

/// The server cannot be reached, or refuses; the text is one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeyStoreError(String);

impl From<RedisProblem> for KeyStoreError {
    fn from(problem: RedisProblem) -> Self {
        Self(problem.to_string())
    }
}

impl KeyStore {
    /// The keys on the server at `url`. `prefix` is the prefix of the nodes.
    ///
    /// # Errors
    /// When the URL or a file for TLS cannot be used.
    pub fn new(url: &SecretString, tls: &RedisTls, prefix: &str) -> Result<Self, RedisSetupError> {
        Ok(Self {
            server: RedisServer::new(url, tls, Arc::default())?,
            key: key(prefix),
        })
    }

    /// Returns all keys.
    ///
    /// # Errors
    /// When the server cannot be reached, or refuses.
    pub async fn all(&self) -> Result<Vec<(String, String)>, KeyStoreError> {
        Ok(read(&self.server.connection().await?, &self.key).await?)
    }

    /// Adds a key. Returns `false` if there is already one with this id.
    ///
    /// # Errors
    /// When the server cannot be reached, or refuses.
    pub async fn add(&self, id: &str, record: &str) -> Result<bool, KeyStoreError> {
        self.change("HSETNX", &[id, record]).await
    }

    /// Removes a key. Returns `false` if there is none with this id.
    ///
    /// # Errors
    /// When the server cannot be reached, or refuses.
    pub async fn remove(&self, id: &str) -> Result<bool, KeyStoreError> {
        self.change("HDEL", &[id]).await
    }

    async fn change(&self, command: &str, arguments: &[&str]) -> Result<bool, KeyStoreError> {
        let connection = self.server.connection().await?;
        let mut change = redis::cmd(command);
        change.arg(&self.key).arg(arguments);
        let mut raise = redis::cmd("INCR");
        raise.arg(revision_key(&self.key));
        let transaction = [redis::cmd("MULTI"), change, raise, redis::cmd("EXEC")];
        let refusal = match connection.run(transaction).await?.pop() {
            Some(Ok(fields)) => match fields.error() {
                None => return Ok(fields.number(0) == 1),
                Some(error) => connection.refusal(error),
            },
            Some(Err(problem)) => problem,
            None => connection.nonsense("a transaction without a reply"),
        };
        Err(refusal.into())
    }
}

fn key(prefix: &str) -> String {
    format!("{prefix}:{{_cluster}}:keys")
}

fn revision_key(key: &str) -> String {
    format!("{key}:revision")
}

async fn read(connection: &RedisConnection, key: &str) -> Result<Vec<(String, String)>, RedisProblem> {
    let mut query = redis::cmd("HGETALL");
    query.arg(key);
    let mut records: Vec<_> = connection.query(query).await?.pairs().collect();
    records.sort_unstable();
    Ok(records)
}

/// Publishes the keys whenever they change, until the connection ends. An error reply does not end the connection: the
/// last known keys stay in use.
pub(super) async fn follow(
    shared: &RedisShared,
    connection: &RedisConnection,
    keys: &watch::Sender<Option<KeyRecords>>,
) -> RedisProblem {
    let key = key(&shared.options.prefix);
    let (mut known, mut complaint) = (None, None);
    loop {
        match look(connection, &key, known.as_ref()).await {
            Ok(None) => complaint = None,
            Ok(Some((revision, records))) => {
                (known, complaint) = (Some(revision), None);
                keys.send_if_modified(|known| {
                    let is_new = known.as_deref() != Some(&records);
                    if is_new {
                        *known = Some(Arc::new(records));
                    }
                    is_new
                });
            }
            Err(problem @ (RedisProblem::Unreachable { .. } | RedisProblem::Silent { .. })) => return problem,
            Err(problem) if complaint.as_ref() == Some(&problem) => {}
            Err(problem) => {
                log::error!("the keys in redis cannot be read, those known last stay: {problem}");
                complaint = Some(problem);
            }
        }
        sleep(KEY_CHECK).await;
    }
}

/// Reads the revision and the records, or returns `None` if the revision is still `known`.
async fn look(
    connection: &RedisConnection,
    key: &str,
    known: Option<&String>,
) -> Result<Option<(String, Vec<(String, String)>)>, RedisProblem> {
    let mut query = redis::cmd("GET");
    query.arg(revision_key(key));
    let revision = connection.query(query).await?.word(0).to_owned();
    if known == Some(&revision) {
        return Ok(None);
    }
    // The records are read after the revision, so a change in between is read again next time.
    let records = read(connection, key).await?;
    Ok(Some((revision, records)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::backends::redis::test_server::TestServer;

    /// Connects to the server, once it answers.
    async fn store(server: &TestServer) -> KeyStore {
        let store = KeyStore::new(&server.url().into(), &RedisTls::default(), "test").unwrap();
        let answering = async {
            while store.all().await.is_err() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let answered = tokio::time::timeout(Duration::from_secs(20), answering).await;
        answered.expect("the server did not answer within 20 s");
        store
    }

    fn records(records: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(id, record): &(&str, &str)| ((*id).to_owned(), (*record).to_owned());
        records.iter().map(owned).collect()
    }

    #[tokio::test]
    async fn a_key_is_added_once_and_each_change_raises_the_revision() {
        let server = TestServer::start();
        let store = store(&server).await;
        assert!(store.add("b", "1").await.unwrap() && store.add("a", "2").await.unwrap());
        assert!(!store.add("b", "3").await.unwrap());
        assert_eq!(store.all().await.unwrap(), records(&[("a", "2"), ("b", "1")]));
        let revision = || server.cli(&["GET", "test:{_cluster}:keys:revision"]);
        let before = revision();
        assert!(store.remove("b").await.unwrap());
        assert_ne!(revision(), before);
        assert!(!store.remove("b").await.unwrap());
        assert_eq!(store.all().await.unwrap(), records(&[("a", "2")]));
    }

    #[tokio::test]
    async fn a_server_error_is_one_line_and_changes_nothing() {
        let mut server = TestServer::start();
        let store = store(&server).await;
        server.cli(&["SET", "test:{_cluster}:keys", "something else"]);
        for error in [store.all().await.map(|_| ()), store.add("a", "1").await.map(|_| ())] {
            let line = error.unwrap_err().to_string();
            assert!(
                line.contains("answers: WRONGTYPE") && line.lines().count() == 1,
                "{line}"
            );
        }
        server.kill();
        let line = store.add("a", "1").await.unwrap_err().to_string();
        assert!(
            line.contains("cannot be reached") && line.lines().count() == 1,
            "{line}"
        );
    }
}
