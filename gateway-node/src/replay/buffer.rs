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
        dispatch_encoder::{Line, Place},
        encoded_event::Prepared,
    },
    guilds::Guilds,
};

/// How many bytes of data one reading has; an entry that is larger comes by itself.
const AT_ONCE: usize = 32 * 1024;

/// What bounds the tail of one log.
#[derive(Debug, Clone, Copy)]
pub struct TailLimits {
    /// Entries.
    pub entries: usize,
    /// How long one is kept.
    pub age: Duration,
    /// Bytes.
    pub bytes: usize,
}

/// From where a session reads on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// Behind this position of the log.
    Position(Position),
    /// Behind this place, which an earlier reading or the shard has named.
    Place(Place),
}

impl From {
    /// Where that is in the log.
    pub const fn position(self) -> Position {
        match self {
            Self::Position(position) => position,
            Self::Place(place) => place.position,
        }
    }
}

/// Some entries of a log, in order.
pub struct Reading {
    pub(crate) entries: Vec<Arc<Prepared>>,
    /// Where the next reading begins.
    pub next: From,
    /// Where a session is that has got all there is now; none where there is more.
    pub end: Option<Place>,
    /// The last offset that is the same in the life of the log in which the reading began and in the present one, if
    /// those are not the same.
    pub cut: Option<u64>,
}

impl Reading {
    /// The same, begun in a life of the log that has no more than this in common with the present one.
    pub(crate) const fn cut_at(mut self, cut: Option<u64>) -> Self {
        self.cut = cut;
        self
    }

    /// The same, which is not all there is where it ends before this position.
    pub(crate) fn up_to(mut self, end: Option<Position>) -> Self {
        let is_behind =
            |here: Place, there: Position| here.position.epoch == there.epoch && here.position.offset < there.offset;
        if let (Some(here), Some(there)) = (self.end, end)
            && is_behind(here, there)
        {
            self.end = None;
        }
        self
    }

    /// What was read, in order.
    pub fn entries(&self) -> impl Iterator<Item = Replay<'_>> {
        self.entries.iter().map(|entry| Replay(entry))
    }
}

/// An entry that a session reads again.
#[derive(Clone, Copy)]
pub struct Replay<'a>(&'a Prepared);

impl<'a> Replay<'a> {
    /// Where it stands in the log.
    pub const fn offset(self) -> u64 {
        self.0.entry.position.offset
    }

    /// Who receives it.
    pub fn header(self) -> Option<&'a Header> {
        self.0.entry.discord.as_deref()
    }

    /// It as the next dispatch of a line.
    pub fn dispatch(self, line: &Line, content: Content) -> Option<Bytes> {
        let pieces = self.0.pieces(line.coding(), content)?;
        let mut frame = Vec::new();
        line.write(&pieces, &mut frame);
        Some(frame.into())
    }
}

/// Why nothing is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// The tail does not go back that far, or not that way.
    #[error("the log does not lead on from there")]
    Severed,
    /// The node has still to come that far.
    #[error("the node has not come that far")]
    Ahead,
}

/// The tails of all logs.
pub(crate) struct Tails {
    limits: TailLimits,
    tails: Mutex<FxHashMap<Arc<str>, Tail>>,
}

/// The tail of one log, in one epoch.
struct Tail {
    kept: VecDeque<(Instant, Arc<Prepared>)>,
    bytes: usize,
    /// Behind this everything is kept that can be received.
    floor: Place,
    end: Place,
    /// The guilds as they are at the end; none while nobody here knows.
    guilds: Option<Guilds>,
    /// Whether it grows with the log. One that does not says nothing about what came behind its end.
    is_followed: bool,
}

impl Tails {
    pub(crate) fn new(limits: TailLimits) -> Self {
        Self {
            limits,
            tails: Mutex::default(),
        }
    }

    /// Notes that what comes next stands behind this position, or that nothing comes until the log is followed again.
    pub(crate) fn follow(&self, application: &Arc<str>, from: Option<Position>) {
        let mut tails = self.tails.lock().unwrap_or_else(PoisonError::into_inner);
        let nowhere = Position {
            offset: 0,
            epoch: Epoch::from_raw(0),
        };
        let tail = tails
            .entry(Arc::clone(application))
            .or_insert_with(|| Tail::begun_at(from.unwrap_or(nowhere)));
        tail.is_followed = from.is_some();
        if !tail.is_followed {
            tail.guilds = None;
        }
        if let Some(from) = from
            && tail.end.position != from
        {
            tail.cut_to(from);
        }
    }

    /// Takes the next entry of its log, numbered by `prepare`.
    pub(crate) fn push(&self, entry: Entry, prepare: impl FnOnce(Entry, u64) -> Arc<Prepared>) -> Arc<Prepared> {
        let now = Instant::now();
        let mut tails = self.tails.lock().unwrap_or_else(PoisonError::into_inner);
        let position = entry.position;
        let tail = match tails.get_mut(&entry.application) {
            Some(tail) => tail,
            None => tails.entry(Arc::clone(&entry.application)).or_insert_with(|| {
                Tail::begun_at(Position {
                    offset: position.offset.saturating_sub(1),
                    ..position
                })
            }),
        };
        if !tail.leads_to(position) {
            tail.cut_to(Position {
                offset: position.offset.saturating_sub(1),
                ..position
            });
        }
        let number = tail.end.number + 1;
        tail.end = Place { number, position };
        let prepared = prepare(entry, number);
        if let Some(header) = &prepared.entry.discord {
            let Entry { name, d, .. } = &prepared.entry;
            if let (Some(guilds), Some((change, guild))) = (&mut tail.guilds, header.change(name, d)) {
                guilds.apply(position.offset, change, guild, d);
            }
            tail.bytes += prepared.entry.weight();
            tail.kept.push_back((now, Arc::clone(&prepared)));
            tail.trim(self.limits, now);
        }
        prepared
    }

    /// The entries of a log from there on, at most `most` of them.
    ///
    /// # Errors
    /// When not all of them are here.
    pub(crate) fn read(&self, application: &Arc<str>, from: From, most: usize) -> Result<Reading, Unread> {
        let mut tails = self.tails.lock().unwrap_or_else(PoisonError::into_inner);
        let tail = match (tails.get_mut(application), from) {
            (Some(tail), _) => tail,
            // Nothing has come since anybody was here to hear it.
            (None, From::Position(position)) => tails
                .entry(Arc::clone(application))
                .or_insert_with(|| Tail::begun_at(position)),
            (None, From::Place(_)) => return Err(Unread::Severed),
        };
        if !tail.is_followed {
            return Err(Unread::Severed);
        }
        let (floor, end) = (tail.floor.position, tail.end.position);
        let first = match from {
            From::Position(position) => {
                if position.epoch != end.epoch || position.offset < floor.offset {
                    return Err(Unread::Severed);
                }
                if position.offset > end.offset {
                    return Err(Unread::Ahead);
                }
                tail.kept
                    .partition_point(|(_, kept)| kept.entry.position.offset <= position.offset)
            }
            From::Place(Place { number, .. }) => {
                if number < tail.floor.number {
                    return Err(Unread::Severed);
                }
                tail.kept.partition_point(|(_, kept)| kept.number <= number)
            }
        };
        let mut bytes = 0;
        let fits = |(_, kept): &&(Instant, Arc<Prepared>)| {
            let before = bytes;
            bytes += kept.entry.d.len();
            before == 0 || bytes <= AT_ONCE
        };
        let kept = tail.kept.range(first..).take(most).take_while(fits);
        let entries: Vec<_> = kept.map(|(_, kept)| Arc::clone(kept)).collect();
        let is_end = first + entries.len() == tail.kept.len();
        let through = match entries.last() {
            Some(last) if !is_end => last.place(),
            _ => tail.end,
        };
        Ok(Reading {
            entries,
            next: From::Place(through),
            end: is_end.then_some(through),
            cut: None,
        })
    }

    /// Replaces what is known of the guilds of an application. Each of them says how far it has come in the log; what is
    /// delivered next may be behind that, but leads up to it.
    pub(crate) fn know(&self, application: &Arc<str>, guilds: Option<Guilds>) {
        let mut tails = self.tails.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tail) = tails.get_mut(application) {
            tail.guilds = guilds;
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
        let tails = self.tails.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(tail) = tails.get(application) else {
            // Nothing has come since the log began.
            return Some(look(&Guilds::default()));
        };
        let end = tail.end.position;
        let is_there = |since: Position| end.epoch == since.epoch && end.offset >= since.offset;
        let guilds = tail.guilds.as_ref()?;
        since.is_none_or(is_there).then(|| look(guilds))
    }
}

impl Tail {
    fn begun_at(position: Position) -> Self {
        let place = Place { number: 0, position };
        Self {
            kept: VecDeque::new(),
            bytes: 0,
            floor: place,
            end: place,
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
        self.floor = Place {
            number: self.end.number + 1,
            position,
        };
        self.end = self.floor;
    }

    fn trim(&mut self, limits: TailLimits, now: Instant) {
        while let Some((since, oldest)) = self.kept.front() {
            let is_within = self.kept.len() <= limits.entries
                && self.bytes <= limits.bytes
                && now.duration_since(*since) <= limits.age;
            if is_within {
                break;
            }
            self.bytes -= oldest.entry.weight();
            self.floor = oldest.place();
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

    const LIMITS: TailLimits = TailLimits {
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

    fn push(tails: &Tails, position: Position, is_for_discord: bool) {
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
        tails.push(entry, |entry, number| {
            Arc::new(Prepared::new(
                entry,
                number,
                Level::default(),
                Arc::new(Metrics::default()),
            ))
        });
    }

    fn read(tails: &Tails, from: From, most: usize) -> Result<(Vec<u64>, u64, bool), Unread> {
        let reading = tails.read(&"a".into(), from, most)?;
        let offsets = reading.entries.iter().map(|entry| entry.entry.position.offset);
        let From::Place(next) = reading.next else {
            panic!("a tail names places");
        };
        Ok((offsets.collect(), next.number, reading.end.is_some()))
    }

    /// Behind the entry of this number; where it stands says nothing to a tail that has it.
    fn number(number: u64) -> From {
        From::Place(Place {
            number,
            position: at(0, 0),
        })
    }

    #[test]
    fn a_reading_goes_on_where_the_last_one_ended() {
        let tails = Tails::new(LIMITS);
        assert_eq!(read(&tails, From::Position(at(5, 1)), 9), Ok((vec![], 0, true)));
        for offset in 6..=9 {
            push(&tails, at(offset, 1), offset != 7);
        }
        assert_eq!(read(&tails, From::Position(at(5, 1)), 2), Ok((vec![6, 8], 3, false)));
        assert_eq!(read(&tails, number(3), 2), Ok((vec![9], 4, true)));
        push(&tails, at(10, 1), false);
        assert_eq!(read(&tails, number(4), 2), Ok((vec![], 5, true)));
        assert_eq!(read(&tails, From::Position(at(10, 1)), 2), Ok((vec![], 5, true)));
    }

    #[test]
    fn what_is_not_kept_is_not_passed_over() {
        let tails = Tails::new(LIMITS);
        for offset in 1..=6 {
            push(&tails, at(offset, 1), true);
        }
        assert_eq!(
            read(&tails, From::Position(at(2, 1)), 9),
            Ok((vec![3, 4, 5, 6], 6, true))
        );
        for severed in [From::Position(at(1, 1)), From::Position(at(3, 2)), number(1)] {
            assert_eq!(read(&tails, severed, 9), Err(Unread::Severed), "{severed:?}");
        }
        assert_eq!(read(&tails, From::Position(at(7, 1)), 9), Err(Unread::Ahead));
        push(&tails, at(4, 2), true);
        assert_eq!(read(&tails, From::Position(at(3, 2)), 9), Ok((vec![4], 8, true)));
        for severed in [number(6), From::Position(at(2, 2))] {
            assert_eq!(read(&tails, severed, 9), Err(Unread::Severed), "{severed:?}");
        }
        // An entry that does not follow the last one cuts it as well.
        push(&tails, at(6, 2), true);
        assert_eq!(read(&tails, From::Position(at(4, 2)), 9), Err(Unread::Severed));
    }

    #[test]
    fn guilds_are_seen_no_earlier_than_asked_and_not_before_they_are_known() {
        let (tails, name): (_, Arc<str>) = (Tails::new(LIMITS), "a".into());
        let see = |since| tails.guilds("a", since, |guilds| guilds.ids(None).count());
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
            tails.push(entry, |entry, number| {
                Arc::new(Prepared::new(
                    entry,
                    number,
                    Level::default(),
                    Arc::new(Metrics::default()),
                ))
            });
        };
        tails.follow(&name, None);
        assert_eq!(see(None), None);
        tails.know(&name, Some(Guilds::default()));
        tails.follow(&name, Some(at(5, 1)));
        assert_eq!(
            (see(None), see(Some(at(5, 1))), see(Some(at(6, 1)))),
            (Some(0), Some(0), None)
        );
        create(6, 7);
        assert_eq!((see(Some(at(6, 1))), see(Some(at(6, 2)))), (Some(1), None));
        tails.know(&name, None);
        create(7, 8);
        assert_eq!(see(None), None);
        tails.know(&name, Some(Guilds::default()));
        assert_eq!(see(Some(at(7, 1))), Some(0));
    }

    #[test]
    fn a_tail_says_nothing_while_its_log_is_not_followed() {
        let (tails, name) = (Tails::new(LIMITS), "a".into());
        tails.follow(&name, None);
        assert_eq!(read(&tails, From::Position(at(0, 1)), 9), Err(Unread::Severed));
        tails.follow(&name, Some(at(5, 1)));
        push(&tails, at(6, 1), true);
        assert_eq!(read(&tails, From::Position(at(5, 1)), 9), Ok((vec![6], 2, true)));
        tails.follow(&name, None);
        assert_eq!(read(&tails, From::Position(at(5, 1)), 9), Err(Unread::Severed));
        // Nothing came meanwhile: what it has still leads on.
        tails.follow(&name, Some(at(6, 1)));
        assert_eq!(read(&tails, From::Position(at(5, 1)), 9), Ok((vec![6], 2, true)));
        tails.follow(&name, Some(at(8, 1)));
        assert_eq!(read(&tails, From::Position(at(6, 1)), 9), Err(Unread::Severed));
        assert_eq!(read(&tails, From::Position(at(8, 1)), 9), Ok((vec![], 3, true)));
    }
}
