//! A client of protocol versions 6 to 10 that shares no code with the node: tokio-tungstenite for the frames, flate2
//! for zlib. It checks the sequence number of every dispatch, so that any gap is a failure.

use std::{net::SocketAddr, time::Duration};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, Message, protocol::CloseFrame},
};

use super::{GatewayPayload, unpacker::Unpacker};
use crate::{NodeProcess, deadline::within};

/// A connection. Every wait has a deadline. Dropping it ends the connection without a Close frame.
#[derive(Debug)]
pub struct DiscordClient {
    socket: WebSocketStream<TcpStream>,
    unpacker: Unpacker,
    sequence: u64,
    binary: usize,
}

impl DiscordClient {
    /// Opens the WebSocket at `target`, a path and a query.
    ///
    /// # Errors
    /// Returns the error if the node refuses the handshake.
    pub async fn open(address: SocketAddr, target: &str) -> Result<Self, tungstenite::Error> {
        let url = format!("ws://{address}{target}");
        let stream = within("connecting", TcpStream::connect(address)).await?;
        let (socket, _) = within("the handshake", client_async(url, stream)).await?;
        let query = target.split_once('?').map_or("", |(_, query)| query);
        Ok(Self {
            socket,
            unpacker: Unpacker::new(query),
            sequence: 0,
            binary: 0,
        })
    }

    /// Opens the WebSocket with this query.
    pub async fn connect(node: &NodeProcess, query: &str) -> Self {
        let target = format!("/?{query}");
        Self::open(node.address(), &target)
            .await
            .unwrap_or_else(|error| panic!("{target}: {error}"))
    }

    /// Opens the WebSocket and receives Hello.
    pub async fn greeted(node: &NodeProcess, query: &str) -> Self {
        let mut client = Self::connect(node, query).await;
        client.hello().await;
        client
    }

    /// Opens a session that identifies with only a token and intents. Returns the client and the data of READY.
    pub async fn session(node: &NodeProcess, query: &str, token: &str, intents: u64) -> (Self, Value) {
        let mut client = Self::greeted(node, query).await;
        client
            .identify(&json!({ "token": token, "intents": intents, "properties": {} }))
            .await;
        let ready = client.expect_dispatch("READY").await;
        (client, ready)
    }

    /// Receives Hello and returns the heartbeat interval.
    pub async fn hello(&mut self) -> Duration {
        let d = self.expect_op(10).await;
        let interval = d["heartbeat_interval"].as_u64();
        Duration::from_millis(interval.unwrap_or_else(|| panic!("no interval in milliseconds: {d}")))
    }

    /// Sends Identify with this data. The next dispatch must have sequence number 1.
    pub async fn identify(&mut self, d: &Value) {
        if d["compress"] == true {
            self.unpacker.allow_packets();
        }
        self.sequence = 0;
        self.send(2, d).await;
    }

    /// Sends Resume. The next dispatch must have the sequence number after `sequence`.
    pub async fn resume(&mut self, token: &str, session: &str, sequence: u64) {
        self.sequence = sequence;
        self.send(6, &json!({ "token": token, "session_id": session, "seq": sequence }))
            .await;
    }

    /// Sends a heartbeat and asserts that the next payload acknowledges it.
    pub async fn heartbeat(&mut self) {
        let sequence = (self.sequence > 0).then_some(self.sequence);
        self.send(1, &json!(sequence)).await;
        assert_eq!(self.expect_op(11).await, Value::Null);
    }

    /// Sends a payload as a text message.
    pub async fn send(&mut self, op: u64, d: &Value) {
        self.send_text(&json!({ "op": op, "d": d }).to_string()).await;
    }

    /// Sends any text message, valid or not.
    pub async fn send_text(&mut self, text: &str) {
        self.send_message(Message::text(text)).await;
    }

    /// Sends any binary message, valid or not.
    pub async fn send_binary(&mut self, bytes: &[u8]) {
        self.send_message(Message::binary(bytes.to_vec())).await;
    }

    async fn send_message(&mut self, message: Message) {
        within("sending", self.socket.send(message))
            .await
            .expect("the node takes messages");
    }

    /// The sequence number of the last dispatch.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// How many binary messages have been received; these are the compressed ones.
    pub fn binary_messages(&self) -> usize {
        self.binary
    }

    /// Returns the next payload.
    ///
    /// # Errors
    /// At the end of the connection, returns the close code if there was a Close frame with one.
    pub async fn try_next(&mut self) -> Result<GatewayPayload, Option<u16>> {
        let message = match within("a message of the node", self.socket.next()).await {
            Some(Ok(Message::Close(close))) => return Err(close.map(|close| close.code.into())),
            None | Some(Err(_)) => return Err(None),
            // Pings are not allowed: some libraries parse every frame but Close as a payload.
            Some(Ok(message)) => message,
        };
        self.binary += usize::from(message.is_binary());
        let payload = GatewayPayload::read(&self.unpacker.unpack(message));
        if let Some(s) = payload.s {
            assert_eq!(s, self.sequence + 1, "a gap before {payload:?}");
            self.sequence = s;
        }
        Ok(payload)
    }

    /// Returns the next payload.
    pub async fn next(&mut self) -> GatewayPayload {
        let next = self.try_next().await;
        next.unwrap_or_else(|code| panic!("closed with {code:?}, a payload was expected"))
    }

    /// Asserts that the next payload has this opcode, and returns its data.
    pub async fn expect_op(&mut self, op: u64) -> Value {
        let payload = self.next().await;
        assert_eq!(payload.op, op, "{payload:?}");
        payload.d
    }

    /// Asserts that the next payload is this dispatch, and returns its data.
    pub async fn expect_dispatch(&mut self, name: &str) -> Value {
        let payload = self.next().await;
        assert_eq!(payload.t.as_deref(), Some(name), "{payload:?}");
        payload.d
    }

    /// Skips payloads until a dispatch of this name arrives, and returns its data.
    pub async fn dispatch_among_others(&mut self, name: &str) -> Value {
        loop {
            let payload = self.next().await;
            if payload.t.as_deref() == Some(name) {
                return payload.d;
            }
        }
    }

    /// Asserts that the node closes with this code without sending anything else.
    pub async fn expect_close(&mut self, code: u16) {
        match self.try_next().await {
            Ok(payload) => panic!("{payload:?} instead of close {code}"),
            Err(given) => assert_eq!(given, Some(code)),
        }
    }

    /// Closes from this side, reads to the end, and returns the code that the node answers.
    pub async fn close(mut self, code: u16) -> Option<u16> {
        let frame = CloseFrame {
            code: code.into(),
            reason: "".into(),
        };
        within("closing", self.socket.close(Some(frame))).await.ok();
        loop {
            if let Err(code) = self.try_next().await {
                return code;
            }
        }
    }
}
