//! A bot that connects, takes its id and disconnects, again and again.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use fastrand::Rng;
use gateway_harness::{
    frame::{self, FrameKind, FrameReader},
    key,
};
use serde::Deserialize;
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    nodes::IdEndpoint,
    plan::{ACCEPT_TIME, SharedIdLedger},
};

/// The longest time it waits after a failure before it tries again.
const PAUSE: Duration = Duration::from_millis(100);

/// A client that requests ids.
#[derive(Debug)]
pub(super) struct IdClient {
    /// The node that it connects to first, and again after each success.
    pub(super) home: usize,
    /// The local address that it connects from.
    pub(super) source: Ipv4Addr,
    pub(super) rng: Rng,
}

/// The WebSocket frames and the request that every connection begins with, encoded once for all of them.
#[derive(Debug)]
pub(super) struct HandshakeBytes {
    upgrade: &'static [u8],
    identify: Vec<u8>,
}

impl HandshakeBytes {
    pub(super) fn new() -> Self {
        let d = serde_json::json!({ "type": "bot", "key": key("bot") });
        let identify = serde_json::json!({ "op": 1, "t": "identify", "d": d });
        Self {
            // The key is the one of RFC 6455 section 1.3.
            upgrade: b"GET /?v=1 HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            identify: frame::text(&identify.to_string()),
        }
    }
}

/// The id that a node assigned, and the node's name.
#[derive(Debug)]
struct AssignedId {
    id: u64,
    node: String,
}

/// Why a connection brought no id. Equal reasons have equal texts, so that they can be counted.
type RefusalReason = String;

#[derive(Deserialize)]
struct WelcomePayload {
    #[serde(default)]
    t: Option<String>,
    #[serde(default)]
    d: WelcomeData,
}

#[derive(Default, Deserialize)]
struct WelcomeData {
    #[serde(default)]
    id: String,
    #[serde(default)]
    node: String,
}

impl IdClient {
    /// Requests ids until the future is dropped.
    pub(super) async fn run(
        mut self,
        handshake: Arc<HandshakeBytes>,
        endpoints: watch::Receiver<Vec<Option<IdEndpoint>>>,
        ledger: SharedIdLedger,
    ) {
        let mut is_home = true;
        loop {
            let endpoint = self.endpoint(&endpoints, is_home);
            let Some((index, endpoint)) = endpoint else {
                is_home = false;
                sleep(PAUSE.mul_f64(self.rng.f64())).await;
                continue;
            };
            let result = timeout(ACCEPT_TIME, request_id(endpoint.address, self.source, &handshake)).await;
            match result.unwrap_or_else(|_| Err("no answer in time".to_owned())) {
                Ok(AssignedId { id, node }) => {
                    assert_eq!(node, format!("node-{index}"), "the name of node {index}");
                    ledger.add_id(id, index, endpoint.run);
                    is_home = true;
                }
                Err(why) => {
                    ledger.add_refusal(why);
                    is_home = false;
                    sleep(PAUSE.mul_f64(self.rng.f64())).await;
                }
            }
        }
    }

    fn endpoint(
        &mut self,
        endpoints: &watch::Receiver<Vec<Option<IdEndpoint>>>,
        is_home: bool,
    ) -> Option<(usize, IdEndpoint)> {
        let endpoints = endpoints.borrow();
        let index = if is_home {
            self.home
        } else {
            self.rng.usize(..endpoints.len())
        };
        endpoints[index].map(|endpoint| (index, endpoint))
    }
}

/// Requests an id on a new connection, which is reset at its end so that no socket stays behind in the system.
async fn request_id(
    address: SocketAddr,
    source: Ipv4Addr,
    handshake: &HandshakeBytes,
) -> Result<AssignedId, RefusalReason> {
    let socket = TcpSocket::new_v4().map_err(|error| format!("no socket: {}", error.kind()))?;
    socket
        .bind((source, 0).into())
        .map_err(|error| format!("no port: {}", error.kind()))?;
    let stream = socket.connect(address).await;
    let mut stream = stream.map_err(|error| format!("connecting: {}", error.kind()))?;
    let socket = SockRef::from(&stream);
    let prepared = socket
        .set_linger(Some(Duration::ZERO))
        .and_then(|()| socket.set_tcp_nodelay(true));
    prepared.expect("the socket options can be set");
    identified(&mut stream, handshake).await
}

async fn identified(stream: &mut TcpStream, handshake: &HandshakeBytes) -> Result<AssignedId, RefusalReason> {
    let broken = |error: std::io::Error| format!("broken: {}", error.kind());
    stream.write_all(handshake.upgrade).await.map_err(broken)?;
    let mut buffer = Vec::with_capacity(1024);
    let end = loop {
        if stream.read_buf(&mut buffer).await.map_err(broken)? == 0 {
            return Err("broken: no answer to the upgrade".to_owned());
        }
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
    };
    if !buffer.starts_with(b"HTTP/1.1 101 ") {
        let status = buffer.get(9..12).unwrap_or_default();
        return Err(format!("HTTP {}", String::from_utf8_lossy(status)));
    }
    let mut frames = FrameReader::default();
    let mut arrived = buffer.split_off(end);
    let mut has_identified = false;
    loop {
        let (mut payloads, mut closed) = (0, None);
        let mut welcome = None;
        let fed = frames.feed(&arrived, |kind, payload| {
            if kind == FrameKind::Close {
                closed = Some(frame::close_code(payload));
                return Ok(());
            }
            payloads += 1;
            let WelcomePayload { t, d } = serde_json::from_slice(payload)?;
            if t.as_deref() == Some("bot_connect_success") {
                let id = d.id.parse()?;
                welcome = Some(AssignedId { id, node: d.node });
            }
            Ok(())
        });
        fed.expect("a node sends whole frames of JSON");
        if let Some(welcome) = welcome {
            return Ok(welcome);
        }
        if let Some(code) = closed {
            return Err(format!("close {code}"));
        }
        // The first payload is Hello.
        if payloads > 0 && !has_identified {
            has_identified = true;
            stream.write_all(&handshake.identify).await.map_err(broken)?;
        }
        arrived.clear();
        if stream.read_buf(&mut arrived).await.map_err(broken)? == 0 {
            return Err("broken: no welcome".to_owned());
        }
    }
}
