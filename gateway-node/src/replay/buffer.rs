//! The latest entries of each log, for sessions that catch up: what they replay, and what comes between a replay and the
//! shard's own deliveries.
//!
//! Only entries that Discord sessions may receive are kept. Every entry is numbered here, as it arrives, so that a
//! session and its shard can tell which of them has come further.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use rustc_hash::FxHashMap;
use shared::discord::{Content, Header};
use tokio::time::Instant;

use crate::{
    backplane::{Entry, Epoch, Position},
    encode::{
        dispatch_encoder::{DispatchEncoder, LogCursor},
        encoded_event::EncodedEvent,
    },
    guilds::Guilds,
};

/// How many bytes of data one reading has; an entry that is larger comes by itself.
const AT_ONCE: usize = 32 * 1024;

/// What bounds the tail of one log.
#[derive(Debug, Clone, Copy)]
pub struct ReplayLimits {
    /// Entries.
    pub entries: usize,
    /// How long one is kept.
    pub age: Duration,
    /// Bytes.
    pub bytes: usize,
}

/// From where a session reads on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFrom {
    /// Behind this position of the log.
    Position(Position),
    /// Behind this place, which an earlier reading or the shard has named.
    Cursor(LogCursor),
}

impl ReadFrom {
    /// Where that is in the log.
    pub const fn position(self) -> Position {
        match self {
            Self::Position(position) => position,
            Self::Cursor(cursor) => cursor.position,
        }
    }
}

/// Some entries of a log, in order.
pub struct ReplayPage {
    pub(crate) entries: Vec<Arc<EncodedEvent>>,
    /// Where the next reading begins.
    pub next: ReadFrom,
    /// Where a session is that has got all there is now; none where there is more.
    pub end: Option<LogCursor>,
    /// The last offset that is the same in the life of the log in which the reading began and in the present one, if
    /// those are not the same.
    pub cut: Option<u64>,
}

impl ReplayPage {
    /// The same, begun in a life of the log that has no more than this in common with the present one.
    pub(crate) const fn cut_at(mut self, cut: Option<u64>) -> Self {
        self.cut = cut;
        self
    }

    /// The same, which is not all there is where it ends before this position.
    pub(crate) fn up_to(mut self, end: Option<Position>) -> Self {
        let is_behind = |here: LogCursor, there: Position| {
            here.position.epoch == there.epoch && here.position.offset < there.offset
        };
        if let (Some(here), Some(there)) = (self.end, end)
            && is_behind(here, there)
        {
            self.end = None;
        }
        self
    }

    /// What was read, in order.
    pub fn entries(&self) -> impl Iterator<Item = ReplayEntry<'_>> {
        self.entries.iter().map(|entry| ReplayEntry(entry))
    }
}

/// An entry that a session reads again.
#[derive(Clone, Copy)]
pub struct ReplayEntry<'a>(&'a EncodedEvent);

impl<'a> ReplayEntry<'a> {
    /// Where it stands in the log.
    pub const fn offset(self) -> u64 {
        self.0.entry.position.offset
    }

    /// Who receives it.
    pub fn header(self) -> Option<&'a Header> {
        self.0.entry.discord.as_deref()
    }

    /// It as the next dispatch of a line.
    pub fn dispatch(self, encoder: &DispatchEncoder, content: Content) -> Option<Bytes> {
        let encoded = self.0.encoded(encoder.wire_format(), content)?;
        let mut frame = Vec::new();
        encoder.write(&encoded, &mut frame);
        Some(frame.into())
    }
}

/// Why nothing is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// The tail does not go back that far, or not that way.
    #[error("the log does not lead on from there")]
    Severed,
    /// The node has still to come that far.
    #[error("the node has not come that far")]
    Ahead,
}

/// The tails of all logs.
pub(crate) struct ReplayBuffers {
    limits: ReplayLimits,
    buffers: Mutex<FxHashMap<Arc<str>, ReplayBuffer>>,
}

/// The tail of one log, in one epoch.
struct ReplayBuffer {
    kept: VecDeque<(Instant, Arc<EncodedEvent>)>,
    bytes: usize,
    /// Behind this everything is kept that can be received.
    floor: LogCursor,
    end: LogCursor,
    /// The guilds as they are at the end; none while nobody here knows.
    guilds: Option<Guilds>,
    /// Whether it grows with the log. One that does not says nothing about what came behind its end.
    is_followed: bool,
}

impl ReplayBuffers {
    pub(crate) fn new(limits: ReplayLimits) -> Self {
        Self {
            limits,
            buffers: Mutex::default(),
        }
    }

    /// Notes that what comes next stands behind this position, or that nothing comes until the log is followed again.
    pub(crate) fn follow(&self, application: &Arc<str>, from: Option<Position>) {
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let nowhere = Position {
            offset: 0,
            epoch: Epoch::from_raw(0),
        };
        let buffer = buffers
            .entry(Arc::clone(application))
            .or_insert_with(|| ReplayBuffer::begun_at(from.unwrap_or(nowhere)));
        buffer.is_followed = from.is_some();
        if !buffer.is_followed {
            buffer.guilds = None;
        }
        if let Some(from) = from
            && buffer.end.position != from
        {
            buffer.cut_to(from);
        }
    }

    /// Takes the next entry of its log, numbered by `prepare`.
    pub(crate) fn push(
        &self,
        entry: Entry,
        prepare: impl FnOnce(Entry, u64) -> Arc<EncodedEvent>,
    ) -> Arc<EncodedEvent> {
        let now = Instant::now();
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let position = entry.position;
        let buffer = match buffers.get_mut(&entry.application) {
            Some(buffer) => buffer,
            None => buffers.entry(Arc::clone(&entry.application)).or_insert_with(|| {
                ReplayBuffer::begun_at(Position {
                    offset: position.offset.saturating_sub(1),
                    ..position
                })
            }),
        };
        if !buffer.leads_to(position) {
            buffer.cut_to(Position {
                offset: position.offset.saturating_sub(1),
                ..position
            });
        }
        let number = buffer.end.number + 1;
        buffer.end = LogCursor { number, position };
        let event = prepare(entry, number);
        if let Some(header) = &event.entry.discord {
            let Entry { name, d, .. } = &event.entry;
            if let (Some(guilds), Some((change, guild))) = (&mut buffer.guilds, header.change(name, d)) {
                guilds.apply(position.offset, change, guild, d);
            }
            buffer.bytes += event.entry.weight();
            buffer.kept.push_back((now, Arc::clone(&event)));
            buffer.trim(self.limits, now);
        }
        event
    }

    /// The entries of a log from there on, at most `most` of them.
    ///
    /// # Errors
    /// When not all of them are here.
    pub(crate) fn read(&self, application: &Arc<str>, from: ReadFrom, most: usize) -> Result<ReplayPage, ReplayError> {
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let buffer = match (buffers.get_mut(application), from) {
            (Some(buffer), _) => buffer,
            // Nothing has come since anybody was here to hear it.
            (None, ReadFrom::Position(position)) => buffers
                .entry(Arc::clone(application))
                .or_insert_with(|| ReplayBuffer::begun_at(position)),
            (None, ReadFrom::Cursor(_)) => return Err(ReplayError::Severed),
        };
        if !buffer.is_followed {
            return Err(ReplayError::Severed);
        }
        let (floor, end) = (buffer.floor.position, buffer.end.position);
        let first = match from {
            ReadFrom::Position(position) => {
                if position.epoch != end.epoch || position.offset < floor.offset {
                    return Err(ReplayError::Severed);
                }
                if position.offset > end.offset {
                    return Err(ReplayError::Ahead);
                }
                buffer
                    .kept
                    .partition_point(|(_, kept)| kept.entry.position.offset <= position.offset)
            }
            ReadFrom::Cursor(LogCursor { number, .. }) => {
                if number < buffer.floor.number {
                    return Err(ReplayError::Severed);
                }
                buffer.kept.partition_point(|(_, kept)| kept.number <= number)
            }
        };
        let mut bytes = 0;
        let fits = |(_, kept): &&(Instant, Arc<EncodedEvent>)| {
            let before = bytes;
            bytes += kept.entry.d.len();
            before == 0 || bytes <= AT_ONCE
        };
        let kept = buffer.kept.range(first..).take(most).take_while(fits);
        let entries: Vec<_> = kept.map(|(_, kept)| Arc::clone(kept)).collect();
        let is_end = first + entries.len() == buffer.kept.len();
        let through = match entries.last() {
            Some(last) if !is_end => last.cursor(),
            _ => buffer.end,
        };
        Ok(ReplayPage {
            entries,
            next: ReadFrom::Cursor(through),
            end: is_end.then_some(through),
            cut: None,
        })
    }

    /// Replaces what is known of the guilds of an application. Each of them says how far it has come in the log; what is
    /// delivered next may be behind that, but leads up to it.
    pub(crate) fn set_guilds(&self, application: &Arc<str>, guilds: Option<Guilds>) {
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(buffer) = buffers.get_mut(application) {
            buffer.guilds = guilds;
        }
    }

    /// What `look` sees in the guilds of an application as they are at the end of its log, which is not before `since`;
    /// none when that cannot be told now.
    pub(crate) fn guilds<T>(
        &self,
        application: &str,
        since: Option<Position>,
        look: impl FnOnce(&Guilds) -> T,
    ) -> Option<T> {
        let buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(buffer) = buffers.get(application) else {
            // Nothing has come since the log began.
            return Some(look(&Guilds::default()));
        };
        let end = buffer.end.position;
        let is_there = |since: Position| end.epoch == since.epoch && end.offset >= since.offset;
        let guilds = buffer.guilds.as_ref()?;
        since.is_none_or(is_there).then(|| look(guilds))
    }
}

impl ReplayBuffer {
    fn begun_at(position: Position) -> Self {
        let cursor = LogCursor { number: 0, position };
        Self {
            kept: VecDeque::new(),
            bytes: 0,
            floor: cursor,
            end: cursor,
            guilds: Some(Guilds::default()),
            is_followed: true,
        }
    }

    /// Whether this position is the one behind the end.
    fn leads_to(&self, position: Position) -> bool {
        let end = self.end.position;
        end.epoch == position.epoch && end.offset + 1 == position.offset
    }

    /// Forgets everything and begins anew behind this position, to which it does not lead: nobody who is elsewhere can go
    /// on here.
    fn cut_to(&mut self, position: Position) {
        self.kept.clear();
        self.bytes = 0;
        self.floor = LogCursor {
            number: self.end.number + 1,
            position,
        };
        self.end = self.floor;
    }

    fn trim(&mut self, limits: ReplayLimits, now: Instant) {
        while let Some((since, oldest)) = self.kept.front() {
            let is_within = self.kept.len() <= limits.entries
                && self.bytes <= limits.bytes
                && now.duration_since(*since) <= limits.age;
            if is_within {
                break;
            }
            self.bytes -= oldest.entry.weight();
            self.floor = oldest.cursor();
            self.kept.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::{client_type::ClientTypes, compression::Level, discord::Target};

    use super::*;
    use crate::{
        backplane::{Audience, Epoch},
        metrics::Metrics,
    };

    const LIMITS: ReplayLimits = ReplayLimits {
        entries: 4,
        age: Duration::from_secs(3600),
        bytes: 1 << 20,
    };

    fn at(offset: u64, epoch: u64) -> Position {
        Position {
            offset,
            epoch: Epoch::from_raw(epoch),
        }
    }

    fn push(buffers: &ReplayBuffers, position: Position, is_for_discord: bool) {
        let header = || Arc::new(Header::of("X", "{}", Target::All, None));
        let entry = Entry {
            position,
            application: "a".into(),
            name: "X".into(),
            audience: Audience::Types(ClientTypes::NONE),
            author: None,
            discord: is_for_discord.then(header),
            d: "{}".into(),
        };
        buffers.push(entry, |entry, number| {
            Arc::new(EncodedEvent::new(
                entry,
                number,
                Level::default(),
                Arc::new(Metrics::default()),
            ))
        });
    }

    fn read(buffers: &ReplayBuffers, from: ReadFrom, most: usize) -> Result<(Vec<u64>, u64, bool), ReplayError> {
        let page = buffers.read(&"a".into(), from, most)?;
        let offsets = page.entries.iter().map(|entry| entry.entry.position.offset);
        let ReadFrom::Cursor(next) = page.next else {
            panic!("a tail names places");
        };
        Ok((offsets.collect(), next.number, page.end.is_some()))
    }

    /// Behind the entry of this number; where it stands says nothing to a tail that has it.
    fn number(number: u64) -> ReadFrom {
        ReadFrom::Cursor(LogCursor {
            number,
            position: at(0, 0),
        })
    }

    #[test]
    fn a_reading_goes_on_where_the_last_one_ended() {
        let buffers = ReplayBuffers::new(LIMITS);
        assert_eq!(read(&buffers, ReadFrom::Position(at(5, 1)), 9), Ok((vec![], 0, true)));
        for offset in 6..=9 {
            push(&buffers, at(offset, 1), offset != 7);
        }
        assert_eq!(
            read(&buffers, ReadFrom::Position(at(5, 1)), 2),
            Ok((vec![6, 8], 3, false))
        );
        assert_eq!(read(&buffers, number(3), 2), Ok((vec![9], 4, true)));
        push(&buffers, at(10, 1), false);
        assert_eq!(read(&buffers, number(4), 2), Ok((vec![], 5, true)));
        assert_eq!(read(&buffers, ReadFrom::Position(at(10, 1)), 2), Ok((vec![], 5, true)));
    }

    #[test]
    fn what_is_not_kept_is_not_passed_over() {
        let buffers = ReplayBuffers::new(LIMITS);
        for offset in 1..=6 {
            push(&buffers, at(offset, 1), true);
        }
        assert_eq!(
            read(&buffers, ReadFrom::Position(at(2, 1)), 9),
            Ok((vec![3, 4, 5, 6], 6, true))
        );
        for severed in [ReadFrom::Position(at(1, 1)), ReadFrom::Position(at(3, 2)), number(1)] {
            assert_eq!(read(&buffers, severed, 9), Err(ReplayError::Severed), "{severed:?}");
        }
        assert_eq!(read(&buffers, ReadFrom::Position(at(7, 1)), 9), Err(ReplayError::Ahead));
        push(&buffers, at(4, 2), true);
        assert_eq!(read(&buffers, ReadFrom::Position(at(3, 2)), 9), Ok((vec![4], 8, true)));
        for severed in [number(6), ReadFrom::Position(at(2, 2))] {
            assert_eq!(read(&buffers, severed, 9), Err(ReplayError::Severed), "{severed:?}");
        }
        // An entry that does not follow the last one cuts it as well.
        push(&buffers, at(6, 2), true);
        assert_eq!(
            read(&buffers, ReadFrom::Position(at(4, 2)), 9),
            Err(ReplayError::Severed)
        );
    }

    #[test]
    fn guilds_are_seen_no_earlier_than_asked_and_not_before_they_are_known() {
        let (buffers, name): (_, Arc<str>) = (ReplayBuffers::new(LIMITS), "a".into());
        let see = |since| buffers.guilds("a", since, |guilds| guilds.ids(None).count());
        let create = |offset: u64, id: u64| {
            let d = format!("{{\"id\":\"{id}\"}}");
            let entry = Entry {
                position: at(offset, 1),
                application: Arc::clone(&name),
                name: "GUILD_CREATE".into(),
                audience: Audience::Types(ClientTypes::NONE),
                author: None,
                discord: Some(Arc::new(Header::of("GUILD_CREATE", &d, Target::All, None))),
                d: d.into(),
            };
            buffers.push(entry, |entry, number| {
                Arc::new(EncodedEvent::new(
                    entry,
                    number,
                    Level::default(),
                    Arc::new(Metrics::default()),
                ))
            });
        };
        buffers.follow(&name, None);
        assert_eq!(see(None), None);
        buffers.set_guilds(&name, Some(Guilds::default()));
        buffers.follow(&name, Some(at(5, 1)));
        assert_eq!(
            (see(None), see(Some(at(5, 1))), see(Some(at(6, 1)))),
            (Some(0), Some(0), None)
        );
        create(6, 7);
        assert_eq!((see(Some(at(6, 1))), see(Some(at(6, 2)))), (Some(1), None));
        buffers.set_guilds(&name, None);
        create(7, 8);
        assert_eq!(see(None), None);
        buffers.set_guilds(&name, Some(Guilds::default()));
        assert_eq!(see(Some(at(7, 1))), Some(0));
    }

    #[test]
    fn a_tail_says_nothing_while_its_log_is_not_followed() {
        let (buffers, name) = (ReplayBuffers::new(LIMITS), "a".into());
        buffers.follow(&name, None);
        assert_eq!(
            read(&buffers, ReadFrom::Position(at(0, 1)), 9),
            Err(ReplayError::Severed)
        );
        buffers.follow(&name, Some(at(5, 1)));
        push(&buffers, at(6, 1), true);
        assert_eq!(read(&buffers, ReadFrom::Position(at(5, 1)), 9), Ok((vec![6], 2, true)));
        buffers.follow(&name, None);
        assert_eq!(
            read(&buffers, ReadFrom::Position(at(5, 1)), 9),
            Err(ReplayError::Severed)
        );
        // Nothing came meanwhile: what it has still leads on.
        buffers.follow(&name, Some(at(6, 1)));
        assert_eq!(read(&buffers, ReadFrom::Position(at(5, 1)), 9), Ok((vec![6], 2, true)));
        buffers.follow(&name, Some(at(8, 1)));
        assert_eq!(
            read(&buffers, ReadFrom::Position(at(6, 1)), 9),
            Err(ReplayError::Severed)
        );
        assert_eq!(read(&buffers, ReadFrom::Position(at(8, 1)), 9), Ok((vec![], 3, true)));
    }
}
