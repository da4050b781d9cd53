//! What one pass brings to one group, whatever its protocol.

use shared::session_id::SessionId;
use smallvec::SmallVec;
use tokio::time::Instant;

/// The entries of one pass for the members of one group, encoded once for all of them.
pub(crate) trait GroupBatch {
    /// A member of the group.
    type Member;

    /// Returns the members that receive something, each once, or `None` if an entry is for all of them.
    fn only(&self) -> Option<SmallVec<[SessionId; 8]>> {
        None
    }

    /// Sends a member the entries that are for it, and returns how many those are.
    fn deliver_to(&self, member: &Self::Member, now: Instant) -> u64;
}
