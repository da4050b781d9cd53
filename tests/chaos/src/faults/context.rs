//! The state that all clients of a run share.

use std::net::SocketAddr;

use fastrand::Rng;
use tokio::sync::watch;

use super::recorder::{NodeRun, Recorder};
use crate::checker::ClientKind;

/// What the clients are to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RunPhase {
    /// They connect.
    Connecting,
    /// They send, and some drop their connections.
    Sending,
    /// They send and reconnect, but drop no connection.
    Reconnecting,
    /// They only receive.
    Settling,
}

/// Where a node listens during one of its runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct NodeEndpoint {
    pub(super) address: SocketAddr,
    pub(super) run: NodeRun,
}

/// What each member, shard client and publisher is given.
#[derive(Debug, Clone)]
pub(super) struct RunContext {
    pub(super) recorder: Recorder,
    pub(super) phase: watch::Receiver<RunPhase>,
    /// Where each node listens; `None` for a node that is known to be down.
    pub(super) endpoints: watch::Receiver<Vec<Option<NodeEndpoint>>>,
    /// Whether bots may connect now.
    pub(super) bots_admitted: watch::Receiver<bool>,
    /// Incremented when it is unknown whether the reports are still in force.
    pub(super) reports: watch::Receiver<u64>,
}

impl RunContext {
    /// Returns the endpoint of `node`, or another one if that node is down; `None` if all are down.
    pub(super) fn endpoint(&self, node: usize, rng: &mut Rng) -> Option<NodeEndpoint> {
        let endpoints = self.endpoints.borrow();
        let open: Vec<NodeEndpoint> = endpoints.iter().copied().flatten().collect();
        endpoints[node % endpoints.len()].or_else(|| rng.choice(open))
    }

    /// Returns a random endpoint.
    pub(super) fn any_endpoint(&self, rng: &mut Rng) -> Option<NodeEndpoint> {
        let open: Vec<NodeEndpoint> = self.endpoints.borrow().iter().copied().flatten().collect();
        rng.choice(open)
    }

    /// Waits until clients of this type may connect.
    pub(super) async fn admits(&mut self, kind: ClientKind) {
        if kind == ClientKind::Bot {
            // An error means that the run is over; this client's task is aborted too.
            let _ = self.bots_admitted.wait_for(|admitted| *admitted).await;
        }
    }

    /// Whether clients should send events now.
    pub(super) fn is_sending(&self) -> bool {
        matches!(*self.phase.borrow(), RunPhase::Sending | RunPhase::Reconnecting)
    }

    /// Whether clients may drop connections now.
    pub(super) fn may_disconnect(&self) -> bool {
        *self.phase.borrow() == RunPhase::Sending
    }
}
