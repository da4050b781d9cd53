//! A session that receives events as they come.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::{
    encode::LogCursor,
    resume::{Checkpoint, Record, SessionOwnership},
};

/// How many recent checkpoints of a session are kept for its client to acknowledge.
const POINTS: usize = 2;

/// A session that its shard delivers to.
pub(super) struct Live {
    pub(super) ownership: SessionOwnership,
    pub(super) record: Arc<Record>,
    pub(super) points: Points,
}

/// A session's checkpoints at its last heartbeats: the number of its last dispatch, and the end of the log at that
/// number.
#[derive(Debug, Default)]
pub(super) struct Points(SmallVec<[Checkpoint; POINTS]>);

impl Live {
    /// Records that the client has every dispatch up to `acknowledged`, while the session is at dispatch `s` and at
    /// this log cursor. Only what the client acknowledges counts, because what was written may not have arrived.
    pub(super) fn acknowledge(&mut self, acknowledged: u64, s: u64, cursor: Option<LogCursor>) {
        let Points(points) = &mut self.points;
        let known = points.iter().rev().find(|point| point.s <= acknowledged).copied();
        let here = cursor.map(|cursor| Checkpoint {
            s,
            position: cursor.position,
        });
        let reached = here.filter(|here| here.s <= acknowledged).or(known);
        // `None` only reports that the client is alive.
        self.ownership.checkpoint(reached);
        if let Some(here) = here {
            if points.len() == POINTS {
                points.remove(0);
            }
            points.push(here);
        }
    }
}
