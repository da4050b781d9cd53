//! One pass's entries for one group of Discord sessions. The shared parts are encoded once for the group. Each
//! session's frames are assembled around its own sequence numbers, side by side, so that everything that waited leaves
//! in one write.

use std::{cell::RefCell, sync::Arc};

use shared::session_id::SessionId;
use smallvec::SmallVec;
use tokio::time::Instant;

use super::{
    group_batch::GroupBatch,
    member::{DiscordGroupKey, DiscordMember},
};
use crate::encode::{LogCursor, encoded_dispatch::EncodedDispatch, encoded_event::EncodedEvent};

/// The size in bytes from which collected frames are written before more are added.
const JOINED_BYTES: usize = 64 * 1024;

/// Entries for the members of one group, in order.
pub(crate) struct DiscordBatch {
    items: SmallVec<[BatchItem; 8]>,
    /// The log cursor of a member that has received all of them.
    end: LogCursor,
}

struct BatchItem {
    cursor: LogCursor,
    encoded: Arc<EncodedDispatch>,
    /// The only member that receives it, if it is for one session.
    only: Option<SessionId>,
}

thread_local! {
    /// Scratch space for the frames of one member.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl DiscordBatch {
    /// Selects those of `entries` that members with this profile receive. `is_here` returns whether a session is a
    /// member of the group. Returns `None` if none of the entries is for this group.
    pub(crate) fn new(
        entries: &[Arc<EncodedEvent>],
        key: DiscordGroupKey,
        is_here: impl Fn(SessionId) -> bool,
    ) -> Option<Self> {
        let items: SmallVec<[BatchItem; 8]> = entries.iter().filter_map(|entry| item(entry, key, &is_here)).collect();
        let end = entries.last()?.cursor();
        (!items.is_empty()).then_some(Self { items, end })
    }
}

impl GroupBatch for DiscordBatch {
    type Member = DiscordMember;

    fn only(&self) -> Option<SmallVec<[SessionId; 8]>> {
        let mut only: SmallVec<[SessionId; 8]> = self.items.iter().map(|item| item.only).collect::<Option<_>>()?;
        only.sort_unstable();
        only.dedup();
        Some(only)
    }

    fn deliver_to(&self, member: &DiscordMember, now: Instant) -> u64 {
        SCRATCH.with_borrow_mut(|scratch| {
            let (mut given, mut ends) = (0, SmallVec::<[usize; 8]>::new());
            scratch.clear();
            for item in &self.items {
                if item.cursor.number <= member.since || item.only.is_some_and(|only| only != member.id) {
                    continue;
                }
                member.encoder.write(&item.encoded, scratch);
                ends.push(scratch.len());
                given += 1;
                if scratch.len() >= JOINED_BYTES {
                    // If the outbox overflows, the connection's driver evicts the session.
                    member.outbox.deliver_own(scratch, &ends, now);
                    scratch.clear();
                    ends.clear();
                }
            }
            if !ends.is_empty() {
                member.outbox.deliver_own(scratch, &ends, now);
            }
            if self.end.number > member.since {
                member.encoder.advance_to(self.end);
            }
            given
        })
    }
}

fn item(entry: &EncodedEvent, key: DiscordGroupKey, is_here: impl Fn(SessionId) -> bool) -> Option<BatchItem> {
    let header = entry.entry.discord.as_deref()?;
    let only = header.session().map(SessionId::from_raw);
    let content = match only {
        Some(only) if is_here(only) => key.filter.admits(header, only.get())?,
        Some(_) => return None,
        None => key.filter.admits_any(header)?,
    };
    Some(BatchItem {
        cursor: entry.cursor(),
        encoded: entry.encoded(key.wire_format, content)?,
        only,
    })
}
