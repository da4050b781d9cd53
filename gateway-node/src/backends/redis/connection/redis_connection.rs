//! A connection to the server: made, checked, used, and given up as a whole when anything about it fails.
//!
//! Nothing in here connects again or repeats a command. Who uses a link ends with it, and begins anew with the next.

use std::{sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, Pipeline, ProtocolVersion,
    PushInfo, PushKind, RedisError, ServerError, TlsCertificates, Value,
    aio::MultiplexedConnection,
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};
use secrecy::{ExposeSecret, SecretString};
use tokio::{sync::watch, time::Instant};

use super::problem::{RedisProblem, is_refusal};
use crate::backends::redis::scripts::{Script, Scripts};

/// How long a connection may take, and then its checks.
const CONNECT: Duration = Duration::from_secs(1);
/// How long an answer may take before the server counts as away.
const ANSWER: Duration = Duration::from_secs(2);
/// The oldest server that has what the scripts use.
const OLDEST: (u32, u32) = (6, 2);

/// Where the server is and how to reach it.
pub(in crate::backends::redis) struct RedisServer {
    client: Client,
    /// Host and port, without user and password.
    pub(in crate::backends::redis) address: String,
    /// The number of the database.
    pub(in crate::backends::redis) database: i64,
    scripts: Arc<Scripts>,
}

impl RedisServer {
    /// The server of this URL. `authority` is a PEM file's content: the one authority that its certificate is held
    /// against, instead of the system's.
    pub(in crate::backends::redis) fn new(url: &SecretString, authority: Option<&[u8]>) -> Result<Self, RedisError> {
        let info = url.expose_secret().into_connection_info()?;
        let address = match info.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => format!("{host}:{port}"),
            other => other.to_string(),
        };
        let client = match authority {
            Some(authority) => {
                let certificates = TlsCertificates {
                    client_tls: None,
                    root_cert: Some(authority.to_vec()),
                };
                Client::build_with_tls(info, certificates)?
            }
            None => Client::open(info)?,
        };
        let info = hardened(client.get_connection_info());
        Ok(Self {
            database: info.redis_settings().db(),
            client: Client::open(info)?,
            address,
            scripts: Arc::new(Scripts::default()),
        })
    }

    /// Connects; what is pushed goes to `on_push`. The receiver turns true when the connection is cut.
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
        let connection = self.client.get_multiplexed_async_connection_with_config(&config).await;
        let connection = connection.map_err(|error| RedisProblem::of(&self.address, &error))?;
        Ok((connection, is_disconnected))
    }

    /// Connects for commands: checks what the server is, and makes it know the scripts.
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
            run_id: info.run.into(),
            version: info.version.into(),
            since: Instant::now(),
        })
    }
}

/// The same server, with a socket that notices when the other end is gone.
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

/// What the server says of itself.
#[derive(Debug, PartialEq, Eq)]
struct ServerInfo {
    /// What it calls this life of its process.
    run: String,
    version: String,
}

impl ServerInfo {
    /// Reads the answer to `INFO`, and refuses a server that cannot keep the node's promises.
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

/// A server that answers. Clones are the same connection.
#[derive(Clone)]
pub(in crate::backends::redis) struct RedisConnection {
    connection: MultiplexedConnection,
    is_disconnected: watch::Receiver<bool>,
    address: Arc<str>,
    scripts: Arc<Scripts>,
    /// The life of the server. A connection is to one process, so it cannot change while the link lasts.
    pub(in crate::backends::redis) run_id: Arc<str>,
    /// The server's version.
    pub(in crate::backends::redis) version: Arc<str>,
    since: Instant,
}

/// What one command was answered: its words, or why the server refuses it and has changed nothing.
pub(in crate::backends::redis) type ReplyResult = Result<ReplyFields, RedisProblem>;

impl RedisConnection {
    /// Begins a call of a script.
    pub(in crate::backends::redis) fn script(&self, script: Script, key: &str) -> Cmd {
        self.scripts.call(script, key)
    }

    /// Runs commands in one round trip, each for itself, in their order. An error of the connection, or one that says
    /// nothing about what the command has done, is the end of the link.
    pub(in crate::backends::redis) async fn run(
        &self,
        commands: impl IntoIterator<Item = Cmd>,
    ) -> Result<Vec<ReplyResult>, RedisProblem> {
        let mut pipeline = Pipeline::new();
        for command in commands {
            pipeline.add_command(command);
        }
        let count = pipeline.len();
        if count == 0 {
            return Ok(Vec::new());
        }
        let mut connection = self.connection.clone();
        let values = connection.send_packed_commands(&pipeline, 0, count).await;
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

    /// Runs one command whose errors are all the end of the link.
    pub(in crate::backends::redis) async fn query(&self, command: Cmd) -> Result<ReplyFields, RedisProblem> {
        let answer = self.run([command]).await?.pop();
        match answer {
            Some(answer) => answer,
            None => Err(self.nonsense("no answer")),
        }
    }

    /// Whether the server is still one that can keep the node's promises: what it was at first can be set while it runs.
    pub(in crate::backends::redis) async fn check(&self) -> Result<(), RedisProblem> {
        let info = self.query(redis::cmd("INFO")).await?;
        ServerInfo::check(&self.address, info.word(0)).map(drop)
    }

    /// When the connection was made.
    pub(in crate::backends::redis) const fn since(&self) -> Instant {
        self.since
    }

    /// Waits until the connection is cut.
    pub(in crate::backends::redis) async fn disconnected(&self) -> RedisProblem {
        // The sender lives as long as the connection.
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

    /// What it means that the server refuses a command.
    pub(in crate::backends::redis) fn refusal(&self, error: &ServerError) -> RedisProblem {
        RedisProblem::of_answer(&self.address, error)
    }

    /// An answer that no version of a script gives.
    pub(in crate::backends::redis) fn nonsense(&self, what: &str) -> RedisProblem {
        RedisProblem::ReplyResult {
            address: self.address.to_string(),
            cause: format!("nonsense: {what}"),
        }
    }

    /// Somebody else goes by this node's name.
    pub(in crate::backends::redis) fn fenced(&self) -> RedisProblem {
        RedisProblem::Fenced {
            address: self.address.to_string(),
        }
    }
}

/// An answer as its words.
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

    /// The word at this place; empty where there is none.
    pub(in crate::backends::redis) fn word(&self, place: usize) -> &str {
        self.0.get(place).and_then(text).unwrap_or_default()
    }

    /// The number at this place; 0 where there is none.
    pub(in crate::backends::redis) fn number(&self, place: usize) -> u64 {
        match self.0.get(place) {
            Some(Value::Int(number)) => u64::try_from(*number).unwrap_or(0),
            _ => self.word(place).parse().unwrap_or(0),
        }
    }

    /// The words from this place on.
    pub(in crate::backends::redis) fn rest(&self, place: usize) -> impl Iterator<Item = &str> {
        self.0.iter().skip(place).filter_map(text)
    }

    /// Names and what each stands for. What is no UTF-8 is replaced, so that no pair is lost.
    pub(in crate::backends::redis) fn pairs(self) -> impl Iterator<Item = (String, String)> {
        let mut fields = self.0.into_iter().map(|word| match word {
            Value::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            word => text(&word).unwrap_or_default().to_owned(),
        });
        std::iter::from_fn(move || fields.next().zip(fields.next()))
    }

    /// The first error among the answers to a transaction.
    pub(in crate::backends::redis) fn error(&self) -> Option<&ServerError> {
        self.0.iter().find_map(|word| match word {
            Value::ServerError(error) => Some(error),
            _ => None,
        })
    }

    /// The entries of a stream: each one's id and its one field's value.
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
    fn a_good_server_passes() {
        let info = check("", "").unwrap();
        assert_eq!(info.run, "abc");
        assert!(check("7.0.15", "6.2.0").is_ok());
    }

    #[test]
    fn each_fault_of_a_server_is_one_line() {
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
