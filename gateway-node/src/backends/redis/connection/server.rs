//! The server, and connections to it.

use std::{io, sync::Arc, time::Duration};

use parking_lot::Mutex;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, RedisError};
use rustls::ClientConfig;
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

use super::{
    message_filter::MessageFilter,
    open_connection::OpenConnection,
    problem::RedisProblem,
    redis_connection::RedisConnection,
    stream::{Stream, connect},
};
use crate::{
    backends::redis::{
        scripts::Scripts,
        tls::{RedisSetupError, RedisTls},
    },
    metrics::Metrics,
};

/// The time limit for connecting.
const CONNECT: Duration = Duration::from_secs(1);

/// The address of the server, and how to connect to it.
pub(in crate::backends::redis) struct RedisServer {
    info: ConnectionInfo,
    tls: RedisTls,
    /// The certificates when they could be read last.
    certificates: Mutex<Option<Arc<ClientConfig>>>,
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
        let redis = info
            .redis_settings()
            .clone()
            .set_protocol(ProtocolVersion::RESP3)
            .set_lib_name("utilbot-gateway", env!("CARGO_PKG_VERSION"));
        let certificates = if tls.has_files() {
            Some(tls.client_config()?)
        } else {
            None
        };
        if let Some(expiry) = tls.expiry() {
            metrics.certificate_expires("redis", expiry);
        }
        Ok(Self {
            metrics,
            database: redis.db(),
            info: info.set_redis_settings(redis),
            tls: tls.clone(),
            certificates: Mutex::new(certificates),
            address,
            scripts: Arc::new(Scripts::default()),
        })
    }

    /// Returns the certificates that the files have now, or had last if they cannot be read.
    fn certificates(&self) -> io::Result<Arc<ClientConfig>> {
        let mut known = self.certificates.lock();
        match (self.tls.client_config(), &*known) {
            (Ok(fresh), _) => {
                if let Some(expiry) = self.tls.expiry() {
                    self.metrics.certificate_expires("redis", expiry);
                }
                Ok(Arc::clone(known.insert(fresh)))
            }
            (Err(_), Some(known)) => Ok(Arc::clone(known)),
            (Err(error), None) => Err(error.into()),
        }
    }

    /// Connects for channels. Calls `on_message` with the channel and the bytes of each message.
    pub(in crate::backends::redis) async fn subscriber(
        &self,
        on_message: impl FnMut(&[u8], &[u8]) + Send + Unpin + 'static,
    ) -> Result<OpenConnection, RedisProblem> {
        self.connect(|stream| MessageFilter::new(stream, on_message)).await
    }

    /// Connects for commands: checks the server, and loads the scripts.
    pub(in crate::backends::redis) async fn connection(&self) -> Result<RedisConnection, RedisProblem> {
        let open = self.connect(|stream| stream).await?;
        RedisConnection::check(open, &self.address, &self.scripts, &self.metrics).await
    }

    /// Connects, with what `layer` returns over the stream.
    async fn connect<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
        &self,
        layer: impl FnOnce(Box<dyn Stream>) -> S,
    ) -> Result<OpenConnection, RedisProblem> {
        let connecting = async {
            let stream = connect(self.info.addr(), || self.certificates()).await?;
            OpenConnection::begin(self.info.redis_settings(), layer(stream)).await
        };
        let connected = timeout(CONNECT, connecting).await;
        connected
            .unwrap_or_else(|_| Err(RedisError::from(io::Error::from(io::ErrorKind::TimedOut))))
            .map_err(|error| RedisProblem::of(&self.address, &error))
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::backends::redis::test_server::TestServer;

    /// Returns a server that answers, and what connects to it.
    async fn started() -> (TestServer, RedisServer) {
        let process = TestServer::start();
        let server = RedisServer::new(&process.url().into(), &RedisTls::default(), Arc::default()).unwrap();
        let answering = async {
            while server.connect(|stream| stream).await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(20), answering).await.unwrap();
        (process, server)
    }

    #[tokio::test]
    async fn messages_arrive_beside_the_replies_to_commands() {
        let (process, server) = started().await;
        let (sender, mut messages) = mpsc::unbounded_channel();
        let on_message = move |channel: &[u8], message: &[u8]| {
            sender.send([channel, message].map(<[u8]>::to_vec)).unwrap();
        };
        let mut open = server.subscriber(on_message).await.unwrap();
        open.commands.subscribe("one").await.unwrap();
        let long = "x".repeat(100_000);
        for text in ["", "a\r\n$-1\r\n", &long] {
            process.cli(&["PUBLISH", "one", text]);
            let pong: String = redis::cmd("PING").query_async(&mut open.commands).await.unwrap();
            assert_eq!(pong, "PONG");
            let expected = ["one", text].map(|text| text.as_bytes().to_vec());
            assert_eq!(messages.recv().await, Some(expected));
        }
        open.commands.unsubscribe("one").await.unwrap();
        assert_eq!(process.cli(&["PUBLISH", "one", "unheard"]).trim(), "0");
    }

    #[tokio::test]
    async fn a_connection_that_waits_for_a_reply_is_closed_with_its_last_clone() {
        let (process, server) = started().await;
        let open = server.connect(|stream| stream).await.unwrap();
        let mut commands = open.commands.clone();
        let blocked = tokio::spawn(async move {
            let mut pop = redis::cmd("BLPOP");
            pop.arg("empty").arg(0).query_async::<()>(&mut commands).await
        });
        let is_blocked = || process.cli(&["INFO", "clients"]).contains("blocked_clients:1");
        let becomes = async |expected: bool| {
            let waiting = async {
                while is_blocked() != expected {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            timeout(Duration::from_secs(20), waiting).await.unwrap();
        };
        becomes(true).await;
        drop(open);
        becomes(false).await;
        assert!(blocked.await.unwrap().is_err());
    }
}
