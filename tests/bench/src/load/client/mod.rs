//! A client on a nonblocking socket, without a task or a read buffer of its own.
//!
//! This module has the socket and the WebSocket handshake; each protocol has a file of its own.

mod discord;
mod v1;

use std::{
    fmt,
    io::{self, ErrorKind, Read, Write},
    net::SocketAddr,
};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use gateway_harness::frame::{self, FrameKind, FrameReader};
use mio::net::TcpStream;
use serde::Serialize;

pub(super) use self::discord::ResumePoint;

/// The key of every handshake and its answer, both from RFC 6455 section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The protocol of the clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LoadProtocol {
    /// Utilbot protocol version 1.
    V1,
    /// Discord protocol version 10.
    Discord,
}

/// What all connections to one node send: the upgrade request and Identify.
pub(super) struct ClientHandshake {
    protocol: LoadProtocol,
    /// The upgrade request.
    pub(super) upgrade: Vec<u8>,
    /// The frame that answers Hello.
    pub(super) identify: Vec<u8>,
    key: String,
}

impl ClientHandshake {
    /// Creates the handshake of version 1 clients of type `kind` that identify with `key`.
    pub(super) fn new(address: SocketAddr, kind: &str, key: &str) -> Self {
        Self {
            protocol: LoadProtocol::V1,
            upgrade: upgrade(address, "/?v=1"),
            identify: frame::text(&v1::identify(kind, key)),
            key: key.to_owned(),
        }
    }

    /// Creates the handshake of bots that speak `protocol`.
    pub(super) fn of(protocol: LoadProtocol, address: SocketAddr, key: &str) -> Self {
        match protocol {
            LoadProtocol::V1 => Self::new(address, "bot", key),
            LoadProtocol::Discord => Self {
                protocol,
                upgrade: upgrade(address, "/?v=10&encoding=json"),
                identify: frame::text(&discord::identify(key)),
                key: key.to_owned(),
            },
        }
    }
}

fn upgrade(address: SocketAddr, target: &str) -> Vec<u8> {
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    );
    request.into_bytes()
}

/// What happened to a client.
#[derive(Debug)]
pub(super) enum LoadClientEvent<'a> {
    /// It has identified and has received everything that belongs to that.
    Live,
    /// A heartbeat was acknowledged.
    Ack,
    /// A payload with an `announce` event.
    Announce(&'a [u8]),
    /// The connection has ended. This is the last event.
    Ended(Ended),
}

/// How a connection ended.
#[derive(Debug, Default, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ended {
    /// Code of the node's Close frame, if there was one.
    pub(super) code: Option<u16>,
    /// `e` and `m` of the Error packet before it.
    pub(super) error: Option<(i64, String)>,
    /// The socket error, if the connection ended without a Close frame.
    broken: Option<ErrorKind>,
    /// What the session can be resumed with, if the protocol allows it.
    pub(super) resume_point: Option<ResumePoint>,
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

/// A client.
pub(super) struct LoadClient {
    stream: TcpStream,
    frames: FrameReader,
    /// Bytes that the socket has not accepted yet.
    unsent: Vec<u8>,
    state: LoadClientState,
    /// The last Error packet.
    error: Option<Box<(i64, String)>>,
    /// The Discord session. Before Hello: the session to resume.
    session: Option<Box<ResumePoint>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum LoadClientState {
    Connecting,
    /// Waits for the rest of the response to the upgrade, of which it has these bytes.
    Upgrading(Vec<u8>),
    /// Waits for Hello.
    Upgraded,
    Identifying,
    /// Waits for the guild count that follows `bot_connect_success`.
    Welcomed,
    Live,
}

impl LoadClient {
    /// Creates a client whose socket is connecting.
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            frames: FrameReader::default(),
            unsent: Vec::new(),
            state: LoadClientState::Connecting,
            error: None,
            session: None,
        }
    }

    /// Creates a client that resumes a session.
    pub(super) fn resuming(stream: TcpStream, resume_point: ResumePoint) -> Self {
        Self {
            session: Some(Box::new(resume_point)),
            ..Self::new(stream)
        }
    }

    /// Returns the socket, for registration with a poll.
    pub(super) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Returns whether the client has identified.
    pub(super) fn is_live(&self) -> bool {
        self.state == LoadClientState::Live
    }

    /// Continues after the socket has become writable.
    pub(super) fn writable(&mut self, handshake: &ClientHandshake) -> Result<()> {
        if self.state == LoadClientState::Connecting {
            if let Some(error) = self.stream.take_error()? {
                return Err(error).context("connecting");
            }
            self.stream.set_nodelay(true)?;
            self.state = LoadClientState::Upgrading(Vec::new());
            self.send(&handshake.upgrade);
        } else if !self.unsent.is_empty() {
            let unsent = std::mem::take(&mut self.unsent);
            self.send(&unsent);
        }
        Ok(())
    }

    /// Sends `bytes` now, or as soon as the socket accepts them. A broken socket is noticed on the next read.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        let sent = if self.unsent.is_empty() {
            self.stream.write(bytes).unwrap_or(0)
        } else {
            0
        };
        self.unsent.extend_from_slice(&bytes[sent..]);
    }

    /// Reads up to `budget` bytes, or all that is available. Returns `false` when the connection has ended.
    pub(super) fn read(
        &mut self,
        scratch: &mut [u8],
        mut budget: usize,
        handshake: &ClientHandshake,
        on_event: &mut dyn FnMut(LoadClientEvent<'_>),
    ) -> Result<bool> {
        while budget > 0 {
            let room = scratch.len().min(budget);
            let broken = match self.stream.read(&mut scratch[..room]) {
                Ok(0) => None,
                Ok(count) => {
                    budget -= count;
                    if let Some(code) = self.take(&scratch[..count], handshake, on_event)? {
                        // Echoes the close code. If that fails, the connection is gone anyway.
                        self.send(&frame::close(if code == 1005 { 1000 } else { code }));
                        on_event(LoadClientEvent::Ended(self.ended(Some(code), None)));
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
            on_event(LoadClientEvent::Ended(self.ended(None, broken)));
            return Ok(false);
        }
        Ok(true)
    }

    fn ended(&mut self, code: Option<u16>, broken: Option<io::ErrorKind>) -> Ended {
        Ended {
            code,
            error: self.error.take().map(|error| *error),
            broken,
            resume_point: self.session.take().map(|resume_point| *resume_point),
        }
    }

    /// Handles received bytes. Returns the close code once there is a Close frame.
    fn take(
        &mut self,
        bytes: &[u8],
        handshake: &ClientHandshake,
        on_event: &mut dyn FnMut(LoadClientEvent<'_>),
    ) -> Result<Option<u16>> {
        let LoadClientState::Upgrading(answer) = &mut self.state else {
            return self.take_frames(bytes, handshake, on_event);
        };
        answer.extend_from_slice(bytes);
        let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(None);
        };
        let is_accepted =
            answer.starts_with(b"HTTP/1.1 101 ") && answer.windows(ACCEPT.len()).any(|part| part == ACCEPT);
        ensure!(
            is_accepted,
            "unexpected response to the upgrade: {}",
            String::from_utf8_lossy(answer)
        );
        let frames = answer.split_off(end + 4);
        self.state = LoadClientState::Upgraded;
        self.take_frames(&frames, handshake, on_event)
    }

    fn take_frames(
        &mut self,
        bytes: &[u8],
        handshake: &ClientHandshake,
        on_event: &mut dyn FnMut(LoadClientEvent<'_>),
    ) -> Result<Option<u16>> {
        let Self {
            frames,
            state,
            error,
            session,
            ..
        } = self;
        let mut closed = None;
        let mut is_greeted = false;
        frames.feed(bytes, |kind, payload| {
            ensure!(closed.is_none(), "a frame after Close");
            if kind == FrameKind::Close {
                closed = Some(frame::close_code(payload));
                return Ok(());
            }
            ensure!(
                kind == FrameKind::Text,
                "a binary frame on a connection without compression"
            );
            is_greeted |= match handshake.protocol {
                LoadProtocol::V1 => v1::take(payload, state, error, on_event)?,
                LoadProtocol::Discord => discord::take(payload, state, error, session, on_event)?,
            };
            Ok(())
        })?;
        if is_greeted {
            match &self.session {
                Some(resume_point) => self.send(&frame::text(&discord::resume(&handshake.key, resume_point))),
                None => self.send(&handshake.identify),
            }
        }
        Ok(closed)
    }
}
