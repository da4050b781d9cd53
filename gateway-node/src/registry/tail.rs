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
use shared::discord::{Content, Header, Target};
use tokio::time::Instant;

use super::{
    line::{Line, Place},
    prepared::Prepared,
};
use crate::{
    cluster::{Entry, Position},
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
    /// Behind this position of the log, or where the node is, if it has not come that far: a session that begins.
    Opening(Position),
    /// Behind this position of the log.
    Position(Position),
    /// Behind the entry of this number.
    Number(u64),
}

/// Some entries of a log, in order.
pub struct Reading {
    pub(super) entries: Vec<Arc<Prepared>>,
    /// Where the next reading begins.
    pub through: Place,
    /// Whether this was all there is now.
    pub is_end: bool,
}

impl Reading {
    /// What was read, in order.
    pub fn entries(&self) -> impl Iterator<Item = Replay<'_>> {
        self.entries.iter().map(|entry| Replay(entry))
    }
}

/// An entry that a session reads again.
#[derive(Clone, Copy)]
pub struct Replay<'a>(&'a Prepared);

impl<'a> Replay<'a> {
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

/// The tail does not go back that far, or not that way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the log does not lead on from there")]
pub struct Severed;

/// The tails of all logs.
pub(super) struct Tails {
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
    /// The guilds as they are at the end.
    guilds: Guilds,
}

impl Tails {
    pub(super) fn new(limits: TailLimits) -> Self {
        Self {
            limits,
            tails: Mutex::default(),
        }
    }

    /// Takes the next entry of its log, numbered by `prepare`.
    pub(super) fn push(&self, entry: Entry, prepare: impl FnOnce(Entry, u64) -> Arc<Prepared>) -> Arc<Prepared> {
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
            tail.cut_before(position);
        }
        let number = tail.end.number + 1;
        tail.end = Place { number, position };
        let prepared = prepare(entry, number);
        if let Some(header) = &prepared.entry.discord {
            if header.target == Target::All {
                let Entry { name, d, .. } = &prepared.entry;
                tail.guilds.apply(name, header.guild, d);
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
    pub(super) fn read(&self, application: &Arc<str>, from: From, most: usize) -> Result<Reading, Severed> {
        let mut tails = self.tails.lock().unwrap_or_else(PoisonError::into_inner);
        let tail = match (tails.get_mut(application), from) {
            (Some(tail), _) => tail,
            // Nothing has come since anybody was here to hear it.
            (None, From::Opening(position) | From::Position(position)) => tails
                .entry(Arc::clone(application))
                .or_insert_with(|| Tail::begun_at(position)),
            (None, From::Number(_)) => return Err(Severed),
        };
        let (floor, end) = (tail.floor.position, tail.end.position);
        let from = match from {
            From::Opening(position) if position.epoch == end.epoch && position.offset > end.offset => {
                From::Number(tail.end.number)
            }
            From::Opening(position) => From::Position(position),
            other => other,
        };
        let first = match from {
            From::Opening(position) | From::Position(position) => {
                if position.epoch != end.epoch || !(floor.offset..=end.offset).contains(&position.offset) {
                    return Err(Severed);
                }
                tail.kept
                    .partition_point(|(_, kept)| kept.entry.position.offset <= position.offset)
            }
            From::Number(number) => {
                if number < tail.floor.number {
                    return Err(Severed);
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
            through,
            is_end,
        })
    }
}

impl Tails {
    /// What `look` sees in the guilds of an application, as they are at the end of its log.
    pub(super) fn guilds<T>(&self, application: &str, look: impl FnOnce(&Guilds) -> T) -> T {
        let tails = self.tails.lock().unwrap_or_else(PoisonError::into_inner);
        match tails.get(application) {
            Some(tail) => look(&tail.guilds),
            None => look(&Guilds::default()),
        }
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
            guilds: Guilds::default(),
        }
    }

    /// Whether this position is the one behind the end.
    fn leads_to(&self, position: Position) -> bool {
        let end = self.end.position;
        end.epoch == position.epoch && end.offset + 1 == position.offset
    }

    /// Forgets everything: it does not lead to this position, and nobody who is there can go on here.
    fn cut_before(&mut self, position: Position) {
        self.kept.clear();
        self.bytes = 0;
        self.floor = Place {
            number: self.end.number + 1,
            position: Position {
                offset: position.offset.saturating_sub(1),
                ..position
            },
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
    use shared::client_type::ClientTypes;

    use super::*;
    use crate::{
        cluster::{Audience, Epoch},
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
            Arc::new(Prepared::new(entry, number, Arc::new(Metrics::default())))
        });
    }

    fn read(tails: &Tails, from: From, most: usize) -> Result<(Vec<u64>, u64, bool), Severed> {
        let reading = tails.read(&"a".into(), from, most)?;
        let offsets = reading.entries.iter().map(|entry| entry.entry.position.offset);
        Ok((offsets.collect(), reading.through.number, reading.is_end))
    }

    #[test]
    fn a_reading_goes_on_where_the_last_one_ended() {
        let tails = Tails::new(LIMITS);
        assert_eq!(read(&tails, From::Position(at(5, 1)), 9), Ok((vec![], 0, true)));
        for offset in 6..=9 {
            push(&tails, at(offset, 1), offset != 7);
        }
        assert_eq!(read(&tails, From::Position(at(5, 1)), 2), Ok((vec![6, 8], 3, false)));
        assert_eq!(read(&tails, From::Number(3), 2), Ok((vec![9], 4, true)));
        push(&tails, at(10, 1), false);
        assert_eq!(read(&tails, From::Number(4), 2), Ok((vec![], 5, true)));
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
        for severed in [
            From::Position(at(1, 1)),
            From::Position(at(7, 1)),
            From::Position(at(3, 2)),
            From::Number(1),
        ] {
            assert_eq!(read(&tails, severed, 9), Err(Severed), "{severed:?}");
        }
        push(&tails, at(4, 2), true);
        assert_eq!(read(&tails, From::Position(at(3, 2)), 9), Ok((vec![4], 8, true)));
        for severed in [From::Number(6), From::Position(at(2, 2)), From::Opening(at(2, 2))] {
            assert_eq!(read(&tails, severed, 9), Err(Severed), "{severed:?}");
        }
        // An entry that does not follow the last one cuts it as well.
        push(&tails, at(6, 2), true);
        assert_eq!(read(&tails, From::Position(at(4, 2)), 9), Err(Severed));
    }

    #[test]
    fn a_session_that_begins_ahead_of_its_node_begins_where_the_node_is() {
        let tails = Tails::new(LIMITS);
        push(&tails, at(1, 1), true);
        assert_eq!(read(&tails, From::Opening(at(3, 1)), 9), Ok((vec![], 1, true)));
        assert_eq!(read(&tails, From::Opening(at(0, 1)), 9), Ok((vec![1], 1, true)));
        assert_eq!(read(&tails, From::Opening(at(0, 2)), 9), Err(Severed));
    }
}
