//! A bot that connects, takes its id and is gone, again and again.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use fastrand::Rng;
use gateway_harness::{
    frame::{self, FrameReader, Kind},
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
    nodes::Door,
    world::{Book, LET_IN},
};

/// How long it waits, at most, before it tries again after a refusal.
const PAUSE: Duration = Duration::from_millis(100);

/// Somebody who wants ids.
#[derive(Debug)]
pub(super) struct Visitor {
    /// The node that it goes to first.
    pub(super) home: usize,
    /// Where it comes from.
    pub(super) source: Ipv4Addr,
    pub(super) rng: Rng,
}

/// What every visit says.
#[derive(Debug)]
pub(super) struct Lines {
    upgrade: &'static [u8],
    identify: Vec<u8>,
}

impl Lines {
    pub(super) fn new() -> Self {
        let d = serde_json::json!({ "type": "bot", "key": key("bot") });
        let identify = serde_json::json!({ "op": 1, "t": "identify", "d": d });
        Self {
            // The key is that of RFC 6455 section 1.3.
            upgrade: b"GET /?v=1 HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            identify: frame::text(&identify.to_string()),
        }
    }
}

/// What a node tells a bot that it has let in.
#[derive(Debug)]
struct Welcome {
    id: u64,
    node: String,
}

/// Why there is no id, in words that are the same for the same reason.
type Refusal = String;

#[derive(Deserialize)]
struct Payload {
    #[serde(default)]
    t: Option<String>,
    #[serde(default)]
    d: Words,
}

#[derive(Default, Deserialize)]
struct Words {
    #[serde(default)]
    id: String,
    #[serde(default)]
    node: String,
}

impl Visitor {
    /// Visits for as long as it is polled.
    pub(super) async fn live(mut self, lines: Arc<Lines>, doors: watch::Receiver<Vec<Option<Door>>>, book: Book) {
        let mut is_home = true;
        loop {
            let door = self.door(&doors, is_home);
            let Some((index, door)) = door else {
                is_home = false;
                sleep(PAUSE.mul_f64(self.rng.f64())).await;
                continue;
            };
            let visit = timeout(LET_IN, visit(door.address, self.source, &lines)).await;
            match visit.unwrap_or_else(|_| Err("no answer in time".to_owned())) {
                Ok(Welcome { id, node }) => {
                    assert_eq!(node, format!("node-{index}"), "the name of node {index}");
                    book.told(id, index, door.life);
                    is_home = true;
                }
                Err(why) => {
                    book.refused(why);
                    is_home = false;
                    sleep(PAUSE.mul_f64(self.rng.f64())).await;
                }
            }
        }
    }

    fn door(&mut self, doors: &watch::Receiver<Vec<Option<Door>>>, is_home: bool) -> Option<(usize, Door)> {
        let doors = doors.borrow();
        let index = if is_home {
            self.home
        } else {
            self.rng.usize(..doors.len())
        };
        doors[index].map(|door| (index, door))
    }
}

/// One connection, which is reset at its end: nothing of it is left in the system.
async fn visit(address: SocketAddr, source: Ipv4Addr, lines: &Lines) -> Result<Welcome, Refusal> {
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
    prepared.expect("a socket takes its options");
    identified(&mut stream, lines).await
}

async fn identified(stream: &mut TcpStream, lines: &Lines) -> Result<Welcome, Refusal> {
    let broken = |error: std::io::Error| format!("broken: {}", error.kind());
    stream.write_all(lines.upgrade).await.map_err(broken)?;
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
            if kind == Kind::Close {
                closed = Some(frame::close_code(payload));
                return Ok(());
            }
            payloads += 1;
            let Payload { t, d } = serde_json::from_slice(payload)?;
            if t.as_deref() == Some("bot_connect_success") {
                let id = d.id.parse()?;
                welcome = Some(Welcome { id, node: d.node });
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
        // The first payload is hello.
        if payloads > 0 && !has_identified {
            has_identified = true;
            stream.write_all(&lines.identify).await.map_err(broken)?;
        }
        arrived.clear();
        if stream.read_buf(&mut arrived).await.map_err(broken)? == 0 {
            return Err("broken: no welcome".to_owned());
        }
    }
}
