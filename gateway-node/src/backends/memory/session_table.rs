//! The in-memory table of resumable sessions.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use rustc_hash::FxHashMap;
use shared::{discord::Filter, session_id::SessionId};
use tokio::time::Instant;

use crate::{
    backplane::Position,
    resume::{
        Checkpoint, PRIVATE_BYTES, PresenceEvent, PresenceTracker, PrivateBody, PrivateRecord, Record, ResumeError,
        ResumeParams, SLOW_CUTS, SessionContinuation, ShardCoverage,
    },
};

/// The sessions of one application, connected or resumable.
pub(crate) struct SessionTable {
    sessions: FxHashMap<SessionId, SessionRow>,
    /// How long a disconnected session can be resumed.
    window: Duration,
    /// Disconnected sessions, in the order in which they expire, each with its fencing token.
    leaving: VecDeque<(Instant, SessionId, u64)>,
    /// Their published presences and voice states.
    pub(crate) seen: PresenceTracker,
}

struct SessionRow {
    record: Arc<Record>,
    /// Grows with every owner. Writes of an earlier owner are ignored.
    fencing_token: u64,
    is_connected: bool,
    checkpoint: Checkpoint,
    /// State that few sessions have.
    cold: Option<Box<ColdState>>,
}

/// The less common state of a session. Most sessions have none of it most of the time.
#[derive(Default)]
struct ColdState {
    privates: BTreeMap<u64, PrivateBody>,
    private_bytes: usize,
    /// Some private events up to this sequence number have been discarded.
    forgotten: u64,
    slow_cuts: VecDeque<Instant>,
}

impl ColdState {
    fn is_empty(&self) -> bool {
        self.privates.is_empty() && self.forgotten == 0 && self.slow_cuts.is_empty()
    }
}

impl SessionRow {
    fn cold(&mut self) -> &mut ColdState {
        self.cold.get_or_insert_default()
    }
}

impl SessionTable {
    /// Creates an empty table. A session can be resumed for `window` after it disconnects.
    pub(crate) fn new(window: Duration) -> Self {
        Self {
            sessions: FxHashMap::default(),
            window,
            leaving: VecDeque::new(),
            seen: PresenceTracker::default(),
        }
    }

    /// Whether there is a session with this id.
    pub(crate) fn has(&self, id: SessionId) -> bool {
        self.sessions.contains_key(&id)
    }

    /// Stores a new session, which receives the entries after `since`. Returns its fencing token.
    pub(crate) fn open(&mut self, id: SessionId, record: Arc<Record>, since: Position) -> u64 {
        self.seen.begins(coverage(id, &record));
        let session = SessionRow {
            record,
            fencing_token: 1,
            is_connected: true,
            checkpoint: Checkpoint { s: 0, position: since },
            cold: None,
        };
        self.sessions.insert(id, session);
        1
    }

    /// Gives a session a new owner.
    ///
    /// # Errors
    /// When it cannot be resumed from the dispatch that the client has.
    pub(crate) fn resume(&mut self, params: &ResumeParams, now: Instant) -> Result<SessionContinuation, ResumeError> {
        let session = self.sessions.get_mut(&params.id).ok_or(ResumeError::Gone)?;
        let is_theirs = *session.record.application == *params.application && session.record.key == params.key;
        if !is_theirs || session.record.filter_version != Filter::VERSION {
            return Err(ResumeError::Gone);
        }
        let (mut forgotten, mut slow_cuts) = (0, 0);
        if let Some(cold) = &mut session.cold {
            cold.slow_cuts.retain(|cut| now.duration_since(*cut) < self.window);
            (forgotten, slow_cuts) = (cold.forgotten, cold.slow_cuts.len());
        }
        // A client that resumes has seen the first dispatch, even if it does not count it.
        let seq = params.seq.max(1);
        if seq < session.checkpoint.s || seq < forgotten {
            // The session stays resumable: the request may come from a connection that the client has since given up.
            return Err(ResumeError::Gone);
        }
        if slow_cuts >= SLOW_CUTS {
            self.remove(params.id);
            return Err(ResumeError::Gone);
        }
        session.fencing_token += 1;
        session.is_connected = true;
        Ok(SessionContinuation {
            record: Arc::clone(&session.record),
            fencing_token: session.fencing_token,
            checkpoint: session.checkpoint,
            privates: session
                .cold
                .as_ref()
                .map(|cold| cold.privates.clone())
                .unwrap_or_default(),
            end: None,
        })
    }

    /// Persists private events before they are sent. Returns `false` if the session has a newer owner.
    pub(crate) fn keep(&mut self, id: SessionId, fencing_token: u64, privates: Vec<PrivateRecord>) -> bool {
        let Some(session) = self.owned(id, fencing_token) else {
            return false;
        };
        let cold = session.cold();
        for private in privates {
            cold.private_bytes += private.weight();
            cold.privates.insert(private.s, private.body);
        }
        while cold.private_bytes > PRIVATE_BYTES {
            let Some((s, body)) = cold.privates.pop_first() else {
                break;
            };
            cold.private_bytes -= PrivateRecord { s, body }.weight();
            cold.forgotten = s;
        }
        true
    }

    /// Records how far a client is, and drops the private events up to there.
    pub(crate) fn checkpoint(&mut self, id: SessionId, fencing_token: u64, checkpoint: Checkpoint) {
        let Some(session) = self.owned(id, fencing_token) else {
            return;
        };
        if checkpoint.s < session.checkpoint.s {
            return;
        }
        session.checkpoint = checkpoint;
        let Some(cold) = &mut session.cold else { return };
        while let Some(first) = cold.privates.first_entry()
            && *first.key() <= checkpoint.s
        {
            let (s, body) = first.remove_entry();
            cold.private_bytes -= PrivateRecord { s, body }.weight();
        }
        if cold.is_empty() {
            session.cold = None;
        }
    }

    /// Records that a session has lost its connection. `is_slow` means that it was closed for reading too slowly.
    pub(crate) fn detach(&mut self, id: SessionId, fencing_token: u64, is_slow: bool, now: Instant) {
        let until = now + self.window;
        let Some(session) = self.owned(id, fencing_token) else {
            return;
        };
        session.is_connected = false;
        if is_slow {
            session.cold().slow_cuts.push_back(now);
        }
        self.leaving.push_back((until, id, fencing_token));
    }

    /// Ends a session. Returns `false` if it has a newer owner.
    pub(crate) fn end(&mut self, id: SessionId, fencing_token: u64) -> bool {
        self.owned(id, fencing_token).is_some() && self.remove(id)
    }

    /// Removes expired sessions and returns their ids.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<SessionId> {
        let mut gone = Vec::new();
        while let Some((until, id, fencing_token)) = self.leaving.front().copied() {
            if until > now {
                break;
            }
            self.leaving.pop_front();
            if self
                .owned(id, fencing_token)
                .is_some_and(|session| !session.is_connected)
            {
                self.remove(id);
                gone.push(id);
            }
        }
        gone
    }

    /// Returns those of the updates that have to be published, or `None` if the session has a newer owner.
    pub(crate) fn news(
        &self,
        id: SessionId,
        fencing_token: u64,
        presence_queue: Vec<PresenceEvent>,
    ) -> Option<(ShardCoverage, Vec<PresenceEvent>)> {
        let session = self.sessions.get(&id).filter(|it| it.fencing_token == fencing_token)?;
        let coverage = coverage(id, &session.record);
        let mut news = presence_queue;
        news.retain(|event| self.seen.is_news(coverage, event));
        Some((coverage, news))
    }

    fn remove(&mut self, id: SessionId) -> bool {
        let Some(session) = self.sessions.remove(&id) else {
            return false;
        };
        self.seen.ends(coverage(id, &session.record));
        true
    }

    fn owned(&mut self, id: SessionId, fencing_token: u64) -> Option<&mut SessionRow> {
        let session = self.sessions.get_mut(&id)?;
        (session.fencing_token == fencing_token).then_some(session)
    }
}

fn coverage(session: SessionId, record: &Record) -> ShardCoverage {
    ShardCoverage {
        session,
        user: record.filter.user,
        shard: record.filter.shard,
    }
}

#[cfg(test)]
mod tests {
    use shared::discord::{Intents, Shard, Version};

    use super::*;
    use crate::backplane::Epoch;

    const WINDOW: Duration = Duration::from_secs(60);
    const ID: SessionId = SessionId::from_raw(7);

    fn at(offset: u64) -> Position {
        Position {
            offset,
            epoch: Epoch::from_raw(1),
        }
    }

    fn record() -> Record {
        Record {
            application: "a".into(),
            key: "k".into(),
            filter: Filter {
                intents: Intents::ALL,
                shard: Shard::WHOLE,
                user: 1,
                withholds_content: false,
            },
            filter_version: Filter::VERSION,
            version: Version::V10,
            large_threshold: 50,
        }
    }

    fn table() -> SessionTable {
        let mut table = SessionTable::new(WINDOW);
        table.open(ID, Arc::new(record()), at(10));
        table
    }

    fn params(seq: u64) -> ResumeParams {
        ResumeParams {
            application: "a".into(),
            key: "k".into(),
            id: ID,
            seq,
        }
    }

    fn private(s: u64, bytes: usize) -> PrivateRecord {
        PrivateRecord {
            s,
            body: PrivateBody::Event {
                name: "X".into(),
                d: "x".repeat(bytes).into(),
            },
        }
    }

    #[test]
    fn a_session_resumes_from_what_its_client_has() {
        let (mut table, now) = (table(), Instant::now());
        let checkpoint = Checkpoint { s: 5, position: at(20) };
        table.checkpoint(ID, 1, checkpoint);
        let resumed = table.resume(&params(9), now).unwrap();
        assert_eq!((resumed.fencing_token, resumed.checkpoint), (2, checkpoint));
        // Writes of the earlier owner are ignored.
        table.checkpoint(ID, 1, Checkpoint { s: 9, position: at(30) });
        assert!(!table.keep(ID, 1, vec![private(10, 1)]) && !table.end(ID, 1));
        table.detach(ID, 1, false, now);
        assert_eq!(
            table.resume(&params(5), now + 2 * WINDOW).unwrap().checkpoint,
            checkpoint
        );
        assert_eq!(table.resume(&params(4), now).unwrap_err(), ResumeError::Gone);
        assert!(
            table.resume(&params(5), now).is_ok(),
            "a failed resume does not end the session"
        );
    }

    #[test]
    fn a_resume_needs_the_sessions_application_key_and_id() {
        let (mut table, now) = (table(), Instant::now());
        for other in [
            ResumeParams {
                application: "b".into(),
                ..params(1)
            },
            ResumeParams {
                key: "other".into(),
                ..params(1)
            },
            ResumeParams {
                id: SessionId::from_raw(8),
                ..params(1)
            },
        ] {
            assert_eq!(table.resume(&other, now).unwrap_err(), ResumeError::Gone);
        }
        assert!(table.resume(&params(0), now).is_ok());
    }

    #[test]
    fn a_detached_session_is_resumable_for_its_window() {
        let (mut table, now) = (table(), Instant::now());
        table.detach(ID, 1, false, now);
        assert_eq!(table.expire(now + WINDOW - Duration::from_millis(1)), []);
        assert!(table.resume(&params(1), now).is_ok());
        assert_eq!(table.expire(now + WINDOW), [], "it is connected again");
        table.detach(ID, 2, false, now);
        assert_eq!(table.expire(now + WINDOW), [ID]);
        assert!(table.resume(&params(1), now).is_err());
        let mut ended = self::table();
        assert!(ended.end(ID, 1));
        assert!(ended.resume(&params(1), now).is_err());
    }

    #[test]
    fn private_events_are_stored_until_the_client_has_them() {
        let (mut table, now) = (table(), Instant::now());
        assert!(table.keep(ID, 1, vec![private(1, 10), private(2, 10), private(5, 10)]));
        table.checkpoint(ID, 1, Checkpoint { s: 2, position: at(11) });
        let resumed = table.resume(&params(2), now).unwrap();
        assert_eq!(resumed.privates.keys().copied().collect::<Vec<_>>(), [5]);
        // Discarded private events make earlier dispatches impossible to resume from.
        assert!(table.keep(ID, 2, vec![private(6, PRIVATE_BYTES), private(7, 10)]));
        assert_eq!(table.resume(&params(5), now).unwrap_err(), ResumeError::Gone);
    }

    #[test]
    fn a_session_closed_repeatedly_for_slow_reading_is_not_resumed() {
        let (mut table, now) = (table(), Instant::now());
        for cut in 0..3 {
            table.detach(ID, 1 + cut, true, now);
            assert_eq!(table.resume(&params(1), now).is_ok(), cut < 2, "{cut}");
        }
        let mut table = self::table();
        for cut in 0..10 {
            let then = now + WINDOW / 2 * u32::try_from(cut).unwrap();
            table.detach(ID, 1 + cut, true, then);
            assert!(table.resume(&params(1), then).is_ok(), "{cut}");
        }
    }
}
