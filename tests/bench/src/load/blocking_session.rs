//! A client on a blocking socket, of a node or of another server.

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use gateway_harness::frame::{FrameKind, FrameReader};

use super::{
    client::ClientHandshake,
    contest::{ClientRole, ContestTarget, HandshakeStep},
};

/// How long the server may take for each step of connecting and identifying.
const ANSWER: Duration = Duration::from_secs(30);
/// Size of the read buffer.
const SCRATCH: usize = 262_144;

/// A session whose handshake is complete.
pub(super) struct BlockingSession {
    stream: TcpStream,
    frames: FrameReader,
    scratch: Vec<u8>,
    /// The last Error packet.
    error: String,
}

impl BlockingSession {
    /// Connects to the node at `address` and identifies as a client of type `kind`.
    pub(super) fn open(address: SocketAddr, kind: &str, key: &str) -> Result<Self> {
        let handshake = ClientHandshake::new(address, kind, key);
        let mut session = Self::connect(address, &handshake.upgrade)?;
        session.wait_for("\"op\":5")?;
        session.send(&handshake.identify)?;
        session.wait_for("_connect_success\"")?;
        Ok(session)
    }

    /// Connects to a server and completes the handshake of its protocol.
    pub(super) fn open_as(role: ClientRole, target: &ContestTarget) -> Result<Self> {
        let mut session = Self::connect(target.address, &target.upgrade(role))?;
        let mut step = target.dialect.begin(role);
        let mut payloads = VecDeque::new();
        loop {
            match step {
                HandshakeStep::Wait => {}
                HandshakeStep::Send(bytes) => session.send(&bytes)?,
                HandshakeStep::Ready => return Ok(session),
            }
            while payloads.is_empty() {
                let has_come = session.read(|payload| payloads.push_back(payload.to_vec()))?;
                ensure!(has_come, "the handshake is incomplete after {ANSWER:?}");
            }
            let payload = payloads.pop_front().unwrap_or_default();
            step = target.dialect.on_handshake(role, &payload);
        }
    }

    /// Connects to the server at `address` and upgrades the connection.
    fn connect(address: SocketAddr, upgrade: &[u8]) -> Result<Self> {
        let stream = TcpStream::connect(address).context("connecting")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_write_timeout(Some(ANSWER))?;
        let mut session = Self {
            stream,
            frames: FrameReader::default(),
            scratch: vec![0; SCRATCH],
            error: String::new(),
        };
        session.send(upgrade)?;
        session.upgraded()?;
        Ok(session)
    }

    /// Sends bytes.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).context("sending to a server")
    }

    /// Discards what has arrived, without waiting for more.
    pub(super) fn discard(&mut self) -> Result<()> {
        self.stream.set_nonblocking(true)?;
        while self.read(|_| {})? {}
        Ok(self.stream.set_nonblocking(false)?)
    }

    /// Sets how long [`Self::read`] waits for data.
    pub(super) fn set_read_timeout(&self, timeout: Duration) -> Result<()> {
        Ok(self.stream.set_read_timeout(Some(timeout))?)
    }

    /// Reads once and passes every payload that is now complete to `each`. Returns whether anything arrived in time.
    /// Fails if the server closes the connection.
    pub(super) fn read(&mut self, mut each: impl FnMut(&[u8])) -> Result<bool> {
        let Self {
            stream,
            frames,
            scratch,
            error,
        } = self;
        let count = match stream.read(scratch) {
            Ok(0) => bail!("the server closed the connection: {error}"),
            Ok(count) => count,
            Err(cause) if matches!(cause.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(false),
            Err(cause) => return Err(cause).context("reading from a server"),
        };
        frames.feed(&scratch[..count], |kind, payload| {
            ensure!(kind == FrameKind::Text, "the server sent Close: {error}");
            if payload.starts_with(b"{\"op\":-1,") {
                *error = String::from_utf8_lossy(payload).into_owned();
            } else {
                each(payload);
            }
            Ok(())
        })?;
        Ok(true)
    }

    /// Reads the response to the upgrade, byte by byte so as not to read beyond it.
    fn upgraded(&mut self) -> Result<()> {
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).context("waiting for the upgrade")?;
            answer.extend(byte);
        }
        ensure!(
            answer.starts_with(b"HTTP/1.1 101 "),
            "unexpected response to the upgrade: {}",
            String::from_utf8_lossy(&answer)
        );
        Ok(())
    }

    fn wait_for(&mut self, what: &str) -> Result<()> {
        let mut has_come = false;
        while !has_come {
            let is_there = self.read(|payload| has_come |= String::from_utf8_lossy(payload).contains(what))?;
            ensure!(is_there, "no {what} within {ANSWER:?}: {}", self.error);
        }
        Ok(())
    }
}
