//! The write-behind queue for the Discord sessions of this node.
//!
//! Only the latest state of each owner is queued, so the queue stays small while the server is unavailable.

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::sync::Notify;

use super::in_flight::Requeue;
use crate::{
    backplane::{Epoch, Owner},
    resume::Checkpoint,
};

/// The maximum number of sessions in one batch.
const BATCH: usize = 256;

#[derive(Default)]
pub(in crate::backends::redis) struct WriteBehind {
    state: Mutex<PendingWrites>,
    pub(super) changed: Notify,
}

#[derive(Default)]
struct PendingWrites {
    writes: FxHashMap<Owner, PendingWrite>,
    /// The number of sessions sent but not yet confirmed.
    in_flight: usize,
}

/// The pending writes for one session.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PendingWrite {
    pub(super) checkpoint: Option<Checkpoint>,
    /// The epoch that everything the client has seen belongs to, if known.
    pub(super) epoch: Option<Epoch>,
    /// Whether it has lost its connection; if so, whether that was for slow reading.
    pub(super) detached: Option<bool>,
    pub(super) has_ended: bool,
}

impl PendingWrite {
    /// Merges these writes with earlier ones that were not confirmed.
    fn after(self, earlier: Self) -> Self {
        Self {
            checkpoint: self.checkpoint.or(earlier.checkpoint),
            epoch: self.epoch.or(earlier.epoch),
            detached: self.detached.or(earlier.detached),
            has_ended: self.has_ended || earlier.has_ended,
        }
    }
}

impl WriteBehind {
    /// Records how far a client is, if that is known, and that it is connected. Everything that it has seen belongs to
    /// `epoch`.
    pub(in crate::backends::redis) fn checkpoint(
        &self,
        owner: &Owner,
        checkpoint: Option<Checkpoint>,
        epoch: Option<Epoch>,
    ) {
        self.write(
            owner,
            PendingWrite {
                checkpoint,
                epoch,
                ..PendingWrite::default()
            },
        );
    }

    /// Records that a session has lost its connection.
    pub(in crate::backends::redis) fn detach(&self, owner: &Owner, is_slow: bool) {
        self.write(
            owner,
            PendingWrite {
                detached: Some(is_slow),
                ..PendingWrite::default()
            },
        );
    }

    /// Records that a session has ended.
    pub(in crate::backends::redis) fn end(&self, owner: &Owner) {
        self.write(
            owner,
            PendingWrite {
                has_ended: true,
                ..PendingWrite::default()
            },
        );
    }

    /// Whether everything has been flushed.
    pub(in crate::backends::redis) fn is_flushed(&self) -> bool {
        let state = self.state.lock();
        state.writes.is_empty() && state.in_flight == 0
    }

    fn write(&self, owner: &Owner, write: PendingWrite) {
        let mut state = self.state.lock();
        let known = state.writes.entry(owner.clone()).or_default();
        *known = write.after(*known);
        drop(state);
        self.changed.notify_one();
    }

    pub(super) fn take(&self) -> Vec<(Owner, PendingWrite)> {
        let mut state = self.state.lock();
        let owners: Vec<_> = state.writes.keys().take(BATCH).cloned().collect();
        let taken: Vec<_> = owners
            .into_iter()
            .filter_map(|owner| state.writes.remove_entry(&owner))
            .collect();
        state.in_flight = taken.len();
        taken
    }
}

impl Requeue for WriteBehind {
    type Batch = Vec<(Owner, PendingWrite)>;

    fn requeue(&self, batch: Self::Batch) {
        let mut state = self.state.lock();
        state.in_flight = 0;
        for (owner, earlier) in batch {
            let known = state.writes.entry(owner).or_default();
            *known = known.after(earlier);
        }
    }
}
