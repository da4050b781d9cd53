//! The latest entries of one log, for sessions that catch up: what they replay, and what comes between a replay and the
//! shard's deliveries.
//!
//! Events that were appended again are not kept. Every entry is numbered when it arrives, so that a session
//! and its shard can tell which of them is further ahead.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::page::{ReadFrom, ReplayError, ReplayPage};
use crate::{
    backplane::{Entry, Position},
    encode::{LogCursor, encoded_event::EncodedEvent},
    guilds::Guilds,
    metrics::ReplayMoment,
};

/// The most bytes of data per page. A larger entry comes by itself.
const AT_ONCE: usize = 32 * 1024;

/// The limits of one replay buffer.
#[derive(Debug, Clone, Copy)]
pub struct ReplayLimits {
    /// The most entries.
    pub entries: usize,
    /// The longest time that an entry is kept.
    pub age: Duration,
    /// The most bytes.
    pub bytes: usize,
}

/// The replay buffer of one log, in one epoch.
pub(super) struct ReplayBuffer {
    kept: VecDeque<(Instant, Arc<EncodedEvent>)>,
    bytes: usize,
    /// Every entry after this cursor is kept, but for events that were appended again.
    floor: LogCursor,
    end: LogCursor,
    /// The guilds as of `end`, or `None` while this node does not know them.
    guilds: Option<Guilds>,
    /// Whether the log is followed. If not, there may be entries after `end` that this node has not seen.
    is_followed: bool,
    /// The entries dropped so far because of a limit; its `bytes` are not used.
    evicted: ReplayMoment,
}

impl ReplayBuffer {
    /// Creates the buffer of a log whose next entry comes after `position`.
    pub(super) fn begin_at(position: Position) -> Self {
        let cursor = LogCursor { number: 0, position };
        Self {
            kept: VecDeque::new(),
            bytes: 0,
            floor: cursor,
            end: cursor,
            guilds: Some(Guilds::default()),
            is_followed: true,
            evicted: ReplayMoment::default(),
        }
    }

    /// Returns its size, and what was dropped from it.
    pub(super) const fn moment(&self) -> ReplayMoment {
        ReplayMoment {
            bytes: self.bytes,
            ..self.evicted
        }
    }

    /// Records that the next entry comes after `from`, or that nothing comes until the log is followed again.
    pub(super) fn follow(&mut self, from: Option<Position>) {
        self.is_followed = from.is_some();
        if !self.is_followed {
            self.guilds = None;
        }
        if let Some(from) = from
            && self.end.position != from
        {
            self.restart_at(from);
        }
    }

    /// Replaces the guilds.
    pub(super) fn set_guilds(&mut self, guilds: Option<Guilds>) {
        self.guilds = guilds;
    }

    /// Returns the guilds, if this node knows them and has reached `since`.
    pub(super) fn guilds(&self, since: Option<Position>) -> Option<&Guilds> {
        let end = self.end.position;
        let is_reached = |since: Position| end.epoch == since.epoch && end.offset >= since.offset;
        self.guilds.as_ref().filter(|_| since.is_none_or(is_reached))
    }

    /// Adds the next entry, which `encode` numbers. `is_received` says whether sessions of this node may receive it now.
    pub(super) fn push(
        &mut self,
        entry: Entry,
        is_received: bool,
        encode: impl Fn(Entry, u64) -> Arc<EncodedEvent>,
        limits: ReplayLimits,
        now: Instant,
    ) -> Arc<EncodedEvent> {
        let position = entry.position;
        if !self.leads_to(position) {
            self.restart_at(before(position));
        }
        let number = self.end.number + 1;
        self.end = LogCursor { number, position };
        let event = encode(entry, number);
        if let Some(header) = &event.entry.discord {
            let Entry { name, d, .. } = &event.entry;
            if let (Some(guilds), Some((change, guild))) = (&mut self.guilds, header.change(name, d)) {
                guilds.apply(position.offset, change, guild, d);
            }
        }
        // Another append of an event is for sessions that are there now.
        if event.entry.discord.is_some() || event.entry.first.is_none() {
            self.bytes += event.entry.weight();
            // The frames of a copy are made when a session catches up. Those for live sessions are freed once they are
            // delivered: few clients of version 1 ask for them again.
            let kept = if event.entry.discord.is_none() && is_received {
                encode(event.entry.clone(), number)
            } else {
                Arc::clone(&event)
            };
            self.kept.push_back((now, kept));
            self.trim(limits, now);
        }
        event
    }

    /// Returns the position before the oldest entry that is kept.
    pub(super) const fn floor(&self) -> Position {
        self.floor.position
    }

    /// Returns up to `most` entries after `from`.
    ///
    /// # Errors
    /// Fails if the buffer does not have all of them.
    pub(super) fn read(&self, from: ReadFrom, most: usize) -> Result<ReplayPage, ReplayError> {
        if !self.is_followed {
            return Err(ReplayError::Severed);
        }
        let first = self.first_after(from)?;
        let mut bytes = 0;
        let fits = |(_, kept): &&(Instant, Arc<EncodedEvent>)| {
            let before = bytes;
            bytes += kept.entry.d.len();
            before == 0 || bytes <= AT_ONCE
        };
        let kept = self.kept.range(first..).take(most).take_while(fits);
        let entries: Vec<_> = kept.map(|(_, kept)| Arc::clone(kept)).collect();
        let is_end = first + entries.len() == self.kept.len();
        let through = match entries.last() {
            Some(last) if !is_end => last.cursor(),
            _ => self.end,
        };
        Ok(ReplayPage {
            entries,
            next: ReadFrom::Cursor(through),
            end: is_end.then_some(through),
            cut: None,
        })
    }

    /// Returns the index of the first kept entry after `from`.
    fn first_after(&self, from: ReadFrom) -> Result<usize, ReplayError> {
        let (floor, end) = (self.floor.position, self.end.position);
        match from {
            ReadFrom::Position(position) if position.epoch != end.epoch || position.offset < floor.offset => {
                Err(ReplayError::Severed)
            }
            ReadFrom::Position(position) if position.offset > end.offset => Err(ReplayError::Ahead),
            ReadFrom::Position(position) => Ok(self
                .kept
                .partition_point(|(_, kept)| kept.entry.position.offset <= position.offset)),
            ReadFrom::Cursor(LogCursor { number, .. }) if number < self.floor.number => Err(ReplayError::Severed),
            ReadFrom::Cursor(LogCursor { number, .. }) => {
                Ok(self.kept.partition_point(|(_, kept)| kept.number <= number))
            }
        }
    }

    /// Returns whether this position directly follows the end.
    fn leads_to(&self, position: Position) -> bool {
        let end = self.end.position;
        end.epoch == position.epoch && end.offset + 1 == position.offset
    }

    /// Drops everything and restarts after this position, which does not follow the end. Cursors from before cannot be
    /// continued here.
    fn restart_at(&mut self, position: Position) {
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
            let evicted = &mut self.evicted;
            let count = if self.kept.len() > limits.entries {
                &mut evicted.evicted_for_entries
            } else if self.bytes > limits.bytes {
                &mut evicted.evicted_for_bytes
            } else if now.duration_since(*since) > limits.age {
                &mut evicted.evicted_for_age
            } else {
                break;
            };
            *count += 1;
            self.bytes -= oldest.entry.weight();
            self.floor = oldest.cursor();
            self.kept.pop_front();
        }
    }
}

/// Returns the position before this one.
pub(super) const fn before(position: Position) -> Position {
    Position {
        offset: position.offset.saturating_sub(1),
        epoch: position.epoch,
    }
}
