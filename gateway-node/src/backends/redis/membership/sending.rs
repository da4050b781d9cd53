//! A report being sent to Redis.

use std::{mem, sync::Arc};

use shared::{guild::GuildId, session_id::SessionId, v1::Report};

use super::op::{CHUNK, MembershipOp};
use crate::backplane::report_changes::ReportChanges;

/// A report being sent to Redis in parts, so that no call blocks the server for long.
pub(in crate::backends::redis) struct SendingReport {
    report: Arc<Report>,
    left: ReportChanges,
}

impl SendingReport {
    /// Starts to send `report`, given the report that Redis has.
    pub(in crate::backends::redis) fn new(report: Arc<Report>, stored: Option<&Report>) -> Self {
        let left = ReportChanges::between(stored, &report);
        Self { report, left }
    }

    /// The number of guilds still to be added or removed.
    pub(in crate::backends::redis) const fn guilds_left(&self) -> usize {
        self.left.len()
    }

    /// Puts back a part that has to be sent again; it is the next one.
    pub(in crate::backends::redis) fn put_back(&mut self, added: &[GuildId], removed: &[GuildId]) {
        self.left.added.extend_from_slice(added);
        self.left.removed.extend_from_slice(removed);
    }

    /// Takes the next part. The last part is sent even if no guild changes.
    pub(in crate::backends::redis) fn next_part(&mut self, id: SessionId) -> MembershipOp {
        let added = take_last(&mut self.left.added, CHUNK);
        let removed = take_last(&mut self.left.removed, CHUNK - added.len());
        MembershipOp::Report {
            id,
            report: Arc::clone(&self.report),
            added,
            removed,
            is_last: self.guilds_left() == 0,
        }
    }
}

/// Takes up to `most` guilds from the end.
fn take_last(guilds: &mut Vec<GuildId>, most: usize) -> Vec<GuildId> {
    match guilds.len().checked_sub(most) {
        Some(kept) if kept > 0 => guilds.split_off(kept),
        _ => mem::take(guilds),
    }
}
