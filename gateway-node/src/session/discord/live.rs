//! A session that receives what comes.

use std::sync::Arc;

use smallvec::SmallVec;

use super::requests::Request;
use crate::{
    encode::LogCursor,
    resume::{Checkpoint, Record, SessionOwnership},
};

/// How many points of a session are remembered that its client may acknowledge.
const POINTS: usize = 2;

/// A session that its shard delivers to.
pub(super) struct Live {
    pub(super) ownership: SessionOwnership,
    pub(super) record: Arc<Record>,
    pub(super) points: Points,
    /// What its client has asked for, to be answered as soon as nothing is delivered to it.
    pub(super) request: Option<Box<Request>>,
}

/// Where a session was at its last heartbeats: the number of its last dispatch, and the log's end at that number.
#[derive(Debug, Default)]
pub(super) struct Points(SmallVec<[Checkpoint; POINTS]>);

impl Live {
    /// Notes that the client has everything up to dispatch `acknowledged`, while the session is at dispatch `s` and at
    /// this place. Only what the client says counts: what was written may not have arrived.
    pub(super) fn acknowledge(&mut self, acknowledged: u64, s: u64, cursor: Option<LogCursor>) {
        let Points(points) = &mut self.points;
        let authenticated = points.iter().rev().find(|point| point.s <= acknowledged).copied();
        let here = cursor.map(|cursor| Checkpoint {
            s,
            position: cursor.position,
        });
        let reached = here.filter(|here| here.s <= acknowledged).or(authenticated);
        // Without one it is said that the client is there.
        self.ownership.checkpoint(reached);
        if let Some(here) = here {
            if points.len() == POINTS {
                points.remove(0);
            }
            points.push(here);
        }
    }
}
