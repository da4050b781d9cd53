//! One client of protocol version 1 on a nonblocking socket, without a task or a buffer of its own.

use std::{
    fmt,
    io::{self, ErrorKind, Read, Write},
    net::SocketAddr,
};

use anyhow::{Context as _, Result, bail, ensure};
use mio::net::TcpStream;
use serde::Deserialize;

use super::frame::{self, FrameReader, Kind};

/// The key of every handshake and its answer, both of RFC 6455 section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// What is the same on every connection to one node.
pub(super) struct Wire {
    /// The request that becomes a WebSocket.
    pub(super) upgrade: Vec<u8>,
    /// The frame that answers Hello.
    pub(super) identify: Vec<u8>,
}

impl Wire {
    /// For clients of this type that show `key` to the node at `address`.
    pub(super) fn new(address: SocketAddr, kind: &str, key: &str) -> Self {
        let upgrade = format!(
            "GET /?v=1 HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
        );
        let identify = serde_json::json!({ "op": 1, "t": "identify", "d": { "type": kind, "key": key } });
        Self {
            upgrade: upgrade.into_bytes(),
            identify: frame::text(&identify.to_string()),
        }
    }
}

/// What a client was told.
#[derive(Debug)]
pub(super) enum Heard<'a> {
    /// It has identified, and everything that belongs to that has arrived.
    Live,
    /// A heartbeat was answered.
    Ack,
    /// A payload with an `announce`.
    Announce(&'a [u8]),
    /// The connection is over; nothing comes after it.
    Ended(Ended),
}

/// How a connection ended.
#[derive(Debug, Default, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ended {
    /// The code of the gateway's Close frame; `None` where there was none.
    pub(super) code: Option<u16>,
    /// `e` and `m` of the Error before it.
    pub(super) error: Option<(i64, String)>,
    /// What the socket said where there was no Close.
    broken: Option<ErrorKind>,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((e, m)) = &self.error {
            write!(f, "Error {e} {m:?}, ")?;
        }
        match (self.code, self.broken) {
            (Some(code), _) => write!(f, "close {code}"),
            (None, Some(kind)) => write!(f, "{kind}"),
            (None, None) => f.write_str("end of stream without close"),
        }
    }
}

/// One client.
pub(super) struct Peer {
    stream: TcpStream,
    frames: FrameReader,
    /// What the socket has not taken yet.
    unsent: Vec<u8>,
    stage: Stage,
    /// The Error that came last.
    error: Option<Box<(i64, String)>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    Connecting,
    /// What has come of the answer to the upgrade.
    Upgrading(Vec<u8>),
    /// Waits for Hello.
    Upgraded,
    Identifying,
    /// Waits for the totals that follow the welcome.
    Welcomed,
    Live,
}

#[derive(Deserialize)]
struct Payload<'a> {
    op: i64,
    #[serde(default)]
    e: i64,
    #[serde(borrow, default)]
    t: Option<&'a str>,
    #[serde(default)]
    m: Option<String>,
}

impl Peer {
    /// A client whose socket is being connected.
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            frames: FrameReader::default(),
            unsent: Vec::new(),
            stage: Stage::Connecting,
            error: None,
        }
    }

    /// The socket, to be registered.
    pub(super) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Whether it has identified.
    pub(super) fn is_live(&self) -> bool {
        self.stage == Stage::Live
    }

    /// The socket takes bytes.
    pub(super) fn writable(&mut self, wire: &Wire) -> Result<()> {
        if self.stage == Stage::Connecting {
            if let Some(error) = self.stream.take_error()? {
                return Err(error).context("connecting");
            }
            self.stream.set_nodelay(true)?;
            self.stage = Stage::Upgrading(Vec::new());
            self.send(&wire.upgrade);
        } else if !self.unsent.is_empty() {
            let unsent = std::mem::take(&mut self.unsent);
            self.send(&unsent);
        }
        Ok(())
    }

    /// Sends bytes, now or when the socket takes them. A broken socket is noticed when it is read.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        let sent = if self.unsent.is_empty() {
            self.stream.write(bytes).unwrap_or(0)
        } else {
            0
        };
        self.unsent.extend_from_slice(&bytes[sent..]);
    }

    /// Reads up to `budget` bytes, or until nothing is there. Whether the connection goes on.
    pub(super) fn read(
        &mut self,
        scratch: &mut [u8],
        mut budget: usize,
        wire: &Wire,
        hear: &mut dyn FnMut(Heard<'_>),
    ) -> Result<bool> {
        while budget > 0 {
            let room = scratch.len().min(budget);
            let broken = match self.stream.read(&mut scratch[..room]) {
                Ok(0) => None,
                Ok(count) => {
                    budget -= count;
                    if let Some(code) = self.take(&scratch[..count], wire, hear)? {
                        // The answer to the close; who does not want it any more is gone.
                        self.send(&frame::close(if code == 1005 { 1000 } else { code }));
                        hear(Heard::Ended(self.ended(Some(code), None)));
                        return Ok(false);
                    }
                    continue;
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return Ok(true),
                    ErrorKind::Interrupted => continue,
                    kind => Some(kind),
                },
            };
            hear(Heard::Ended(self.ended(None, broken)));
            return Ok(false);
        }
        Ok(true)
    }

    fn ended(&mut self, code: Option<u16>, broken: Option<io::ErrorKind>) -> Ended {
        Ended {
            code,
            error: self.error.take().map(|error| *error),
            broken,
        }
    }

    /// Takes what has arrived. Some code when it ends with a close frame.
    fn take(&mut self, bytes: &[u8], wire: &Wire, hear: &mut dyn FnMut(Heard<'_>)) -> Result<Option<u16>> {
        let Stage::Upgrading(answer) = &mut self.stage else {
            return self.take_frames(bytes, wire, hear);
        };
        answer.extend_from_slice(bytes);
        let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(None);
        };
        let is_accepted =
            answer.starts_with(b"HTTP/1.1 101 ") && answer.windows(ACCEPT.len()).any(|part| part == ACCEPT);
        ensure!(
            is_accepted,
            "the upgrade was answered: {}",
            String::from_utf8_lossy(answer)
        );
        let frames = answer.split_off(end + 4);
        self.stage = Stage::Upgraded;
        self.take_frames(&frames, wire, hear)
    }

    fn take_frames(&mut self, bytes: &[u8], wire: &Wire, hear: &mut dyn FnMut(Heard<'_>)) -> Result<Option<u16>> {
        let Self {
            frames, stage, error, ..
        } = self;
        let mut closed = None;
        let mut identifies = false;
        frames.feed(bytes, |kind, payload| {
            ensure!(closed.is_none(), "a frame after Close");
            if kind == Kind::Close {
                closed = Some(frame::close_code(payload));
                return Ok(());
            }
            ensure!(kind == Kind::Text, "a binary frame without compression");
            match payload {
                b"{\"op\":11}" => hear(Heard::Ack),
                // A long event is not parsed: that would cost its reader more than the node paid for it.
                long if long.len() > 1024 && long.starts_with(b"{\"op\":0,\"t\":\"announce\",") => {
                    hear(Heard::Announce(long));
                }
                short => {
                    let Payload { op, e, t, m } = serde_json::from_slice(short)
                        .with_context(|| format!("not a payload: {}", String::from_utf8_lossy(short)))?;
                    match (op, t, &stage) {
                        (-1, _, _) => *error = Some(Box::new((e, m.unwrap_or_default()))),
                        (5, _, Stage::Upgraded) => {
                            *stage = Stage::Identifying;
                            identifies = true;
                        }
                        (0, Some("bot_connect_success"), Stage::Identifying) => *stage = Stage::Welcomed,
                        (0, Some("GLOBAL_GUILD_COUNT"), Stage::Welcomed) => {
                            *stage = Stage::Live;
                            hear(Heard::Live);
                        }
                        (0, Some("GLOBAL_GUILD_COUNT"), Stage::Live) => {}
                        (0, Some("announce"), _) => hear(Heard::Announce(short)),
                        (11, _, _) => hear(Heard::Ack),
                        _ => bail!("unexpected while {stage:?}: {}", String::from_utf8_lossy(short)),
                    }
                }
            }
            Ok(())
        })?;
        if identifies {
            self.send(&wire.identify);
        }
        Ok(closed)
    }
}
