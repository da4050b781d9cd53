//! A client of protocol version 1 on a blocking socket.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use gateway_harness::frame::{FrameKind, FrameReader};

use super::client::ClientHandshake;

/// How long the node may take for each step of connecting and identifying.
const ANSWER: Duration = Duration::from_secs(30);
/// Size of the read buffer.
const SCRATCH: usize = 262_144;

/// An identified session.
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
        session.send(&handshake.upgrade)?;
        session.upgraded()?;
        session.wait_for("\"op\":5")?;
        session.send(&handshake.identify)?;
        session.wait_for("_connect_success\"")?;
        Ok(session)
    }

    /// Sends bytes.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).context("sending to a node")
    }

    /// Sets how long [`Self::read`] waits for data.
    pub(super) fn set_read_timeout(&self, timeout: Duration) -> Result<()> {
        Ok(self.stream.set_read_timeout(Some(timeout))?)
    }

    /// Reads once and passes every payload that is now complete to `each`. Returns whether anything arrived in time.
    /// Fails if the node closes the connection.
    pub(super) fn read(&mut self, mut each: impl FnMut(&[u8])) -> Result<bool> {
        let Self {
            stream,
            frames,
            scratch,
            error,
        } = self;
        let count = match stream.read(scratch) {
            Ok(0) => bail!("the node closed the connection: {error}"),
            Ok(count) => count,
            Err(cause) if matches!(cause.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(false),
            Err(cause) => return Err(cause).context("reading from a node"),
        };
        frames.feed(&scratch[..count], |kind, payload| {
            ensure!(kind == FrameKind::Text, "the node sent Close: {error}");
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
