//! What everybody in a run knows of the others.

use std::net::SocketAddr;

use fastrand::Rng;
use tokio::sync::watch;

use super::recorder::{NodeRun, Recorder};
use crate::checker::ClientKind;

/// What everybody does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RunPhase {
    /// They connect.
    Connecting,
    /// They send, and some drop their connections.
    Sending,
    /// They send, and nobody leaves who is there.
    Reconnecting,
    /// They only listen.
    Settling,
}

/// Where a node listens.
#[derive(Debug, Clone, Copy)]
pub(super) struct NodeEndpoint {
    pub(super) address: SocketAddr,
    pub(super) run: NodeRun,
}

/// What a member or a publisher is given.
#[derive(Debug, Clone)]
pub(super) struct RunContext {
    pub(super) recorder: Recorder,
    pub(super) phase: watch::Receiver<RunPhase>,
    /// Where each node listens; `None` while it is known to be away.
    pub(super) endpoints: watch::Receiver<Vec<Option<NodeEndpoint>>>,
    /// Whether bots may connect now.
    pub(super) bots_admitted: watch::Receiver<bool>,
    /// Goes up when nobody knows any more whether what was reported is still in force.
    pub(super) reports: watch::Receiver<u64>,
}

impl RunContext {
    /// The door of `node`, or of another one if that is away; `None` if all are.
    pub(super) fn endpoint(&self, node: usize, rng: &mut Rng) -> Option<NodeEndpoint> {
        let endpoints = self.endpoints.borrow();
        let open: Vec<NodeEndpoint> = endpoints.iter().copied().flatten().collect();
        endpoints[node % endpoints.len()].or_else(|| rng.choice(open))
    }

    /// A door at random.
    pub(super) fn any_endpoint(&self, rng: &mut Rng) -> Option<NodeEndpoint> {
        let open: Vec<NodeEndpoint> = self.endpoints.borrow().iter().copied().flatten().collect();
        rng.choice(open)
    }

    /// Waits until clients of this type may connect.
    pub(super) async fn admits(&mut self, kind: ClientKind) {
        if kind == ClientKind::Bot {
            // An error says that the run is over, and so is everybody in it.
            let _ = self.bots_admitted.wait_for(|admitted| *admitted).await;
        }
    }

    /// Whether events are to be sent now.
    pub(super) fn is_sending(&self) -> bool {
        matches!(*self.phase.borrow(), RunPhase::Sending | RunPhase::Reconnecting)
    }

    /// Whether connections may be dropped now.
    pub(super) fn may_disconnect(&self) -> bool {
        *self.phase.borrow() == RunPhase::Sending
    }
}
