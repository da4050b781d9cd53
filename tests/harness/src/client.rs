//! A client of protocol version 1 that shares no code with the node: tokio-tungstenite for the frames, flate2 for zlib.

use std::{
    collections::VecDeque,
    fmt::Debug,
    io::{Read, Write},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use flate2::{Compression, bufread::ZlibDecoder, write::ZlibEncoder};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName},
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, Message},
};

use super::{
    NodeProcess,
    deadline::{WAIT, within, within_time},
};

/// How a client encodes its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketEncoding {
    /// Text messages in both directions.
    Plain,
    /// Binary messages in both directions, each a complete zlib stream.
    Zlib,
}

impl PacketEncoding {
    /// Both encodings.
    pub const ALL: [Self; 2] = [Self::Plain, Self::Zlib];

    /// Returns the query that asks for the encoding.
    pub const fn query(self) -> &'static str {
        match self {
            Self::Plain => "v=1",
            Self::Zlib => "v=1&compression=zlib",
        }
    }
}

/// Compresses `bytes` into one zlib stream.
pub fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("writing to memory cannot fail");
    encoder.finish().expect("writing to memory cannot fail")
}

/// Inflates a packet, which must be one complete zlib stream and nothing else.
pub fn inflate(packet: &[u8]) -> String {
    let mut rest = packet;
    let mut text = String::new();
    ZlibDecoder::new(&mut rest)
        .read_to_string(&mut text)
        .expect("a packet is a whole zlib stream of text");
    assert!(rest.is_empty(), "{} bytes after the zlib stream", rest.len());
    text
}

/// A stream that a WebSocket can run over.
trait ByteStream: AsyncRead + AsyncWrite + Debug + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Debug + Send + Unpin> ByteStream for T {}

/// A connection. Every wait has a deadline.
#[derive(Debug)]
pub struct V1Client {
    socket: WebSocketStream<Box<dyn ByteStream>>,
    encoding: PacketEncoding,
    wait: Duration,
    /// The fields that payloads may have because the client asked for them.
    asked: AskedFields,
    /// Payloads that [`Self::next`] returns before it reads on.
    put_back: VecDeque<Value>,
}

impl V1Client {
    /// Opens the WebSocket at `target` (path and query) and decodes messages in this encoding.
    ///
    /// # Errors
    /// Returns the error if the node refuses the handshake.
    pub async fn open(address: SocketAddr, target: &str, encoding: PacketEncoding) -> Result<Self, tungstenite::Error> {
        let url = format!("ws://{address}{target}");
        let stream = within("connecting", TcpStream::connect(address)).await?;
        Self::over(Box::new(stream), &url, encoding).await
    }

    /// Opens the WebSocket over TLS. The node must prove with one of these certificates that it is `localhost`.
    ///
    /// # Errors
    /// Returns the error if the node refuses the handshake.
    pub async fn open_tls(
        address: SocketAddr,
        trusted: RootCertStore,
        encoding: PacketEncoding,
    ) -> Result<Self, tungstenite::Error> {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has what TLS needs")
            .with_root_certificates(trusted)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = within("connecting", TcpStream::connect(address)).await?;
        let secured = TlsConnector::from(Arc::new(config)).connect(name, stream);
        let stream = within("the handshake of TLS", secured).await?;
        let url = format!("wss://localhost/?{}", encoding.query());
        Self::over(Box::new(stream), &url, encoding).await
    }

    async fn over(
        stream: Box<dyn ByteStream>,
        url: &str,
        encoding: PacketEncoding,
    ) -> Result<Self, tungstenite::Error> {
        let (socket, _) = within("the handshake", client_async(url, stream)).await?;
        Ok(Self {
            socket,
            encoding,
            wait: WAIT,
            asked: AskedFields::default(),
            put_back: VecDeque::new(),
        })
    }

    /// Opens the WebSocket with this query, or with none if it is `""`.
    pub async fn connect(node: &NodeProcess, query: &str, encoding: PacketEncoding) -> Self {
        let target = if query.is_empty() {
            "/".to_owned()
        } else {
            format!("/?{query}")
        };
        Self::open(node.address(), &target, encoding)
            .await
            .unwrap_or_else(|error| panic!("{target}: {error}"))
    }

    /// Opens the WebSocket and receives Hello.
    pub async fn greeted(node: &NodeProcess, encoding: PacketEncoding) -> Self {
        let mut client = Self::connect(node, encoding.query(), encoding).await;
        let hello = client.next().await;
        assert_eq!(hello["op"], 5, "{hello}");
        client
    }

    /// Opens an identified session in plain text. A bot has also received its first `GLOBAL_GUILD_COUNT`.
    pub async fn session(node: &NodeProcess, kind: &str, key: &str) -> Self {
        Self::session_in(node, kind, key, PacketEncoding::Plain).await
    }

    /// Like [`Self::session`], in this encoding.
    pub async fn session_in(node: &NodeProcess, kind: &str, key: &str, encoding: PacketEncoding) -> Self {
        let mut client = Self::greeted(node, encoding).await;
        client.identify(kind, key).await;
        if kind == "bot" {
            client.event("GLOBAL_GUILD_COUNT").await;
        }
        client
    }

    /// Identifies and returns the id.
    pub async fn identify(&mut self, kind: &str, key: &str) -> String {
        self.send_identify(kind, key).await;
        let d = self.event(&format!("{kind}_connect_success")).await;
        d["id"].as_str().unwrap_or_else(|| panic!("no id: {d}")).to_owned()
    }

    /// Sends an identify, without waiting for its result.
    pub async fn send_identify(&mut self, kind: &str, key: &str) {
        self.send(&json!({ "op": 1, "t": "identify", "d": { "type": kind, "key": key } }))
            .await;
    }

    /// Sends an event.
    pub async fn send_event(&mut self, name: &str, d: &Value) {
        self.send(&json!({ "op": 1, "t": name, "d": d })).await;
    }

    /// Sends a payload in the client's encoding.
    pub async fn send(&mut self, payload: &Value) {
        self.asked.add(payload);
        self.send_json(&payload.to_string()).await;
    }

    /// Sends any text in the client's encoding, valid or not.
    pub async fn send_json(&mut self, text: &str) {
        match self.encoding {
            PacketEncoding::Plain => self.send_text(text).await,
            PacketEncoding::Zlib => self.send_binary(&deflate(text.as_bytes())).await,
        }
    }

    /// Sends several payloads in one write.
    pub async fn send_at_once(&mut self, payloads: &[Value]) {
        for payload in payloads {
            self.asked.add(payload);
            let text = payload.to_string();
            let message = match self.encoding {
                PacketEncoding::Plain => Message::text(text),
                PacketEncoding::Zlib => Message::binary(deflate(text.as_bytes())),
            };
            within("sending", self.socket.feed(message))
                .await
                .expect("room for a message");
        }
        within("sending", self.socket.flush())
            .await
            .expect("the node takes messages");
    }

    /// Sends a text message.
    pub async fn send_text(&mut self, text: &str) {
        self.send_message(Message::text(text)).await;
    }

    /// Sends a binary message.
    pub async fn send_binary(&mut self, bytes: &[u8]) {
        self.send_message(Message::binary(bytes.to_vec())).await;
    }

    async fn send_message(&mut self, message: Message) {
        self.try_send(message).await.expect("the node takes a message");
    }

    /// Sends a message to a node that may have closed the connection.
    ///
    /// # Errors
    /// Returns the error if the connection has ended.
    pub async fn try_send(&mut self, message: Message) -> Result<(), tungstenite::Error> {
        within("sending", self.socket.send(message)).await
    }

    /// Returns the text of the next message, exactly as it was sent. Pings and pongs are skipped.
    ///
    /// # Errors
    /// At the end of the connection, returns the close code if there was a Close frame with one.
    pub async fn next_text(&mut self) -> Result<String, Option<u16>> {
        loop {
            let message = within_time("a message of the node", self.wait, self.socket.next()).await;
            match (message, self.encoding) {
                (Some(Ok(Message::Text(text))), PacketEncoding::Plain) => return Ok(text.as_str().to_owned()),
                (Some(Ok(Message::Binary(packet))), PacketEncoding::Zlib) => return Ok(inflate(&packet)),
                (Some(Ok(Message::Close(close))), _) => return Err(close.map(|close| close.code.into())),
                (Some(Ok(Message::Ping(data))), _) => {
                    assert!(data.is_empty(), "a ping with {data:?}");
                }
                (Some(Ok(Message::Pong(_))), _) => {}
                (None | Some(Err(_)), _) => return Err(None),
                (Some(Ok(message)), encoding) => panic!("{message:?} is no message in {encoding:?}"),
            }
        }
    }

    /// Waits for a ping, and asserts that nothing comes before it.
    pub async fn ping(&mut self) {
        let message = within_time("a ping of the node", self.wait, self.socket.next()).await;
        match message {
            Some(Ok(Message::Ping(data))) => assert!(data.is_empty(), "a ping with {data:?}"),
            message => panic!("{message:?} instead of a ping"),
        }
    }

    /// Returns the next payload.
    pub async fn next(&mut self) -> Value {
        if let Some(payload) = self.put_back.pop_front() {
            return payload;
        }
        match self.next_text().await {
            Ok(text) => well_formed(&text, self.asked),
            Err(code) => panic!("closed with {code:?}, a payload was expected"),
        }
    }

    /// Asserts that the next payload is this one.
    pub async fn expect(&mut self, payload: &Value) {
        assert_eq!(self.next().await, *payload);
    }

    /// Asserts that the next payload is this event, and returns its data.
    pub async fn event(&mut self, name: &str) -> Value {
        let mut payload = self.next().await;
        assert_eq!((&payload["op"], &payload["t"]), (&json!(0), &json!(name)), "{payload}");
        payload["d"].take()
    }

    /// Asserts that the next payload is this event, guild counts aside, and returns the whole payload.
    pub async fn payload_after_counts(&mut self, name: &str) -> Value {
        loop {
            let payload = self.next().await;
            if payload["t"] != "GLOBAL_GUILD_COUNT" {
                assert_eq!(payload["t"], name, "{payload}");
                return payload;
            }
        }
    }

    /// Accepts requests and jobs, which have receipts.
    pub const fn expect_requests(&mut self) {
        self.asked.receipt = true;
    }

    /// Makes [`Self::next`] return these payloads first.
    pub fn put_back(&mut self, payloads: impl IntoIterator<Item = Value>) {
        self.put_back.extend(payloads);
    }

    /// Skips payloads until an event of this name arrives, and returns its data.
    pub async fn event_among_others(&mut self, name: &str) -> Value {
        loop {
            let mut payload = self.next().await;
            if payload["t"] == name {
                return payload["d"].take();
            }
        }
    }

    /// Sends a heartbeat and asserts that the next payload acknowledges it.
    pub async fn heartbeat(&mut self) {
        self.send(&json!({ "op": 10 })).await;
        self.expect(&json!({ "op": 11 })).await;
    }

    /// Asserts that the next payload is an Error with code `e` and that the node then closes with `close`. Returns the
    /// Error.
    pub async fn error(&mut self, e: u16, close: u16) -> Value {
        let error = self.next().await;
        assert_eq!((&error["op"], &error["e"]), (&json!(-1), &json!(e)), "{error}");
        assert!(error["m"].is_string(), "{error}");
        assert_eq!(self.closed().await, close, "after {error}");
        error
    }

    /// Asserts that the node closes without sending anything else, and returns the close code.
    pub async fn closed(&mut self) -> u16 {
        match self.next_text().await {
            Ok(text) => panic!("{text} instead of Close"),
            Err(code) => code.expect("a Close frame with a code"),
        }
    }

    /// Closes from this side and returns the code that the node answers.
    pub async fn close(mut self, code: u16) -> Option<u16> {
        let frame = tungstenite::protocol::CloseFrame {
            code: code.into(),
            reason: "".into(),
        };
        within("closing", self.socket.close(Some(frame))).await.ok();
        loop {
            if let Err(code) = self.next_text().await {
                return code;
            }
        }
    }
}

/// The fields that a client has asked for.
#[derive(Debug, Clone, Copy, Default)]
struct AskedFields {
    nonce: bool,
    position: bool,
    receipt: bool,
}

impl AskedFields {
    /// Adds those that a packet of the client asks for.
    fn add(&mut self, packet: &Value) {
        self.nonce |= packet.get("n").is_some();
        let d = &packet["d"];
        self.position |= packet["t"] == "identify" && (d["positions"] == true || d.get("after").is_some());
    }
}

/// Parses a payload and asserts that it has an opcode, no unknown field, and no field that is `null`. It may have a nonce
/// or a position only if the client has asked for one, and a receipt or an attempt only if it expects
/// requests or jobs.
fn well_formed(text: &str, asked: AskedFields) -> Value {
    let payload: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let fields = payload.as_object().unwrap_or_else(|| panic!("not an object: {text}"));
    assert!(payload["op"].is_i64(), "no opcode: {text}");
    for (name, value) in fields {
        let is_known = match name.as_str() {
            "op" | "d" | "e" | "t" | "m" => true,
            "n" => asked.nonce,
            "p" => asked.position,
            "r" | "a" => asked.receipt,
            _ => false,
        };
        assert!(is_known, "{name} in {text}");
        assert!(!value.is_null(), "{name} in {text}");
    }
    payload
}
