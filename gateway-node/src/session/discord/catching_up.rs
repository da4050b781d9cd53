//! A session on its way to the end of the log.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use shared::discord::{Command, Intents, Version, payload::Ready};
use smallvec::smallvec;

use super::{
    super::Step,
    Steps,
    live::{Live, Points},
    question::{Known, Look, Question, Told, viewer},
    walk::Walk,
};
use crate::{
    auth::Key,
    cluster::{Attachment, Checkpoint, Epoch, Opened, Position, Private, Record, Resumed, What},
    guilds::Viewer,
    registry::{From, Line, Place, Reading, Subscription},
};

/// How many guilds a new session is told of before it has to have taken them.
const GUILDS: usize = 16;
/// How many bytes are sent at once of what can wait until the client has taken them. What is larger goes by itself.
const AT_ONCE: usize = 32 * 1024;

/// A session that has still to get what came before it could receive.
pub(super) struct CatchingUp {
    pub(super) attachment: Attachment,
    record: Arc<Record>,
    walk: Walk,
    /// From where to read on.
    from: From,
    /// Up to where there is something to read, wherever the node is.
    end: Option<Position>,
    /// What the client has: nothing up to there is sent.
    seq: u64,
    /// Entries behind this offset may be others than those that the client has seen there.
    cut: Option<u64>,
    /// The guilds that a new session has still to be told of.
    unknown: VecDeque<u64>,
    /// How the session sees guilds; only a new one has to know.
    viewer: Option<Viewer>,
    /// What the client is to be told before the session receives. The rate of its payloads bounds it.
    tells: VecDeque<Told>,
    /// What the client has asked for meanwhile. The rate of its payloads bounds it.
    waiting: Vec<Command>,
    points: Points,
}

/// What the log yields is not what the client has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Differs;

impl CatchingUp {
    /// A new session, with what it is greeted with.
    pub(super) fn begin(
        known: Known<Opened>,
        version: Version,
        resume_url: &str,
        node: &str,
        line: &Line,
    ) -> (Self, Steps) {
        let Known {
            session,
            key,
            application,
            guilds,
        } = known;
        let Opened {
            attachment,
            record,
            since,
        } = session;
        let shard = record.filter.shard;
        let ready = Ready {
            version,
            session: attachment.owner().id,
            resume_url,
            shard: Some(shard),
            user: &application.user,
            application: &application.brief,
            guilds: &guilds,
            node,
        };
        line.go_on(0, None);
        let greeting = line.dispatch(Ready::NAME, &ready.d());
        let is_told = record.filter.intents.contains(Intents::GUILDS);
        let session = Self {
            walk: Walk::new(record.filter, attachment.owner().id, line.s(), BTreeMap::new()),
            viewer: Some(viewer(&record, &application)),
            attachment,
            record,
            from: From::Position(since),
            end: None,
            seq: line.s(),
            cut: None,
            unknown: guilds.into_iter().filter(|_| is_told).collect(),
            tells: VecDeque::new(),
            waiting: Vec::new(),
            points: Points::default(),
        };
        let mut steps = session.attach(key);
        steps.extend(greeting.map(Step::Send));
        if session.unknown.is_empty() {
            steps.extend(session.read_on());
        } else {
            // Kept before the first of them is sent.
            let told = (session.walk.s() + 1..).zip(&session.unknown);
            let privates = told
                .map(|(s, id)| Private {
                    s,
                    what: What::Guild(*id),
                })
                .collect();
            steps.push(Step::Ask(Question::Keep(session.attachment.keeping(privates))));
        }
        (session, steps)
    }

    /// A session that its client knows up to dispatch `seq`.
    pub(super) fn go_on(known: Known<Resumed>, seq: u64, line: &Line) -> (Self, Steps) {
        let Known { session, key, .. } = known;
        let Resumed {
            attachment,
            record,
            checkpoint: Checkpoint { s, position },
            privates,
            end,
        } = session;
        // The first dispatch is Ready, which nobody gets twice: some libraries do not count it.
        let (s, seq) = (s.max(1), seq.max(1));
        line.go_on(s, None);
        let session = Self {
            walk: Walk::new(record.filter, attachment.owner().id, s, privates),
            attachment,
            record,
            from: From::Position(position),
            end,
            seq,
            cut: None,
            unknown: VecDeque::new(),
            viewer: None,
            tells: VecDeque::from([("RESUMED", "{}".to_owned())]),
            waiting: Vec::new(),
            points: Points::default(),
        };
        let mut steps = session.attach(key);
        steps.extend(session.read_on());
        (session, steps)
    }

    /// A session that received up to dispatch `s` and this place, and gets nothing more now.
    pub(super) fn pause(live: Live, s: u64, place: Place) -> (Self, Steps) {
        let Live {
            attachment,
            record,
            points,
            tells,
        } = live;
        attachment.is_live(false);
        let mut session = Self {
            walk: Walk::new(record.filter, attachment.owner().id, s, BTreeMap::new()),
            attachment,
            record,
            from: From::Place(place),
            end: None,
            seq: s,
            cut: None,
            unknown: VecDeque::new(),
            viewer: None,
            tells: tells.into_vec().into(),
            waiting: Vec::new(),
            points,
        };
        let steps = smallvec![session.keep_tells()];
        (session, steps)
    }

    fn attach(&self, key: Arc<Key>) -> Steps {
        smallvec![Step::Attach(self.attachment.owner().clone(), key)]
    }

    /// Asks for what comes next: guilds that a new session has not been told of, then the log.
    pub(super) fn read_on(&self) -> Steps {
        let application = Arc::clone(&self.attachment.owner().application);
        let next: Vec<_> = self.unknown.iter().take(GUILDS).copied().collect();
        smallvec![Step::Ask(match self.viewer {
            Some(viewer) if !next.is_empty() => Question::Look(application, Look::Greeting(next, viewer)),
            _ => Question::Read(application, self.from, self.end),
        })]
    }

    /// Takes in what was looked for: guilds that a new session is told of, or what its client has asked for.
    pub(super) fn seen(&mut self, told: Vec<Told>, line: &Line) -> Steps {
        if self.unknown.is_empty() {
            self.tells.extend(told);
            return Steps::new();
        }
        let (mut steps, mut bytes) = (Steps::new(), 0);
        for (name, d) in told {
            if bytes > 0 && bytes + d.len() > AT_ONCE {
                break;
            }
            bytes += d.len();
            self.unknown.pop_front();
            line.go_on(self.walk.s(), None);
            self.walk.count(1);
            steps.extend(line.dispatch(name, &d).map(Step::Send));
        }
        self.seq = self.walk.s();
        steps.push(Step::Drain);
        steps
    }

    /// Sends what was read, and then either reads on, when the client has taken it, or receives.
    ///
    /// # Errors
    /// When the client has seen what the log does not yield.
    pub(super) fn read(&mut self, reading: &Reading, line: &Line) -> Result<Steps, Differs> {
        let mut steps = Steps::new();
        self.cut = [self.cut, reading.cut].into_iter().flatten().min();
        for entry in reading.entries() {
            while let Some(what) = self.walk.private() {
                self.send_private(&what, line, &mut steps);
            }
            if let Some(offset) = self.cut.filter(|cut| entry.offset() > *cut) {
                // What the client has seen beyond may have been other entries, which are lost.
                if self.walk.s() < self.seq {
                    return Err(Differs);
                }
                let epoch = reading.next.position().epoch;
                self.from = From::Position(Position { offset, epoch });
                steps.push(self.cross_to(epoch));
                return Ok(steps);
            }
            if let Some(content) = entry.header().and_then(|header| self.walk.entry(header))
                && self.walk.s() > self.seq
            {
                line.go_on(self.walk.s() - 1, None);
                steps.extend(entry.dispatch(line, content).map(Step::Send));
            }
        }
        self.from = reading.next;
        let Some(end) = reading.end else {
            if steps.is_empty() {
                return Ok(self.read_on());
            }
            steps.push(Step::Drain);
            return Ok(steps);
        };
        while let Some(what) = self.walk.private() {
            self.send_private(&what, line, &mut steps);
        }
        if !self.walk.is_complete() || self.walk.s() < self.seq {
            // The client has it from a node that has come further than this one, or the log has lost it.
            self.from = From::Position(end.position);
            let application = Arc::clone(&self.attachment.owner().application);
            steps.push(Step::Ask(Question::ReadBeyond(application, end.position)));
            return Ok(steps);
        }
        line.go_on(self.walk.s(), None);
        if self.cut.is_some() {
            steps.push(self.cross_to(end.position.epoch));
        } else if self.tells.is_empty() {
            steps.push(Step::Subscribe(Box::new(Subscription {
                filter: self.record.filter,
                since: end,
                line: line.clone(),
            })));
        } else {
            steps.push(self.keep_tells());
        }
        Ok(steps)
    }

    /// Goes on in another life of the log. That the client has nothing that is gone has to be kept before it sees anything
    /// of that life: nobody could tell any more.
    fn cross_to(&mut self, epoch: Epoch) -> Step<Question> {
        self.cut = None;
        Step::Ask(Question::Keep(self.attachment.carrying(epoch)))
    }

    fn send_private(&self, what: &What, line: &Line, steps: &mut Steps) {
        // What is kept as the id of a guild was made into an event when the session was resumed.
        if let What::Event { name, d } = what
            && self.walk.s() > self.seq
        {
            line.go_on(self.walk.s() - 1, None);
            steps.extend(line.dispatch(name, d).map(Step::Send));
        }
    }

    /// Has what the client is to be told kept before it is sent: what it has seen can always be found again. No more at
    /// once than a client takes that reads.
    fn keep_tells(&mut self) -> Step<Question> {
        let (mut privates, mut bytes) = (Vec::new(), 0);
        while let Some((_, d)) = self.tells.front()
            && (bytes == 0 || bytes + d.len() <= AT_ONCE)
            && let Some((name, d)) = self.tells.pop_front()
        {
            bytes += d.len();
            privates.push(Private {
                s: self.walk.s() + 1 + privates.len() as u64,
                what: What::Event {
                    name: name.into(),
                    d: d.into(),
                },
            });
        }
        Step::Ask(Question::Keep(self.attachment.keeping(privates)))
    }

    /// Tells the client what is kept now, and goes on when it has taken that. Guilds are told of one by one.
    pub(super) fn kept(&mut self, kept: &[Private], line: &Line) -> Steps {
        let mut steps = Steps::new();
        for Private { s, what } in kept {
            if let What::Event { name, d } = what {
                line.go_on(s - 1, None);
                self.walk.count(1);
                steps.extend(line.dispatch(name, d).map(Step::Send));
            }
        }
        self.seq = self.walk.s();
        line.go_on(self.walk.s(), None);
        if self.tells.is_empty() {
            steps.extend(self.read_on());
        } else {
            steps.push(Step::Drain);
        }
        steps
    }

    /// Keeps what the client asks for until the session receives.
    pub(super) fn keep(&mut self, command: Command) {
        self.waiting.push(command);
    }

    /// The session that receives now, and what its client has asked for meanwhile.
    pub(super) fn finish(self) -> (Live, Vec<Command>) {
        self.attachment.is_live(true);
        let live = Live {
            attachment: self.attachment,
            record: self.record,
            points: self.points,
            tells: Box::default(),
        };
        (live, self.waiting)
    }
}
