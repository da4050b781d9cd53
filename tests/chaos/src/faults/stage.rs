//! What everybody in a run knows of the others.

use std::net::SocketAddr;

use fastrand::Rng;
use tokio::sync::watch;

use super::book::{Book, Life};
use crate::checker::Kind;

/// What everybody does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// They connect.
    Gathering,
    /// They send, and some drop their connections.
    Sending,
    /// They send, and nobody leaves who is there.
    Returning,
    /// They only listen.
    Settling,
}

/// Where a node listens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Door {
    pub(super) address: SocketAddr,
    pub(super) life: Life,
}

/// What a member or a publisher is given.
#[derive(Debug, Clone)]
pub(super) struct Stage {
    pub(super) book: Book,
    pub(super) phase: watch::Receiver<Phase>,
    /// Where each node listens; `None` while it is known to be away.
    pub(super) doors: watch::Receiver<Vec<Option<Door>>>,
    /// Whether bots may connect now.
    pub(super) bots_may_come: watch::Receiver<bool>,
    /// Goes up when nobody knows any more whether what was reported is still in force.
    pub(super) reports: watch::Receiver<u64>,
}

impl Stage {
    /// The door of `node`, or of another one if that is away; `None` if all are.
    pub(super) fn door(&self, node: usize, rng: &mut Rng) -> Option<Door> {
        let doors = self.doors.borrow();
        let open: Vec<Door> = doors.iter().copied().flatten().collect();
        doors[node % doors.len()].or_else(|| rng.choice(open))
    }

    /// A door at random.
    pub(super) fn any_door(&self, rng: &mut Rng) -> Option<Door> {
        let open: Vec<Door> = self.doors.borrow().iter().copied().flatten().collect();
        rng.choice(open)
    }

    /// Waits until clients of this type may connect.
    pub(super) async fn admits(&mut self, kind: Kind) {
        if kind == Kind::Bot {
            // An error says that the run is over, and so is everybody in it.
            let _ = self.bots_may_come.wait_for(|may| *may).await;
        }
    }

    /// Whether events are to be sent now.
    pub(super) fn is_sending(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::Sending | Phase::Returning)
    }

    /// Whether connections may be dropped now.
    pub(super) fn is_restless(&self) -> bool {
        *self.phase.borrow() == Phase::Sending
    }
}
