//! The clients of one contestant: one thread, one `epoll` loop, one read buffer, and no allocation per delivery.
//!
//! Receiving must be much cheaper than sending, or the clients become the bottleneck. So a client only finds the
//! frame and reads its timestamp.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use gateway_harness::frame::{FrameKind, FrameReader};
use mio::{Events, Interest, Poll, Token, net::TcpStream};

use super::{
    super::{announcement::Announcement, latencies::Latencies, source},
    ContestTarget,
    contestant::{STEP_TIMEOUT, UPGRADE_ACCEPT},
    dialect::{ClientRole, Dialect, HandshakeStep},
};

/// Simultaneous connection attempts: fewer than any server's backlog.
const IN_FLIGHT: usize = 128;
/// With an opaque dialect, one in `READERS` clients decodes what it receives.
const READERS: usize = 64;
/// How long the loop waits for socket events.
const IDLE: Duration = Duration::from_millis(20);

/// What the clients received since the last [`ClientPool::take`].
#[derive(Debug, Default)]
pub(in super::super) struct PoolStats {
    /// Events received.
    pub(in super::super) deliveries: u64,
    /// Events received out of order or twice.
    pub(in super::super) disordered: u64,
    /// From an event's timestamp to its receipt.
    pub(in super::super) latencies: Latencies,
    /// Heartbeats answered.
    pub(in super::super) answers: u64,
    /// Reads of sockets that returned data.
    pub(in super::super) reads: u64,
}

/// The clients: first the receivers, then one sender.
pub(in super::super) struct ClientPool<'a> {
    target: &'a ContestTarget,
    /// Where the next client connects.
    address: SocketAddr,
    poll: Poll,
    events: Events,
    scratch: Vec<u8>,
    clients: Vec<PoolClient>,
    ready: usize,
    measurements: Measurements,
}

/// What all clients share while they read.
struct Measurements {
    origin: Instant,
    stats: PoolStats,
}

struct PoolClient {
    stream: TcpStream,
    role: ClientRole,
    state: PoolClientState,
    frames: FrameReader,
    /// Bytes that the socket has not accepted yet.
    unsent: Vec<u8>,
    /// The expected number of the next event.
    next: u32,
    reads: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum PoolClientState {
    Connecting,
    Upgrading(Vec<u8>),
    Greeting,
    Ready,
}

impl<'a> ClientPool<'a> {
    /// Creates an empty pool for up to `clients` clients.
    pub(in super::super) fn new(target: &'a ContestTarget, clients: u32) -> Result<Self> {
        source::raise_descriptor_limit(clients)?;
        Ok(Self {
            target,
            address: target.address,
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            scratch: vec![0; 262_144],
            clients: Vec::new(),
            ready: 0,
            measurements: Measurements {
                origin: Instant::now(),
                stats: PoolStats::default(),
            },
        })
    }

    /// Makes the clients that join from now on connect to another server, which speaks the same protocol.
    pub(in super::super) fn set_address(&mut self, address: SocketAddr) {
        self.address = address;
    }

    /// Connects `count` more clients and waits until each has completed its handshake.
    pub(in super::super) fn join(&mut self, count: u32, role: ClientRole) -> Result<()> {
        let goal = self.clients.len() + count as usize;
        let deadline = Instant::now() + STEP_TIMEOUT;
        while self.ready < goal {
            while self.clients.len() < goal && self.clients.len() - self.ready < IN_FLIGHT {
                self.open(role)?;
            }
            self.turn(IDLE)?;
            ensure!(
                Instant::now() < deadline,
                "only {} of {goal} clients have completed their handshake",
                self.ready
            );
        }
        Ok(())
    }

    fn open(&mut self, role: ClientRole) -> Result<()> {
        let number = self.clients.len();
        let mut stream = source::connect(number, self.address, None)?;
        let interests = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(number), interests)?;
        self.clients.push(PoolClient {
            stream,
            role,
            state: PoolClientState::Connecting,
            frames: FrameReader::default(),
            unsent: Vec::new(),
            next: 1,
            reads: role == ClientRole::Receiver && (!self.target.dialect.is_opaque() || number.is_multiple_of(READERS)),
        });
        Ok(())
    }

    /// Makes the sender publish the events `numbers`, of `bytes` bytes of data each, in one write.
    pub(in super::super) fn publish(&mut self, numbers: std::ops::Range<u32>, bytes: usize) -> Result<()> {
        let sent_us = u64::try_from(self.measurements.origin.elapsed().as_micros())?;
        let mut frames = Vec::new();
        for number in numbers {
            let data = Announcement { number, sent_us }.data(bytes);
            frames.extend(self.target.dialect.publish(&data));
        }
        let sender = self.clients.iter_mut().find(|client| client.role == ClientRole::Sender);
        sender.context("there is no sender")?.send(&frames)
    }

    /// Sends the heartbeat `beat` from client `number`.
    pub(in super::super) fn beat(&mut self, number: usize, beat: &[u8]) -> Result<()> {
        self.clients[number].send(beat)
    }

    /// Returns the contestant's heartbeat message, if its protocol has one.
    pub(in super::super) fn beat_bytes(&self) -> Option<Vec<u8>> {
        self.target.dialect.beat()
    }

    /// Runs the loop until `is_done`. Returns `false` if that takes too long.
    pub(in super::super) fn turn_until(&mut self, is_done: impl Fn(&PoolStats) -> bool) -> Result<bool> {
        let deadline = Instant::now() + STEP_TIMEOUT;
        while !is_done(&self.measurements.stats) {
            if Instant::now() >= deadline {
                return Ok(false);
            }
            self.turn(IDLE)?;
        }
        Ok(true)
    }

    /// Returns what was received since the last call.
    pub(in super::super) fn take(&mut self) -> PoolStats {
        std::mem::take(&mut self.measurements.stats)
    }

    /// Waits for socket events for up to `timeout` and handles them.
    pub(in super::super) fn turn(&mut self, timeout: Duration) -> Result<()> {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        for event in &self.events {
            let number = event.token().0;
            let client = &mut self.clients[number];
            let was_ready = client.state == PoolClientState::Ready;
            let handled = client.turn(
                event,
                &mut self.scratch,
                &*self.target.dialect,
                self.target,
                &mut self.measurements,
            );
            handled.with_context(|| format!("client {number}"))?;
            self.ready += usize::from(!was_ready && client.state == PoolClientState::Ready);
        }
        Ok(())
    }
}

impl PoolClient {
    fn turn(
        &mut self,
        event: &mio::event::Event,
        scratch: &mut [u8],
        dialect: &dyn Dialect,
        target: &ContestTarget,
        measurements: &mut Measurements,
    ) -> Result<()> {
        if event.is_writable() {
            if self.state == PoolClientState::Connecting {
                if let Some(error) = self.stream.take_error()? {
                    return Err(error).context("connecting");
                }
                self.stream.set_nodelay(true)?;
                self.state = PoolClientState::Upgrading(Vec::new());
                self.send(&target.upgrade(self.role))?;
            } else if !self.unsent.is_empty() {
                let unsent = std::mem::take(&mut self.unsent);
                self.send(&unsent)?;
            }
        }
        if !event.is_readable() {
            return Ok(());
        }
        loop {
            match self.stream.read(scratch) {
                Ok(0) => bail!("the server closed the connection in state {:?}", self.state),
                Ok(count) => {
                    measurements.stats.reads += 1;
                    self.take(&scratch[..count], dialect, measurements)?;
                    // A short read has emptied the socket; more data causes another event.
                    if count < scratch.len() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let mut sent = 0;
        if self.unsent.is_empty() {
            sent = match self.stream.write(bytes) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error.into()),
            };
        }
        self.unsent.extend_from_slice(&bytes[sent..]);
        Ok(())
    }

    fn take(&mut self, bytes: &[u8], dialect: &dyn Dialect, measurements: &mut Measurements) -> Result<()> {
        let PoolClientState::Upgrading(answer) = &mut self.state else {
            return self.take_frames(bytes, dialect, measurements);
        };
        answer.extend_from_slice(bytes);
        let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(());
        };
        let is_accepted = answer.starts_with(b"HTTP/1.1 101")
            && answer.windows(UPGRADE_ACCEPT.len()).any(|part| part == UPGRADE_ACCEPT);
        ensure!(
            is_accepted,
            "unexpected response to the upgrade: {}",
            String::from_utf8_lossy(answer)
        );
        let frames = answer.split_off(end + 4);
        self.state = PoolClientState::Greeting;
        self.step(dialect.begin(self.role))?;
        self.take_frames(&frames, dialect, measurements)
    }

    fn step(&mut self, step: HandshakeStep) -> Result<()> {
        match step {
            HandshakeStep::Wait => {}
            HandshakeStep::Send(bytes) => self.send(&bytes)?,
            HandshakeStep::Ready => self.state = PoolClientState::Ready,
        }
        Ok(())
    }

    fn take_frames(&mut self, bytes: &[u8], dialect: &dyn Dialect, measurements: &mut Measurements) -> Result<()> {
        let mut frames = std::mem::take(&mut self.frames);
        frames.feed(bytes, |kind, payload| {
            ensure!(
                kind != FrameKind::Close,
                "the server sent Close: {}",
                String::from_utf8_lossy(payload)
            );
            if self.state != PoolClientState::Ready {
                return self.step(dialect.on_handshake(self.role, payload));
            }
            if dialect.is_answer(payload) {
                measurements.stats.answers += 1;
            } else if self.reads {
                dialect.announcements(payload, &mut |event| self.record(event, measurements));
            } else if self.role == ClientRole::Receiver {
                measurements.stats.deliveries += 1;
            }
            Ok(())
        })?;
        self.frames = frames;
        Ok(())
    }

    fn record(&mut self, event: Announcement, measurements: &mut Measurements) {
        let Measurements { origin, stats } = measurements;
        stats.deliveries += 1;
        stats.disordered += u64::from(event.number != self.next);
        self.next = event.number + 1;
        let sent = Duration::from_micros(event.sent_us);
        stats.latencies.add(origin.elapsed().saturating_sub(sent));
    }
}
