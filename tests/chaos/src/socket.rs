//! A WebSocket of version 1 to a node that may go away at any moment without causing a panic here.

use std::{net::SocketAddr, time::Duration};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

use crate::checker::ClientKind;

/// How long a node may take to let a client in. A node that is suspended never does.
const ACCEPT_TIME: Duration = Duration::from_secs(5);

/// What a socket receives.
#[derive(Debug)]
pub(crate) enum SocketEvent {
    Payload(Value),
    /// The connection has ended, with the code of the Close frame if there was one.
    Ended(Option<u16>),
}

/// An identified connection.
#[derive(Debug)]
pub(crate) struct V1Socket(WebSocketStream<TcpStream>);

impl V1Socket {
    /// Connects and identifies. Returns `None` if the node did not let the client in, for whatever reason.
    pub(crate) async fn open(address: SocketAddr, kind: ClientKind, key: &str) -> Option<Self> {
        let d = json!({ "type": kind.name(), "key": key });
        Some(Self::open_with(address, kind, &d).await?.0)
    }

    /// Connects and identifies with this data. Returns the connection and the data of the welcome, or `None` if the node
    /// did not let the client in.
    pub(crate) async fn open_with(address: SocketAddr, kind: ClientKind, d: &Value) -> Option<(Self, Value)> {
        timeout(ACCEPT_TIME, Self::identified(address, kind, d)).await.ok()?
    }

    async fn identified(address: SocketAddr, kind: ClientKind, d: &Value) -> Option<(Self, Value)> {
        let stream = TcpStream::connect(address).await.ok()?;
        stream.set_nodelay(true).ok()?;
        let (stream, _) = client_async(format!("ws://{address}/?v=1"), stream).await.ok()?;
        let mut socket = Self(stream);
        socket.send(&json!({ "op": 1, "t": "identify", "d": d })).await?;
        let welcome = format!("{kind}_connect_success");
        loop {
            match socket.next().await {
                SocketEvent::Payload(mut payload) if payload["t"] == *welcome => {
                    return Some((socket, payload["d"].take()));
                }
                SocketEvent::Payload(_) => {}
                SocketEvent::Ended(_) => return None,
            }
        }
    }

    /// Sends a payload. Returns `None` if the connection has ended, which [`Self::next`] reports too.
    pub(crate) async fn send(&mut self, payload: &Value) -> Option<()> {
        self.0.send(Message::text(payload.to_string())).await.ok()
    }

    /// Returns the next payload or the end of the connection. Cancel safe: nothing is lost if the future is dropped.
    pub(crate) async fn next(&mut self) -> SocketEvent {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Text(text))) => {
                    let payload = serde_json::from_str(&text);
                    return SocketEvent::Payload(payload.unwrap_or_else(|error| panic!("{error}: {text}")));
                }
                Some(Ok(Message::Close(close))) => return SocketEvent::Ended(close.map(|close| close.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return SocketEvent::Ended(None),
            }
        }
    }
}
