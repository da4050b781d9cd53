//! The replay buffers of all logs.

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use rustc_hash::FxHashMap;
use tokio::{
    sync::{Notify, futures::Notified},
    time::Instant,
};

use super::{
    ReadFrom, ReplayError, ReplayLimits, ReplayPage,
    buffer::{ReplayBuffer, before},
};
use crate::{
    backplane::{Entry, Epoch, Position},
    encode::encoded_event::EncodedEvent,
    guilds::Guilds,
    metrics::ReplayMoment,
};

/// The replay buffers of all logs, shared by all workers.
pub(crate) struct ReplayBuffers {
    limits: ReplayLimits,
    state: Mutex<BuffersState>,
    /// Wakes whoever waits for a buffer to change.
    changed: Notify,
}

#[derive(Default)]
struct BuffersState {
    buffers: FxHashMap<Arc<str>, ReplayBuffer>,
    /// Whether a reader has found less than it needs, and may wait for more.
    is_awaited: bool,
}

impl ReplayBuffers {
    pub(crate) fn new(limits: ReplayLimits) -> Self {
        Self {
            limits,
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Completes when any buffer has changed. To be called before the read whose failure is waited out.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Records that the next entry comes after this position, or, given `None`, that nothing comes until the log is
    /// followed again.
    pub(crate) fn follow(&self, application: &Arc<str>, from: Option<Position>) {
        let mut state = self.lock();
        let nowhere = Position {
            offset: 0,
            epoch: Epoch::from_raw(0),
        };
        let buffer = state
            .buffers
            .entry(Arc::clone(application))
            .or_insert_with(|| ReplayBuffer::begin_at(from.unwrap_or(nowhere)));
        buffer.follow(from);
        self.wake(state);
    }

    /// Adds the next entry of its log, which `encode` numbers. `is_received` says whether sessions of this node may receive
    /// it now.
    pub(crate) fn push(
        &self,
        entry: Entry,
        is_received: bool,
        encode: impl Fn(Entry, u64) -> Arc<EncodedEvent>,
    ) -> Arc<EncodedEvent> {
        let now = Instant::now();
        let mut state = self.lock();
        let buffer = match state.buffers.get_mut(&entry.application) {
            Some(buffer) => buffer,
            None => state
                .buffers
                .entry(Arc::clone(&entry.application))
                .or_insert_with(|| ReplayBuffer::begin_at(before(entry.position))),
        };
        let event = buffer.push(entry, is_received, encode, self.limits, now);
        self.wake(state);
        event
    }

    /// Ensures that a log has a buffer. If no entry has arrived on this node yet, the next one comes after `position`.
    pub(crate) fn begin(&self, application: &Arc<str>, position: Position) {
        let mut state = self.lock();
        state
            .buffers
            .entry(Arc::clone(application))
            .or_insert_with(|| ReplayBuffer::begin_at(position));
    }

    /// Returns the size of a buffer, and what was dropped from it.
    pub(crate) fn moment(&self, application: &str) -> ReplayMoment {
        let state = self.lock();
        state
            .buffers
            .get(application)
            .map(ReplayBuffer::moment)
            .unwrap_or_default()
    }

    /// Returns the position before the oldest entry of a log that is kept, if the log has a buffer.
    pub(crate) fn floor(&self, application: &str) -> Option<Position> {
        self.lock().buffers.get(application).map(ReplayBuffer::floor)
    }

    /// Returns up to `most` entries of a log after `from`.
    ///
    /// # Errors
    /// Fails if the buffer does not have all of them.
    pub(crate) fn read(&self, application: &Arc<str>, from: ReadFrom, most: usize) -> Result<ReplayPage, ReplayError> {
        let mut state = self.lock();
        let buffer = match (state.buffers.get_mut(application), from) {
            (Some(buffer), _) => buffer,
            // No entry has arrived on this node yet.
            (None, ReadFrom::Position(position)) => state
                .buffers
                .entry(Arc::clone(application))
                .or_insert_with(|| ReplayBuffer::begin_at(position)),
            (None, ReadFrom::Cursor(_)) => return Err(ReplayError::Severed),
        };
        let page = buffer.read(from, most);
        // An end that is not the one asked for is waited out too.
        state.is_awaited |= page.as_ref().map_or(true, |page| page.entries.is_empty());
        page
    }

    /// Replaces the guilds of an application. Each guild includes the log up to its own offset; the next deliveries may
    /// be before that offset, but lead up to it.
    pub(crate) fn set_guilds(&self, application: &Arc<str>, guilds: Option<Guilds>) {
        let mut state = self.lock();
        if let Some(buffer) = state.buffers.get_mut(application) {
            buffer.set_guilds(guilds);
        }
        self.wake(state);
    }

    /// Calls `query` with the guilds of an application as of the end of its log. Returns `None` if this node does not
    /// know them now or has not reached `since`.
    pub(crate) fn guilds<T>(
        &self,
        application: &str,
        since: Option<Position>,
        query: impl FnOnce(&Guilds) -> T,
    ) -> Option<T> {
        let mut state = self.lock();
        let Some(buffer) = state.buffers.get(application) else {
            // The log has had no entries.
            return Some(query(&Guilds::default()));
        };
        let result = buffer.guilds(since).map(query);
        state.is_awaited |= result.is_none();
        result
    }

    fn lock(&self) -> MutexGuard<'_, BuffersState> {
        self.state.lock()
    }

    fn wake(&self, mut state: MutexGuard<'_, BuffersState>) {
        let is_awaited = std::mem::take(&mut state.is_awaited);
        drop(state);
        if is_awaited {
            self.changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::{
        client_type::ClientTypes,
        compression::Level,
        discord::{Header, Target},
    };

    use super::*;
    use crate::{backplane::Audience, encode::LogCursor, metrics::Metrics};

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

    fn encode(entry: Entry, number: u64) -> Arc<EncodedEvent> {
        let metrics = Arc::new(Metrics::default());
        Arc::new(EncodedEvent::new(entry, number, Level::default(), metrics))
    }

    fn push(buffers: &ReplayBuffers, position: Position, is_kept: bool) {
        let header = || Arc::new(Header::of("X", "{}", Target::All, None));
        let entry = Entry {
            position,
            name: "X".into(),
            first: (!is_kept).then_some(1),
            discord: is_kept.then(header),
            ..Entry::example(Audience::Types(ClientTypes::NONE))
        };
        buffers.push(entry, true, encode);
    }

    fn read(buffers: &ReplayBuffers, from: ReadFrom, most: usize) -> Result<(Vec<u64>, u64, bool), ReplayError> {
        let page = buffers.read(&"a".into(), from, most)?;
        let offsets = page.entries.iter().map(|entry| entry.entry.position.offset);
        let ReadFrom::Cursor(next) = page.next else {
            panic!("a buffer returns cursors");
        };
        Ok((offsets.collect(), next.number, page.end.is_some()))
    }

    /// Reads after the entry with this number. Its position does not matter to a history that has it.
    fn number(number: u64) -> ReadFrom {
        ReadFrom::Cursor(LogCursor {
            number,
            position: at(0, 0),
        })
    }

    #[test]
    fn a_page_continues_where_the_last_one_ended() {
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
    fn entries_no_longer_kept_are_not_skipped() {
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
        // An entry that does not follow the last one cuts the history too.
        push(&buffers, at(6, 2), true);
        assert_eq!(
            read(&buffers, ReadFrom::Position(at(4, 2)), 9),
            Err(ReplayError::Severed)
        );
    }

    #[test]
    fn guilds_need_to_be_known_and_recent_enough() {
        let (buffers, name): (_, Arc<str>) = (ReplayBuffers::new(LIMITS), "a".into());
        let see = |since| buffers.guilds("a", since, |guilds| guilds.ids(None).count());
        let create = |offset: u64, id: u64| {
            let d = format!("{{\"id\":\"{id}\"}}");
            let entry = Entry {
                position: at(offset, 1),
                name: "GUILD_CREATE".into(),
                discord: Some(Arc::new(Header::of("GUILD_CREATE", &d, Target::All, None))),
                d: d.into(),
                ..Entry::example(Audience::Types(ClientTypes::NONE))
            };
            buffers.push(entry, true, encode);
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
    fn nothing_is_read_while_the_log_is_not_followed() {
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
        // Nothing came meanwhile, so the history continues.
        buffers.follow(&name, Some(at(6, 1)));
        assert_eq!(read(&buffers, ReadFrom::Position(at(5, 1)), 9), Ok((vec![6], 2, true)));
        buffers.follow(&name, Some(at(8, 1)));
        assert_eq!(
            read(&buffers, ReadFrom::Position(at(6, 1)), 9),
            Err(ReplayError::Severed)
        );
        assert_eq!(read(&buffers, ReadFrom::Position(at(8, 1)), 9), Ok((vec![], 3, true)));
    }

    #[tokio::test]
    async fn readers_wait_for_the_next_change() {
        let buffers = ReplayBuffers::new(LIMITS);
        push(&buffers, at(1, 1), true);
        let changed = buffers.changed();
        let ahead = ReadFrom::Position(at(2, 1));
        assert_eq!(read(&buffers, ahead, 9), Err(ReplayError::Ahead));
        push(&buffers, at(2, 1), true);
        changed.await;
        assert_eq!(read(&buffers, ahead, 9), Ok((vec![], 2, true)));
    }
}
