//! Connects, and reconnects after a loss.

use std::{
    io::{self, Write},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixStream,
    time::{sleep, timeout},
};
use tokio_tungstenite::{
    Connector, WebSocketStream, client_async_with_config, connect_async_tls_with_config,
    tungstenite::{Error, handshake::client::Response, protocol::WebSocketConfig},
};

use super::{
    client::{ClientEnd, ConnectClient, StopReason, next_input, stopped},
    connection,
    packet::MESSAGE_BYTES,
    render::PrintedRecord,
};

/// Time limit from the first TCP packet to the response to the upgrade.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

impl<W: Write> ConnectClient<W> {
    /// Connects, and reconnects after a loss if requested, until the client is done.
    ///
    /// # Errors
    ///
    /// If the output can no longer be written.
    pub(super) async fn run(&mut self) -> io::Result<ClientEnd> {
        let end = self.run_until_over().await?;
        if end == ClientEnd::Stopped(StopReason::OutOfTime) {
            self.problem("timeout", "out of time")?;
        }
        Ok(end)
    }

    async fn run_until_over(&mut self) -> io::Result<ClientEnd> {
        loop {
            let end = self.attempt().await?;
            if !self.options.reconnect || !end.may_improve() {
                return Ok(end);
            }
            // Without randomness, the process id still tells the clients on one machine apart.
            let random = getrandom::u32().unwrap_or_else(|_| std::process::id().wrapping_mul(0x9e37_79b9));
            let wait = self.backoff.next(f64::from(random) / f64::from(u32::MAX));
            let message = format!("reconnecting in {} ms", wait.as_millis());
            self.note("retrying", &message)?;
            if let Some(end) = self.wait(wait).await? {
                return Ok(end);
            }
        }
    }

    async fn attempt(&mut self) -> io::Result<ClientEnd> {
        let url = self.options.url.clone();
        self.show(&PrintedRecord::Connecting { url: &url })?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES))
            .max_frame_size(Some(MESSAGE_BYTES));
        if let Some(path) = self.options.unix.clone() {
            let connecting = async {
                let stream = UnixStream::connect(path).await?;
                client_async_with_config(&url, stream, Some(config)).await
            };
            return Box::pin(self.connect(&url, connecting)).await;
        }
        let connector = self.options.tls.clone().map_or(Connector::Plain, Connector::Rustls);
        let connecting = connect_async_tls_with_config(&url, Some(config), true, Some(connector));
        Box::pin(self.connect(&url, connecting)).await
    }

    /// Waits for a connection to `url`, and runs it.
    async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        url: &str,
        connecting: impl Future<Output = Result<(WebSocketStream<S>, Response), Error>>,
    ) -> io::Result<ClientEnd> {
        let connecting = timeout(CONNECT_TIMEOUT, connecting);
        let connected = tokio::select! {
            connected = connecting => connected,
            stop = stopped(&mut self.stop) => return Ok(ClientEnd::Stopped(stop)),
        };
        match connected {
            Ok(Ok((socket, _response))) => {
                self.show(&PrintedRecord::Connected { url })?;
                connection::drive(self, socket).await
            }
            Ok(Err(error)) => {
                self.problem("refused", &refusal(&error))?;
                Ok(ClientEnd::Lost)
            }
            Err(_elapsed) => {
                self.problem("refused", "no response to the upgrade in 10 s")?;
                Ok(ClientEnd::Lost)
            }
        }
    }

    /// Waits before the next attempt. Returns `Some` if there will be none.
    async fn wait(&mut self, duration: Duration) -> io::Result<Option<ClientEnd>> {
        let mut wait = std::pin::pin!(sleep(duration));
        loop {
            let input = tokio::select! {
                () = &mut wait => return Ok(None),
                stop = stopped(&mut self.stop) => return Ok(Some(ClientEnd::Stopped(stop))),
                input = next_input(&mut self.input), if self.takes_input() => input,
            };
            self.take_input(input)?;
            if self.leaving && self.held.is_empty() {
                return Ok(Some(ClientEnd::Normal));
            }
        }
    }
}

/// Describes why the WebSocket could not be opened, with the status and body of an HTTP response.
fn refusal(error: &Error) -> String {
    /// Maximum bytes of the body to show: a line or two.
    const BODY_BYTES: usize = 300;

    match error {
        Error::Http(response) => {
            let body = response.body().as_deref().unwrap_or_default();
            let body = String::from_utf8_lossy(&body[..body.len().min(BODY_BYTES)]);
            format!("the upgrade was refused: HTTP {} {}", response.status(), body.trim())
        }
        Error::Io(error) => format!("cannot connect: {error}"),
        other => format!("cannot connect: {other}"),
    }
}
