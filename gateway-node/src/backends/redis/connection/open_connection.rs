//! An open connection: the `redis` crate's, over a stream of ours.

use std::{sync::Arc, time::Duration};

use redis::{AsyncConnectionConfig, PushInfo, PushKind, RedisConnectionInfo, RedisError, aio::MultiplexedConnection};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    task::JoinHandle,
};

/// How long a reply may take before the server counts as unavailable.
const ANSWER: Duration = Duration::from_secs(2);

/// A connection, and the task that reads and writes it, which ends with the last clone.
#[derive(Clone)]
pub(in crate::backends::redis) struct OpenConnection {
    /// The connection.
    pub(in crate::backends::redis) commands: MultiplexedConnection,
    /// Becomes `true` when the connection is lost.
    pub(in crate::backends::redis) is_disconnected: watch::Receiver<bool>,
    _driver: Arc<Driver>,
}

impl OpenConnection {
    /// Logs in on a connected stream.
    pub(super) async fn begin<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
        settings: &RedisConnectionInfo,
        stream: S,
    ) -> Result<Self, RedisError> {
        let (disconnected, is_disconnected) = watch::channel(false);
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(Some(ANSWER))
            .set_push_sender(move |push: PushInfo| {
                if push.kind == PushKind::Disconnection {
                    disconnected.send_replace(true);
                }
                Ok::<_, std::convert::Infallible>(())
            });
        let (commands, driver) = MultiplexedConnection::new_with_config(settings, stream, config).await?;
        Ok(Self {
            commands,
            is_disconnected,
            _driver: Arc::new(Driver(tokio::spawn(driver))),
        })
    }
}

/// The task of a connection. By itself it would wait for the replies to everything that has been sent.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}
