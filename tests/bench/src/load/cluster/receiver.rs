//! The bots that receive everything, one on every node.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{
    board::{Board, End, STUCK},
    event::Event,
    ledger::{Faults, Ledger},
    session::Session,
};

/// How long a receiver waits before it looks whether all is over.
const LOOK: Duration = Duration::from_millis(50);

/// A bot, and what it has had.
pub(super) struct Receiver {
    session: Session,
    ledger: Ledger,
}

impl Receiver {
    /// Connects to a node. There are so many senders.
    pub(super) fn open(address: SocketAddr, key: &str, senders: usize) -> Result<Self> {
        let session = Session::open(address, "bot", key)?;
        session.set_patience(LOOK)?;
        Ok(Self {
            session,
            ledger: Ledger::new(senders),
        })
    }

    /// Reads once; whether something came.
    fn read(&mut self) -> Result<bool> {
        let Self { session, ledger } = self;
        session.read(|payload| {
            if let Some(event) = Event::read(payload) {
                ledger.note(event);
            }
        })
    }

    /// What it has had of each sender, as one more than the highest number.
    pub(super) fn heights(&self) -> Vec<u64> {
        self.ledger.heights().collect()
    }

    /// What went wrong, when the senders have sent so many each.
    pub(super) fn faults(&self, sent: &[u64]) -> Faults {
        self.ledger.faults(sent)
    }

    /// Reads until it has had everything that the senders have sent, or waits in vain for it. When the last event came.
    pub(super) fn follow(&mut self, number: usize, board: &Board) -> Result<Instant> {
        let mut last = Instant::now();
        loop {
            match self.read().with_context(|| format!("the receiver at node {number}")) {
                Ok(true) => last = Instant::now(),
                Ok(false) => {}
                Err(error) => {
                    board.set_end(End::Failed);
                    return Err(error);
                }
            }
            match board.note(number, self.ledger.heights()) {
                End::Open => {}
                End::After(sent) if sent != self.heights() && last.elapsed() < STUCK => {}
                End::After(_) | End::Failed => return Ok(last),
            }
        }
    }

    /// Reads until it has had so many events of one sender.
    pub(super) fn wait_for(&mut self, sender: usize, height: u64) -> Result<()> {
        let deadline = Instant::now() + STUCK;
        while self.ledger.height(sender) < height {
            self.read()?;
            ensure!(
                Instant::now() < deadline,
                "event {height} of sender {sender} has not come"
            );
        }
        Ok(())
    }
}
