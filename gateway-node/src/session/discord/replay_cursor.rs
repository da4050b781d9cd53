//! Counting a session's dispatches again, from a checkpoint on.

use std::collections::BTreeMap;

use shared::{
    discord::{Content, Filter, Header},
    session_id::SessionId,
};

use crate::resume::PrivateBody;

/// A walk along the log that numbers what a session got or would have got, in the order in which it did.
///
/// What was for the session alone stands in no log, and is known by its number: it comes when its number is the next
/// one. Everything else the filter decides, which says of an entry today what it said of it then.
#[derive(Debug)]
pub(super) struct ReplayCursor {
    filter: Filter,
    session: SessionId,
    /// The number of the last dispatch that was met.
    s: u64,
    privates: BTreeMap<u64, PrivateBody>,
}

impl ReplayCursor {
    /// From behind dispatch `s` on.
    pub(super) const fn new(filter: Filter, session: SessionId, s: u64, privates: BTreeMap<u64, PrivateBody>) -> Self {
        Self {
            filter,
            session,
            s,
            privates,
        }
    }

    /// The number of the last dispatch that was met.
    pub(super) const fn s(&self) -> u64 {
        self.s
    }

    /// The next dispatches, if they were for the session alone: their number is the next one. To be asked before each entry
    /// and behind the last one.
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

    /// Meets the next dispatch if it was for the session alone. Returns `false` if it was not.
    pub(super) fn skip_private(&mut self) -> bool {
        let is_private = self.privates.remove(&(self.s + 1)).is_some();
        self.s += u64::from(is_private);
        is_private
    }

    /// Adds a dispatch for the session alone.
    pub(super) fn add(&mut self, s: u64, body: PrivateBody) {
        self.privates.insert(s, body);
    }

    /// How the session receives this entry, if it does; then it is the next dispatch.
    pub(super) fn entry(&mut self, header: &Header) -> Option<Content> {
        let content = self.filter.admits(header, self.session.get())?;
        self.s += 1;
        Some(content)
    }

    /// Whether everything that was for the session alone has been met.
    pub(super) fn is_complete(&self) -> bool {
        self.privates.is_empty()
    }
}
