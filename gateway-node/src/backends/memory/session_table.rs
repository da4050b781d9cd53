//! The sessions that can be resumed, in memory.

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
        Appearance, Checkpoint, Continued, Cover, PRIVATE_BYTES, Private, Record, ResumeError, Resuming, SLOW_CUTS,
        Seen, What,
    },
};

/// Every session of one application, connected or resumable.
pub(crate) struct Book {
    sessions: FxHashMap<SessionId, Session>,
    /// How long a session that is not connected stays.
    window: Duration,
    /// Sessions that are not connected, in the order in which their time is up.
    leaving: VecDeque<(Instant, SessionId, u64)>,
    /// What others see of them.
    pub(crate) seen: Seen,
}

struct Session {
    record: Arc<Record>,
    /// Grows with every owner; what an earlier one says is not heard.
    generation: u64,
    is_connected: bool,
    checkpoint: Checkpoint,
    /// What few sessions have.
    rest: Option<Box<Rest>>,
}

/// What is known of a session beside where it is. Most have nothing of it most of the time.
#[derive(Default)]
struct Rest {
    privates: BTreeMap<u64, What>,
    private_bytes: usize,
    /// Dispatches up to this one were for it alone and are not kept any more.
    forgotten: u64,
    slow_cuts: VecDeque<Instant>,
}

impl Rest {
    fn is_empty(&self) -> bool {
        self.privates.is_empty() && self.forgotten == 0 && self.slow_cuts.is_empty()
    }
}

impl Session {
    fn rest(&mut self) -> &mut Rest {
        self.rest.get_or_insert_default()
    }
}

impl Book {
    /// An empty book, in which a session stays for `window` after its connection.
    pub(crate) fn new(window: Duration) -> Self {
        Self {
            sessions: FxHashMap::default(),
            window,
            leaving: VecDeque::new(),
            seen: Seen::default(),
        }
    }

    /// Whether there is a session of this id.
    pub(crate) fn has(&self, id: SessionId) -> bool {
        self.sessions.contains_key(&id)
    }

    /// Writes down a new session, which has got nothing of the log up to `since`. Answers its generation.
    pub(crate) fn open(&mut self, id: SessionId, record: Arc<Record>, since: Position) -> u64 {
        self.seen.begins(cover(id, &record));
        let session = Session {
            record,
            generation: 1,
            is_connected: true,
            checkpoint: Checkpoint { s: 0, position: since },
            rest: None,
        };
        self.sessions.insert(id, session);
        1
    }

    /// Gives a session to another owner.
    ///
    /// # Errors
    /// When it cannot go on from the dispatch that the client has.
    pub(crate) fn resume(&mut self, resuming: &Resuming, now: Instant) -> Result<Continued, ResumeError> {
        let session = self.sessions.get_mut(&resuming.id).ok_or(ResumeError::Gone)?;
        let is_theirs = *session.record.application == *resuming.application && session.record.key == resuming.key;
        if !is_theirs || session.record.filter_version != Filter::VERSION {
            return Err(ResumeError::Gone);
        }
        let (mut forgotten, mut slow_cuts) = (0, 0);
        if let Some(rest) = &mut session.rest {
            rest.slow_cuts.retain(|cut| now.duration_since(*cut) < self.window);
            (forgotten, slow_cuts) = (rest.forgotten, rest.slow_cuts.len());
        }
        // Whoever resumes has seen the first dispatch, even if it does not count it.
        let seq = resuming.seq.max(1);
        if seq < session.checkpoint.s || seq < forgotten {
            // Asked on a connection that its client has given up since, perhaps: the session is not over for that.
            return Err(ResumeError::Gone);
        }
        if slow_cuts >= SLOW_CUTS {
            self.remove(resuming.id);
            return Err(ResumeError::Gone);
        }
        session.generation += 1;
        session.is_connected = true;
        Ok(Continued {
            record: Arc::clone(&session.record),
            generation: session.generation,
            checkpoint: session.checkpoint,
            privates: session
                .rest
                .as_ref()
                .map(|rest| rest.privates.clone())
                .unwrap_or_default(),
            end: None,
        })
    }

    /// Keeps what is about to be sent to one session alone. False where its owner is another one by now.
    pub(crate) fn keep(&mut self, id: SessionId, generation: u64, privates: Vec<Private>) -> bool {
        let Some(session) = self.owned(id, generation) else {
            return false;
        };
        let rest = session.rest();
        for private in privates {
            rest.private_bytes += private.weight();
            rest.privates.insert(private.s, private.what);
        }
        while rest.private_bytes > PRIVATE_BYTES {
            let Some((s, what)) = rest.privates.pop_first() else {
                break;
            };
            rest.private_bytes -= Private { s, what }.weight();
            rest.forgotten = s;
        }
        true
    }

    /// Notes what a client has. Everything before is not needed any more.
    pub(crate) fn checkpoint(&mut self, id: SessionId, generation: u64, checkpoint: Checkpoint) {
        let Some(session) = self.owned(id, generation) else {
            return;
        };
        if checkpoint.s < session.checkpoint.s {
            return;
        }
        session.checkpoint = checkpoint;
        let Some(rest) = &mut session.rest else { return };
        while let Some(first) = rest.privates.first_entry()
            && *first.key() <= checkpoint.s
        {
            let (s, what) = first.remove_entry();
            rest.private_bytes -= Private { s, what }.weight();
        }
        if rest.is_empty() {
            session.rest = None;
        }
    }

    /// Notes that a session has lost its connection; `is_slow` says that it was cut for reading slowly.
    pub(crate) fn detach(&mut self, id: SessionId, generation: u64, is_slow: bool, now: Instant) {
        let until = now + self.window;
        let Some(session) = self.owned(id, generation) else {
            return;
        };
        session.is_connected = false;
        if is_slow {
            session.rest().slow_cuts.push_back(now);
        }
        self.leaving.push_back((until, id, generation));
    }

    /// Ends a session. False where its owner is another one by now.
    pub(crate) fn end(&mut self, id: SessionId, generation: u64) -> bool {
        self.owned(id, generation).is_some() && self.remove(id)
    }

    /// Forgets sessions whose time is up, and says which.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<SessionId> {
        let mut gone = Vec::new();
        while let Some((until, id, generation)) = self.leaving.front().copied() {
            if until > now {
                break;
            }
            self.leaving.pop_front();
            if self.owned(id, generation).is_some_and(|session| !session.is_connected) {
                self.remove(id);
                gone.push(id);
            }
        }
        gone
    }

    /// Those of these appearances that have to be told; none where the session has another owner by now.
    pub(crate) fn news(
        &self,
        id: SessionId,
        generation: u64,
        appearances: Vec<Appearance>,
    ) -> Option<(Cover, Vec<Appearance>)> {
        let session = self.sessions.get(&id).filter(|it| it.generation == generation)?;
        let cover = cover(id, &session.record);
        let mut news = appearances;
        news.retain(|appearance| self.seen.is_news(cover, appearance));
        Some((cover, news))
    }

    fn remove(&mut self, id: SessionId) -> bool {
        let Some(session) = self.sessions.remove(&id) else {
            return false;
        };
        self.seen.ends(cover(id, &session.record));
        true
    }

    fn owned(&mut self, id: SessionId, generation: u64) -> Option<&mut Session> {
        let session = self.sessions.get_mut(&id)?;
        (session.generation == generation).then_some(session)
    }
}

fn cover(session: SessionId, record: &Record) -> Cover {
    Cover {
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

    fn book() -> Book {
        let mut book = Book::new(WINDOW);
        book.open(ID, Arc::new(record()), at(10));
        book
    }

    fn resuming(seq: u64) -> Resuming {
        Resuming {
            application: "a".into(),
            key: "k".into(),
            id: ID,
            seq,
        }
    }

    fn private(s: u64, bytes: usize) -> Private {
        Private {
            s,
            what: What::Event {
                name: "X".into(),
                d: "x".repeat(bytes).into(),
            },
        }
    }

    #[test]
    fn a_session_goes_on_from_what_its_client_has() {
        let (mut book, now) = (book(), Instant::now());
        let checkpoint = Checkpoint { s: 5, position: at(20) };
        book.checkpoint(ID, 1, checkpoint);
        let resumed = book.resume(&resuming(9), now).unwrap();
        assert_eq!((resumed.generation, resumed.checkpoint), (2, checkpoint));
        // What the earlier owner still says is not heard.
        book.checkpoint(ID, 1, Checkpoint { s: 9, position: at(30) });
        assert!(!book.keep(ID, 1, vec![private(10, 1)]) && !book.end(ID, 1));
        book.detach(ID, 1, false, now);
        assert_eq!(
            book.resume(&resuming(5), now + 2 * WINDOW).unwrap().checkpoint,
            checkpoint
        );
        assert_eq!(book.resume(&resuming(4), now).unwrap_err(), ResumeError::Gone);
        assert!(book.resume(&resuming(5), now).is_ok(), "what came late ends nothing");
    }

    #[test]
    fn nobody_else_resumes_it() {
        let (mut book, now) = (book(), Instant::now());
        for other in [
            Resuming {
                application: "b".into(),
                ..resuming(1)
            },
            Resuming {
                key: "other".into(),
                ..resuming(1)
            },
            Resuming {
                id: SessionId::from_raw(8),
                ..resuming(1)
            },
        ] {
            assert_eq!(book.resume(&other, now).unwrap_err(), ResumeError::Gone);
        }
        assert!(book.resume(&resuming(0), now).is_ok());
    }

    #[test]
    fn a_session_stays_for_its_window() {
        let (mut book, now) = (book(), Instant::now());
        book.detach(ID, 1, false, now);
        assert_eq!(book.expire(now + WINDOW - Duration::from_millis(1)), []);
        assert!(book.resume(&resuming(1), now).is_ok());
        assert_eq!(book.expire(now + WINDOW), [], "it is connected again");
        book.detach(ID, 2, false, now);
        assert_eq!(book.expire(now + WINDOW), [ID]);
        assert!(book.resume(&resuming(1), now).is_err());
        let mut ended = self::book();
        assert!(ended.end(ID, 1));
        assert!(ended.resume(&resuming(1), now).is_err());
    }

    #[test]
    fn what_was_for_it_alone_is_kept_until_the_client_has_it() {
        let (mut book, now) = (book(), Instant::now());
        assert!(book.keep(ID, 1, vec![private(1, 10), private(2, 10), private(5, 10)]));
        book.checkpoint(ID, 1, Checkpoint { s: 2, position: at(11) });
        let resumed = book.resume(&resuming(2), now).unwrap();
        assert_eq!(resumed.privates.keys().copied().collect::<Vec<_>>(), [5]);
        // Too much of it makes the points before it useless.
        assert!(book.keep(ID, 2, vec![private(6, PRIVATE_BYTES), private(7, 10)]));
        assert_eq!(book.resume(&resuming(5), now).unwrap_err(), ResumeError::Gone);
    }

    #[test]
    fn who_is_cut_for_reading_slowly_again_and_again_is_not_resumed() {
        let (mut book, now) = (book(), Instant::now());
        for cut in 0..3 {
            book.detach(ID, 1 + cut, true, now);
            assert_eq!(book.resume(&resuming(1), now).is_ok(), cut < 2, "{cut}");
        }
        let mut book = self::book();
        for cut in 0..10 {
            let then = now + WINDOW / 2 * u32::try_from(cut).unwrap();
            book.detach(ID, 1 + cut, true, then);
            assert!(book.resume(&resuming(1), then).is_ok(), "{cut}");
        }
    }
}
