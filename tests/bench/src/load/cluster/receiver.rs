//! The clients that receive everything, one on each server.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{
    super::{
        blocking_session::BlockingSession,
        contest::{ClientRole, ContestTarget, Dialect},
    },
    delivery_checker::{DeliveryChecker, DeliveryErrors},
    event_protocol::EventProtocol,
    send_window::{STALL_TIMEOUT, SendProgress, SendWindow},
};

/// How long a receiver waits for data before it checks whether the run is over.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A client that receives every event, and the check of what it receives.
pub(super) struct EventReceiver {
    session: BlockingSession,
    protocol: EventProtocol,
    checker: DeliveryChecker,
}

impl EventReceiver {
    /// Connects to a node as a bot. `senders` is the number of senders in the run.
    pub(super) fn open(address: SocketAddr, key: &str, senders: usize) -> Result<Self> {
        let session = BlockingSession::open(address, "bot", key)?;
        Self::new(session, EventProtocol::Version1, senders)
    }

    /// Connects to a third-party server that speaks `dialect` and has one sender.
    pub(super) fn open_peer(target: &ContestTarget, dialect: Box<dyn Dialect>) -> Result<Self> {
        let session = BlockingSession::open_as(ClientRole::Receiver, target)?;
        Self::new(session, EventProtocol::Peer(dialect), 1)
    }

    fn new(session: BlockingSession, protocol: EventProtocol, senders: usize) -> Result<Self> {
        session.set_read_timeout(POLL_INTERVAL)?;
        Ok(Self {
            session,
            protocol,
            checker: DeliveryChecker::new(senders),
        })
    }

    /// Reads once. Returns whether anything arrived.
    fn read(&mut self) -> Result<bool> {
        let Self {
            session,
            protocol,
            checker,
        } = self;
        session.read(|payload| protocol.events(payload, |event| checker.record(event)))
    }

    /// Returns the height of each sender: one more than the highest number received from it.
    pub(super) fn heights(&self) -> Vec<u64> {
        self.checker.heights().collect()
    }

    /// Returns the delivery errors, given how many events each sender has sent.
    pub(super) fn errors(&self, sent: &[u64]) -> DeliveryErrors {
        self.checker.errors(sent)
    }

    /// Reads until everything that was sent has been received, or nothing more arrives. Returns when the last data
    /// arrived.
    pub(super) fn follow(&mut self, number: usize, window: &SendWindow) -> Result<Instant> {
        let mut last = Instant::now();
        loop {
            match self.read().with_context(|| format!("the receiver at server {number}")) {
                Ok(true) => last = Instant::now(),
                Ok(false) => {}
                Err(error) => {
                    window.set_progress(SendProgress::Failed);
                    return Err(error);
                }
            }
            match window.record(number, self.checker.heights()) {
                SendProgress::Running => {}
                SendProgress::Finished(sent) if sent != self.heights() && last.elapsed() < STALL_TIMEOUT => {}
                SendProgress::Finished(_) | SendProgress::Failed => return Ok(last),
            }
        }
    }

    /// Reads until the height of one sender has reached `height`.
    pub(super) fn wait_for(&mut self, sender: usize, height: u64) -> Result<()> {
        let deadline = Instant::now() + STALL_TIMEOUT;
        while self.checker.height(sender) < height {
            self.read()?;
            ensure!(
                Instant::now() < deadline,
                "event {height} of sender {sender} has not been received"
            );
        }
        Ok(())
    }
}
