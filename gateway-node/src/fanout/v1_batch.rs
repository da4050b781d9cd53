//! One pass's entries for one v1 group, framed, and joined into batches that save writes.

use std::sync::Arc;

use bytes::Bytes;
use shared::session_id::SessionId;
use smallvec::SmallVec;
use tokio::time::Instant;

use super::{
    group_batch::GroupBatch,
    member::{V1GroupKey, V1Member},
};
use crate::{
    backplane::Epoch,
    encode::{LogCursor, encoded_event::EncodedEvent},
    transport::Batch,
};

/// The most bytes that are copied into one batch; a larger frame is sent without a copy.
const JOINED_BYTES: usize = 64 * 1024;

/// Entries for the members of one group, in order.
pub(crate) struct V1Batch<'a> {
    key: V1GroupKey,
    entries: SmallVec<[&'a EncodedEvent; 8]>,
    batches: SmallVec<[Batch; 2]>,
    /// The first entry: members that joined before it receive all entries. `None` if the entries are of several epochs.
    first: Option<LogCursor>,
    last: LogCursor,
    /// The sessions that sent one of the entries.
    authors: SmallVec<[SessionId; 4]>,
}

impl<'a> V1Batch<'a> {
    /// Selects those of `entries` that all members of the group receive. Returns `None` if there are none.
    pub(crate) fn new(entries: &'a [Arc<EncodedEvent>], key: V1GroupKey) -> Option<Self> {
        let entries = entries.iter().map(AsRef::as_ref);
        let entries: SmallVec<[&EncodedEvent; 8]> = entries.filter(|it| key.gets(it)).collect();
        let mut authors = SmallVec::new();
        for author in entries.iter().filter_map(|it| it.entry.author) {
            if !authors.contains(&author) {
                authors.push(author);
            }
        }
        let (first, last) = (entries.first()?.cursor(), entries.last()?.cursor());
        let is_of = |epoch: Epoch| entries.iter().all(|it| it.entry.position.epoch == epoch);
        Some(Self {
            first: is_of(first.position.epoch).then_some(first),
            last,
            batches: joined(entries.iter().map(|it| it.frame(key.encoding, key.has_positions))),
            key,
            entries,
            authors,
        })
    }
}

impl V1Batch<'_> {
    /// Whether a member joined before an entry.
    #[inline]
    fn is_before(&self, member: &V1Member, entry: LogCursor) -> bool {
        if self.key.has_positions {
            return member.is_before(entry);
        }
        // These members have no numbers.
        entry.position.is_after(member.since.get().position)
    }
}

impl GroupBatch for V1Batch<'_> {
    type Member = V1Member;

    #[inline]
    fn deliver_to(&self, member: &V1Member, now: Instant) -> u64 {
        let gets_all = self
            .first
            .is_some_and(|first| self.is_before(member, first) && !self.authors.contains(&member.id));
        if gets_all {
            for batch in &self.batches {
                // If the outbox overflows, the connection's driver evicts the session.
                member.outbox.deliver(batch, now);
            }
            if self.key.has_positions {
                member.since.set(self.last);
            }
            return self.entries.len() as u64;
        }
        let given = self.entries.iter().filter(|it| member.deliver_to(it, self.key, now));
        given.count() as u64
    }
}

/// Joins frames into batches of up to [`JOINED_BYTES`].
fn joined<'a>(frames: impl Iterator<Item = &'a Bytes>) -> SmallVec<[Batch; 2]> {
    let mut batches = SmallVec::new();
    let mut together: SmallVec<[Bytes; 8]> = SmallVec::new();
    let mut bytes = 0;
    for frame in frames {
        if !together.is_empty() && bytes + frame.len() > JOINED_BYTES {
            batches.push(Batch::of(&together));
            together.clear();
            bytes = 0;
        }
        bytes += frame.len();
        together.push(frame.clone());
    }
    if !together.is_empty() {
        batches.push(Batch::of(&together));
    }
    batches
}
