//! The connection for commands. It is checked when it is made, and discarded as a whole when anything about it fails.
//!
//! Nothing in this module reconnects or repeats a command. Tasks that use a connection end with it, and start again on
//! the next one.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, Pipeline, ProtocolVersion,
    PushInfo, PushKind, ServerError, Value,
    aio::MultiplexedConnection,
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};
use secrecy::{ExposeSecret, SecretString};
use smallvec::SmallVec;
use tokio::{sync::watch, time::Instant};

use super::problem::{RedisProblem, is_refusal};
use crate::{
    backends::redis::{
        scripts::{Script, Scripts},
        tls::{RedisSetupError, RedisTls},
    },
    metrics::Metrics,
};

/// The time limit for connecting.
const CONNECT: Duration = Duration::from_secs(1);
/// How long a reply may take before the server counts as unavailable.
const ANSWER: Duration = Duration::from_secs(2);
/// The oldest server version that has what the scripts use.
const OLDEST: (u32, u32) = (6, 2);

/// The address of the server, and how to connect to it.
pub(in crate::backends::redis) struct RedisServer {
    client: Mutex<Client>,
    info: ConnectionInfo,
    tls: RedisTls,
    /// The host and port, without user and password.
    pub(in crate::backends::redis) address: String,
    /// The number of the database.
    pub(in crate::backends::redis) database: i64,
    scripts: Arc<Scripts>,
    metrics: Arc<Metrics>,
}

impl RedisServer {
    /// The server at this URL.
    pub(in crate::backends::redis) fn new(
        url: &SecretString,
        tls: &RedisTls,
        metrics: Arc<Metrics>,
    ) -> Result<Self, RedisSetupError> {
        let info = url.expose_secret().into_connection_info()?;
        let address = match info.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => format!("{host}:{port}"),
            other => other.to_string(),
        };
        let client = client(info.clone(), tls)?;
        if let Some(expiry) = tls.expiry() {
            metrics.certificate_expires("redis", expiry);
        }
        Ok(Self {
            metrics,
            database: info.redis_settings().db(),
            client: Mutex::new(client),
            info,
            tls: tls.clone(),
            address,
            scripts: Arc::new(Scripts::default()),
        })
    }

    /// Returns a client with the certificates that the files have now, or had last if they cannot be read.
    fn client(&self) -> Client {
        let mut known = self.client.lock();
        if let Ok(fresh) = client(self.info.clone(), &self.tls) {
            *known = fresh;
            if let Some(expiry) = self.tls.expiry() {
                self.metrics.certificate_expires("redis", expiry);
            }
        }
        known.clone()
    }

    /// Connects. Push messages go to `on_push`. The receiver becomes `true` when the connection is lost.
    pub(in crate::backends::redis) async fn connect(
        &self,
        on_push: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<(MultiplexedConnection, watch::Receiver<bool>), RedisProblem> {
        let (disconnected, is_disconnected) = watch::channel(false);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(ANSWER))
            .set_push_sender(move |push: PushInfo| {
                if push.kind == PushKind::Disconnection {
                    disconnected.send_replace(true);
                } else {
                    on_push(push);
                }
                Ok::<_, std::convert::Infallible>(())
            });
        let client = self.client();
        let connection = client.get_multiplexed_async_connection_with_config(&config).await;
        let connection = connection.map_err(|error| RedisProblem::of(&self.address, &error))?;
        Ok((connection, is_disconnected))
    }

    /// Connects for commands: checks the server, and loads the scripts.
    pub(in crate::backends::redis) async fn connection(&self) -> Result<RedisConnection, RedisProblem> {
        let (mut connection, is_disconnected) = self.connect(|_| {}).await?;
        let info: String = redis::cmd("INFO")
            .query_async(&mut connection)
            .await
            .map_err(|error| RedisProblem::of(&self.address, &error))?;
        let info = ServerInfo::check(&self.address, &info)?;
        let mut load = redis::pipe();
        for script in Scripts::load() {
            load.add_command(script).ignore();
        }
        load.query_async::<()>(&mut connection)
            .await
            .map_err(|error| RedisProblem::of(&self.address, &error))?;
        Ok(RedisConnection {
            connection,
            is_disconnected,
            address: self.address.as_str().into(),
            scripts: Arc::clone(&self.scripts),
            metrics: Arc::clone(&self.metrics),
            run_id: info.run.into(),
            version: info.version.into(),
            since: Instant::now(),
        })
    }
}

/// Creates a client of a server.
fn client(info: ConnectionInfo, tls: &RedisTls) -> Result<Client, RedisSetupError> {
    let client = match tls.read()? {
        Some(certificates) => Client::build_with_tls(info, certificates)?,
        None => Client::open(info)?,
    };
    Ok(Client::open(hardened(client.get_connection_info()))?)
}

/// Returns the connection settings with TCP keepalive and timeouts, so that a dead peer is detected.
fn hardened(info: &ConnectionInfo) -> ConnectionInfo {
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(5))
        .with_interval(Duration::from_secs(2))
        .with_retries(3);
    let tcp = TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(keepalive)
        .set_user_timeout(Duration::from_secs(10));
    let redis = info
        .redis_settings()
        .clone()
        .set_protocol(ProtocolVersion::RESP3)
        .set_lib_name("utilbot-gateway", env!("CARGO_PKG_VERSION"));
    info.clone().set_tcp_settings(tcp).set_redis_settings(redis)
}

/// What the server reports in `INFO`.
#[derive(Debug, PartialEq, Eq)]
struct ServerInfo {
    /// The run id of its process.
    run: String,
    version: String,
}

impl ServerInfo {
    /// Parses the reply to `INFO`. Rejects a server that cannot give the guarantees that the node relies on.
    fn check(address: &str, info: &str) -> Result<Self, RedisProblem> {
        let field = |name: &str| {
            let value = |line: &str| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned());
            info.lines().find_map(value)
        };
        let address = address.to_owned();
        let version = field("redis_version").unwrap_or_default();
        let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
        if (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < OLDEST {
            return Err(RedisProblem::TooOld { address, version });
        }
        if field("role").is_some_and(|role| role != "master") {
            return Err(RedisProblem::Replica { address });
        }
        match field("maxmemory_policy") {
            Some(policy) if policy != "noeviction" => return Err(RedisProblem::Evicts { address, policy }),
            _ => {}
        }
        let run = field("run_id").ok_or_else(|| RedisProblem::ReplyResult {
            address,
            cause: "INFO without run_id".to_owned(),
        })?;
        Ok(Self {
            run,
            version: field("valkey_version").map_or(version, |version| format!("valkey {version}")),
        })
    }
}

/// A checked connection to the server. Clones share it.
#[derive(Clone)]
pub(in crate::backends::redis) struct RedisConnection {
    connection: MultiplexedConnection,
    is_disconnected: watch::Receiver<bool>,
    address: Arc<str>,
    scripts: Arc<Scripts>,
    metrics: Arc<Metrics>,
    /// The run id of the server. It cannot change during the connection, since a connection is to one process.
    pub(in crate::backends::redis) run_id: Arc<str>,
    /// The server's version.
    pub(in crate::backends::redis) version: Arc<str>,
    since: Instant,
}

/// The reply to one command: its fields, or the reason why the server refused it without changing anything.
pub(in crate::backends::redis) type ReplyResult = Result<ReplyFields, RedisProblem>;

impl RedisConnection {
    /// Starts a call of a script.
    pub(in crate::backends::redis) fn script(&self, script: Script, key: &str) -> Cmd {
        self.scripts.call(script, key)
    }

    /// Runs commands in one round trip, in order, each independent of the others. A connection error, or an error that
    /// leaves open what the command has changed, ends the connection.
    pub(in crate::backends::redis) async fn run(
        &self,
        commands: impl IntoIterator<Item = Cmd>,
    ) -> Result<Vec<ReplyResult>, RedisProblem> {
        let mut pipeline = Pipeline::new();
        let mut called = SmallVec::<[&'static str; 8]>::new();
        for command in commands {
            called.extend(self.scripts.name_of(&command));
            pipeline.add_command(command);
        }
        let count = pipeline.len();
        if count == 0 {
            return Ok(Vec::new());
        }
        let mut connection = self.connection.clone();
        let sent = Instant::now();
        let values = connection.send_packed_commands(&pipeline, 0, count).await;
        let took = sent.elapsed();
        for script in called {
            self.metrics.redis.called(script, took);
        }
        let values = values.map_err(|error| RedisProblem::of(&self.address, &error))?;
        values
            .into_iter()
            .map(|value| match value {
                Value::ServerError(error) => {
                    let problem = RedisProblem::of_answer(&self.address, &error);
                    if is_refusal(&error) {
                        Ok(Err(problem))
                    } else {
                        Err(problem)
                    }
                }
                value => Ok(Ok(ReplyFields::new(value))),
            })
            .collect()
    }

    /// Runs one command, any error of which ends the connection.
    pub(in crate::backends::redis) async fn query(&self, command: Cmd) -> Result<ReplyFields, RedisProblem> {
        let answer = self.run([command]).await?.pop();
        match answer {
            Some(answer) => answer,
            None => Err(self.nonsense("no answer")),
        }
    }

    /// Checks the server again, since its configuration can be changed while it runs.
    pub(in crate::backends::redis) async fn check(&self) -> Result<(), RedisProblem> {
        let info = self.query(redis::cmd("INFO")).await?;
        ServerInfo::check(&self.address, info.word(0)).map(drop)
    }

    /// When the connection was made.
    pub(in crate::backends::redis) const fn since(&self) -> Instant {
        self.since
    }

    /// Waits until the connection is lost.
    pub(in crate::backends::redis) async fn disconnected(&self) -> RedisProblem {
        // The sender is dropped only with the connection.
        let _ = self
            .is_disconnected
            .clone()
            .wait_for(|is_disconnected| *is_disconnected)
            .await;
        RedisProblem::Unreachable {
            address: self.address.to_string(),
            cause: "the connection was cut".to_owned(),
        }
    }

    /// Converts an error reply to a [`RedisProblem`].
    pub(in crate::backends::redis) fn refusal(&self, error: &ServerError) -> RedisProblem {
        RedisProblem::of_answer(&self.address, error)
    }

    /// Converts the text of an error that a script has caught and returned to a [`RedisProblem`].
    pub(in crate::backends::redis) fn script_error(&self, text: &str) -> RedisProblem {
        RedisProblem::of_script(&self.address, text)
    }

    /// The problem for a reply that no version of a script gives.
    pub(in crate::backends::redis) fn nonsense(&self, what: &str) -> RedisProblem {
        RedisProblem::ReplyResult {
            address: self.address.to_string(),
            cause: format!("nonsense: {what}"),
        }
    }

    /// The problem for a node whose name is registered by another process.
    pub(in crate::backends::redis) fn fenced(&self) -> RedisProblem {
        RedisProblem::Fenced {
            address: self.address.to_string(),
        }
    }
}

/// The fields of a reply.
#[derive(Debug)]
pub(in crate::backends::redis) struct ReplyFields(Vec<Value>);

impl ReplyFields {
    fn new(value: Value) -> Self {
        Self(match value {
            Value::Array(values) | Value::Set(values) => values,
            Value::Map(pairs) => pairs.into_iter().flat_map(|(name, value)| [name, value]).collect(),
            Value::Nil => Vec::new(),
            value => vec![value],
        })
    }

    /// The field at this index, or an empty string.
    pub(in crate::backends::redis) fn word(&self, place: usize) -> &str {
        self.0.get(place).and_then(text).unwrap_or_default()
    }

    /// The number at this index, or 0.
    pub(in crate::backends::redis) fn number(&self, place: usize) -> u64 {
        match self.0.get(place) {
            Some(Value::Int(number)) => u64::try_from(*number).unwrap_or(0),
            _ => self.word(place).parse().unwrap_or(0),
        }
    }

    /// The fields from this index on.
    pub(in crate::backends::redis) fn rest(&self, place: usize) -> impl Iterator<Item = &str> {
        self.0.iter().skip(place).filter_map(text)
    }

    /// Pairs of name and value. Invalid UTF-8 is replaced, so that no pair is lost.
    pub(in crate::backends::redis) fn pairs(self) -> impl Iterator<Item = (String, String)> {
        let mut fields = self.0.into_iter().map(|word| match word {
            Value::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            word => text(&word).unwrap_or_default().to_owned(),
        });
        std::iter::from_fn(move || fields.next().zip(fields.next()))
    }

    /// The first error in the replies of a transaction.
    pub(in crate::backends::redis) fn error(&self) -> Option<&ServerError> {
        self.0.iter().find_map(|word| match word {
            Value::ServerError(error) => Some(error),
            _ => None,
        })
    }

    /// The entries of a stream: the id of each, and the value of its only field.
    pub(in crate::backends::redis) fn entries(self) -> impl Iterator<Item = (String, Vec<u8>)> {
        self.0.into_iter().filter_map(|entry| {
            let Value::Array(entry) = entry else { return None };
            let [id, fields]: [Value; 2] = entry.try_into().ok()?;
            let Value::Array(mut fields) = fields else { return None };
            match fields.pop() {
                Some(Value::BulkString(body)) => Some((text(&id)?.to_owned(), body)),
                _ => None,
            }
        })
    }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => str::from_utf8(bytes).ok(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text),
        Value::Okay => Some("OK"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\n# Memory\r\n\
        maxmemory_policy:noeviction\r\n# Replication\r\nrole:master\r\n";

    fn check(from: &str, to: &str) -> Result<ServerInfo, String> {
        ServerInfo::check("host:1", &INFO.replace(from, to)).map_err(|problem| problem.to_string())
    }

    #[test]
    fn a_suitable_server_passes_the_check() {
        let info = check("", "").unwrap();
        assert_eq!(info.run, "abc");
        assert!(check("7.0.15", "6.2.0").is_ok());
    }

    #[test]
    fn each_unsuitable_server_is_reported_in_one_line() {
        for (from, to, line) in [
            (
                "7.0.15",
                "6.0.16",
                "redis at host:1 is 6.0.16, too old: 6.2 is the oldest that works",
            ),
            (
                "noeviction",
                "allkeys-lru",
                "redis at host:1 evicts keys (maxmemory-policy allkeys-lru): set it to noeviction",
            ),
            (
                "role:master",
                "role:slave",
                "redis at host:1 is a replica: redis.url must name the primary",
            ),
            ("run_id", "other", "redis at host:1 answers: INFO without run_id"),
        ] {
            assert_eq!(check(from, to), Err(line.to_owned()));
        }
    }
}
