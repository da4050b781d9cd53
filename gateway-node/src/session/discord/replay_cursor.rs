//! Recounts a session's dispatches from a checkpoint.

use std::collections::BTreeMap;

use shared::{
    discord::{Content, Filter, Header},
    session_id::SessionId,
};

use crate::resume::PrivateBody;

/// A replay cursor. It numbers the dispatches that a session received, or would have received, in their order.
///
/// Private dispatches are in no log and are stored with their sequence numbers: one comes next if its number does. For
/// log entries the filter decides, which treats an entry now as it did then.
#[derive(Debug)]
pub(super) struct ReplayCursor {
    filter: Filter,
    session: SessionId,
    /// The sequence number of the last dispatch counted.
    s: u64,
    privates: BTreeMap<u64, PrivateBody>,
}

impl ReplayCursor {
    /// Starts after dispatch `s`.
    pub(super) const fn new(filter: Filter, session: SessionId, s: u64, privates: BTreeMap<u64, PrivateBody>) -> Self {
        Self {
            filter,
            session,
            s,
            privates,
        }
    }

    /// Returns the sequence number of the last dispatch counted.
    pub(super) const fn s(&self) -> u64 {
        self.s
    }

    /// Returns the private dispatches that come next, one after the other. To be checked before each entry, and after
    /// the last one.
    pub(super) fn privates(&self) -> impl Iterator<Item = &PrivateBody> {
        let mut next = self.s;
        let behind = self.privates.range(self.s + 1..);
        behind
            .take_while(move |(s, _)| {
                next += 1;
                **s == next
            })
            .map(|(_, body)| body)
    }

    /// Counts the next dispatch if it is private. Returns `false` if it is not.
    pub(super) fn skip_private(&mut self) -> bool {
        let is_private = self.privates.remove(&(self.s + 1)).is_some();
        self.s += u64::from(is_private);
        is_private
    }

    /// Adds a private dispatch.
    pub(super) fn add(&mut self, s: u64, body: PrivateBody) {
        self.privates.insert(s, body);
    }

    /// Returns how the session receives this entry, and counts it; `None` if it does not.
    pub(super) fn entry(&mut self, header: &Header) -> Option<Content> {
        let content = self.filter.admits(header, self.session.get())?;
        self.s += 1;
        Some(content)
    }

    /// Returns whether all private dispatches have been counted.
    pub(super) fn is_complete(&self) -> bool {
        self.privates.is_empty()
    }
}
