//! Counting a session's dispatches again, from a checkpoint on.

use std::collections::BTreeMap;

use shared::{
    discord::{Content, Filter, Header},
    session_id::SessionId,
};

use crate::cluster::What;

/// A walk along the log that numbers what a session got or would have got, in the order in which it did.
///
/// What was for the session alone stands in no log, and is known by its number: it comes when its number is the next
/// one. Everything else the filter decides, which says of an entry today what it said of it then.
#[derive(Debug)]
pub(super) struct Walk {
    filter: Filter,
    session: SessionId,
    /// The number of the last dispatch that was met.
    s: u64,
    privates: BTreeMap<u64, What>,
}

impl Walk {
    /// From behind dispatch `s` on.
    pub(super) const fn new(filter: Filter, session: SessionId, s: u64, privates: BTreeMap<u64, What>) -> Self {
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

    /// The next dispatch, if it was for the session alone. To be asked before each entry and behind the last one.
    pub(super) fn private(&mut self) -> Option<What> {
        let what = self.privates.remove(&(self.s + 1))?;
        self.s += 1;
        Some(what)
    }

    /// How the session receives this entry, if it does; then it is the next dispatch.
    pub(super) fn entry(&mut self, header: &Header) -> Option<Content> {
        let content = self.filter.admits(header, self.session.get())?;
        self.s += 1;
        Some(content)
    }

    /// Counts so many dispatches that are for the session alone and come now.
    pub(super) const fn count(&mut self, dispatches: u64) {
        self.s += dispatches;
    }

    /// Whether everything that was for the session alone has been met.
    pub(super) fn is_complete(&self) -> bool {
        self.privates.is_empty()
    }
}
