//! One pass's entries for one group of Discord sessions. The shared parts are encoded once for the group, and everything
//! that waited leaves in one write per session.
//!
//! Uncompressed frames of entries that the whole group receives are laid out once, and each session's sequence numbers
//! are written into them. Other frames are assembled around the sequence numbers for each session.

use std::{cell::RefCell, sync::Arc};

use bytes::Bytes;
use shared::{discord::Encoding, session_id::SessionId};
use smallvec::SmallVec;
use tokio::time::Instant;

use super::{
    group_batch::GroupBatch,
    member::{DiscordGroupKey, DiscordMember},
};
use crate::encode::{
    LogCursor, encoded_dispatch::EncodedDispatch, encoded_event::EncodedEvent, numbered_frames::NumberedFrames,
};

/// The size in bytes from which collected frames are written before more are added.
const JOINED_BYTES: usize = 64 * 1024;
/// How many widths of sequence numbers a batch has frames for at a time.
const WIDTHS: usize = 2;

/// Entries for the members of one group, in order.
pub(crate) struct DiscordBatch {
    encoding: Encoding,
    items: SmallVec<[BatchItem; 8]>,
    /// All items in one layout per width of the sequence numbers. `None` if members get frames of their own.
    layouts: Option<RefCell<SmallVec<[NumberedFrames; WIDTHS]>>>,
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
    /// Selects those of `entries` that the members of a group receive. It has up to `members` of them, and `is_here`
    /// returns whether a session is one. Returns `None` if none of the entries is for this group.
    pub(crate) fn new(
        entries: &[Arc<EncodedEvent>],
        key: DiscordGroupKey,
        members: usize,
        is_here: impl Fn(SessionId) -> bool,
    ) -> Option<Self> {
        let items: SmallVec<[BatchItem; 8]> = entries.iter().filter_map(|entry| item(entry, key, &is_here)).collect();
        let end = entries.last()?.cursor();
        (!items.is_empty()).then(|| Self {
            encoding: key.wire_format.encoding,
            layouts: (members > 1 && has_layout(&items)).then(RefCell::default),
            items,
            end,
        })
    }

    /// Sends a member all items in the common layout. Returns `false`, and sends nothing, if it has to get frames of its
    /// own.
    #[inline]
    fn deliver_layout(&self, member: &DiscordMember, now: Instant) -> bool {
        let Some(layouts) = &self.layouts else { return false };
        let (first, count) = (member.encoder.s() + 1, self.items.len());
        if self.items[0].cursor.number <= member.since || member.encoder.has_own_compressor() {
            return false;
        }
        let Some(width) = NumberedFrames::width(self.encoding, first, count) else {
            return false;
        };
        let layouts = &mut *layouts.borrow_mut();
        let index = layouts.iter().position(|layout| layout.is_for(width));
        let index = index.unwrap_or_else(|| {
            if layouts.len() == WIDTHS {
                layouts.remove(0);
            }
            layouts.push(NumberedFrames::new(self.encoding, width, self.plain()));
            layouts.len() - 1
        });
        let layout = &mut layouts[index];
        layout.number_from(first);
        // If the outbox overflows, the connection's driver evicts the session.
        member.outbox.deliver_own(layout.bytes(), layout.ends(), now);
        member.encoder.continue_at(first + count as u64 - 1, Some(self.end));
        true
    }

    /// Returns the shared parts of the items that are uncompressed.
    fn plain(&self) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        self.items.iter().filter_map(|item| item.encoded.plain())
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
        if self.deliver_layout(member, now) {
            return self.items.len() as u64;
        }
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

/// Whether one write can have all items: they are uncompressed, not too long, and for the whole group.
fn has_layout(items: &[BatchItem]) -> bool {
    let length = |item: &BatchItem| match (item.only, item.encoded.plain()) {
        (None, Some((before, after))) => Some(before.len() + after.len()),
        _ => None,
    };
    let lengths: Option<usize> = items.iter().map(length).sum();
    lengths.is_some_and(|bytes| bytes <= JOINED_BYTES)
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

#[cfg(test)]
mod tests {
    use shared::{
        compression::Level,
        discord::{Filter, Header, Intents, Shard, Target, Transport},
    };

    use super::*;
    use crate::{
        backplane::{Audience, Entry},
        encode::{DispatchEncoder, WireFormat},
        transport::Outbox,
    };

    /// Returns the entries with these numbers, each for the session of its number, or for all.
    fn entries(numbers: &[(u64, Option<u64>)]) -> Vec<Arc<EncodedEvent>> {
        let entry = |(number, session): &(u64, Option<u64>)| {
            let d = format!("{{\"n\":{number}}}");
            let target = session.map_or(Target::All, Target::Session);
            let entry = Entry {
                discord: Some(Arc::new(Header::of("X", &d, target, None))),
                d: d.into(),
                ..Entry::example(Audience::Types(shared::client_type::ClientTypes::NONE))
            };
            Arc::new(EncodedEvent::new(entry, *number, Level::default(), Arc::default()))
        };
        numbers.iter().map(entry).collect()
    }

    /// Returns a session that has `s` dispatches, and receives the entries after `since`.
    fn member(id: u64, s: u64, since: u64, transport: Option<Transport>) -> DiscordMember {
        let encoder = DispatchEncoder::new(Encoding::Json, transport, Level::default());
        if transport.is_some() {
            encoder.frame("{}");
            encoder.use_own_compressor();
        }
        encoder.continue_at(s, None);
        DiscordMember {
            id: SessionId::from_raw(id),
            fencing_token: 1,
            since,
            encoder,
            outbox: Outbox::new(1 << 20),
        }
    }

    /// Returns what a member receives: its sequence numbers with the numbers of the entries.
    fn received(batch: &DiscordBatch, member: &DiscordMember) -> Vec<(u64, u64)> {
        let given = batch.deliver_to(member, Instant::now());
        let frames = member.outbox.take_frames();
        assert_eq!(given, frames.len() as u64);
        let read = |frame: &bytes::Bytes| {
            assert_eq!(usize::from(frame[1]) + 2, frame.len(), "a frame of its own length");
            let dispatch: serde_json::Value = serde_json::from_slice(&frame[2..]).expect("JSON");
            (
                dispatch["s"].as_u64().expect("s"),
                dispatch["d"]["n"].as_u64().expect("n"),
            )
        };
        frames.iter().map(read).collect()
    }

    fn key(method: Option<shared::compression::Method>) -> DiscordGroupKey {
        DiscordGroupKey {
            filter: Filter {
                intents: Intents::default(),
                shard: Shard::of_guild(None, 1),
                user: 1,
                withholds_content: true,
            },
            wire_format: WireFormat {
                encoding: Encoding::Json,
                method,
                level: Level::default(),
            },
        }
    }

    #[test]
    fn sessions_of_one_group_have_sequence_numbers_of_their_own() {
        let entries = entries(&[(5, None), (6, None), (7, None)]);
        let batch = DiscordBatch::new(&entries, key(None), 9, |_| true).expect("a batch");
        // More widths than the batch keeps, a number that becomes longer in between, and a session that joined later.
        for (s, since) in [
            (0, 4),
            (10, 4),
            (100, 0),
            (8, 4),
            (1, 4),
            (98, 4),
            (12345, 2),
            (11, 5),
            (0, 6),
            (0, 7),
        ] {
            let member = member(1, s, since, None);
            let numbers = 5.max(since + 1)..8;
            let expected: Vec<_> = (s + 1..).zip(numbers).collect();
            assert_eq!(received(&batch, &member), expected, "after {s}, since {since}");
            assert_eq!(member.encoder.s(), s + expected.len() as u64);
            let cursor = member.encoder.cursor().map(|cursor| cursor.number);
            assert_eq!(cursor, (since < 7).then_some(7));
        }
    }

    #[test]
    fn an_entry_for_one_session_has_no_number_at_the_others() {
        let entries = entries(&[(1, None), (2, Some(8)), (3, None)]);
        let batch = DiscordBatch::new(&entries, key(None), 2, |id| id.get() == 8).expect("a batch");
        assert_eq!(received(&batch, &member(8, 0, 0, None)), [(1, 1), (2, 2), (3, 3)]);
        assert_eq!(received(&batch, &member(9, 0, 0, None)), [(1, 1), (2, 3)]);
    }

    #[test]
    fn a_session_with_its_own_compressor_receives_compressed_frames() {
        let entries = entries(&[(1, None), (2, None)]);
        let batch = DiscordBatch::new(&entries, key(None), 2, |_| true).expect("a batch");
        let member = member(1, 0, 0, Some(Transport::Zlib));
        assert_eq!(member.encoder.wire_format(), key(None).wire_format);
        assert_eq!(batch.deliver_to(&member, Instant::now()), 2);
        assert_eq!((member.encoder.s(), member.outbox.take_frames()[0][0]), (2, 0x82));
    }
}
