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
    live::{AT_ONCE, Live},
    question::{Known, Look, Question, Told},
    walk::Walk,
};
use crate::{
    auth::Key,
    cluster::{Attachment, Checkpoint, Opened, Private, Record, Resumed, What},
    guilds::Viewer,
    registry::{From, Line, Reading, Subscription},
};

/// How many guilds a new session is told of before it has to have taken them.
const GUILDS: usize = 16;

/// A session that has still to get what came before it could receive.
pub(super) struct CatchingUp {
    pub(super) attachment: Attachment,
    record: Arc<Record>,
    walk: Walk,
    /// From where to read on.
    from: From,
    /// What the client has: nothing up to there is sent.
    seq: u64,
    was_resumed: bool,
    /// The guilds that a new session has still to be told of.
    unknown: VecDeque<u64>,
    viewer: Viewer,
    /// What the client has asked for meanwhile. The rate of its payloads bounds it.
    waiting: Vec<Command>,
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
        let unknown: VecDeque<_> = guilds.into_iter().filter(|_| is_told).collect();
        // Kept before the first of them is sent.
        let told = (line.s() + 1..).zip(&unknown);
        attachment.keep(
            told.map(|(s, id)| Private {
                s,
                what: What::Guild(*id),
            })
            .collect(),
        );
        let session = Self {
            walk: Walk::new(record.filter, attachment.owner().id, line.s(), BTreeMap::new()),
            viewer: Viewer::of(&record, &application),
            attachment,
            record,
            from: From::Opening(since),
            seq: line.s(),
            was_resumed: false,
            unknown,
            waiting: Vec::new(),
        };
        let mut steps = session.attach(key);
        steps.extend(greeting.map(Step::Send));
        steps.extend(session.read_on());
        (session, steps)
    }

    /// A session that its client knows up to dispatch `seq`.
    pub(super) fn go_on(known: Known<Resumed>, seq: u64, line: &Line) -> (Self, Steps) {
        let Known {
            session,
            key,
            application,
            ..
        } = known;
        let Resumed {
            attachment,
            record,
            checkpoint: Checkpoint { s, position },
            privates,
        } = session;
        // The first dispatch is Ready, which nobody gets twice: some libraries do not count it.
        let (s, seq) = (s.max(1), seq.max(1));
        line.go_on(s, None);
        let session = Self {
            walk: Walk::new(record.filter, attachment.owner().id, s, privates),
            viewer: Viewer::of(&record, &application),
            attachment,
            record,
            from: From::Position(position),
            seq,
            was_resumed: true,
            unknown: VecDeque::new(),
            waiting: Vec::new(),
        };
        let mut steps = session.attach(key);
        steps.extend(session.read_on());
        (session, steps)
    }

    fn attach(&self, key: Arc<Key>) -> Steps {
        smallvec![Step::Attach(self.attachment.owner().clone(), key)]
    }

    /// Asks for what comes next: guilds that the session has not been told of, then the log.
    pub(super) fn read_on(&self) -> Steps {
        let application = Arc::clone(&self.attachment.owner().application);
        if self.unknown.is_empty() {
            return smallvec![Step::Ask(Question::Read(application, self.from))];
        }
        let next = self.unknown.iter().take(GUILDS).copied().collect();
        smallvec![Step::Ask(Question::Look(
            application,
            Look::Greeting(next, self.viewer)
        ))]
    }

    /// Tells a new session of guilds, and goes on when the client has taken that.
    pub(super) fn greet(&mut self, told: &[Told], line: &Line) -> Steps {
        let (mut steps, mut bytes) = (Steps::new(), 0);
        for (name, d) in told {
            if bytes > 0 && bytes + d.len() > AT_ONCE {
                break;
            }
            bytes += d.len();
            self.unknown.pop_front();
            steps.extend(line.dispatch(name, d).map(Step::Send));
        }
        self.walk.begin_at(line.s());
        self.seq = line.s();
        steps.push(Step::Drain);
        steps
    }

    /// Sends what was read, and then either reads on, when the client has taken it, or receives.
    ///
    /// # Errors
    /// When the client has seen what the log does not yield.
    pub(super) fn read(&mut self, reading: &Reading, line: &Line) -> Result<Steps, Differs> {
        let mut steps = Steps::new();
        for entry in reading.entries() {
            while let Some(what) = self.walk.private() {
                self.send_private(&what, line, &mut steps);
            }
            if let Some(content) = entry.header().and_then(|header| self.walk.entry(header))
                && self.walk.s() > self.seq
            {
                line.go_on(self.walk.s() - 1, None);
                steps.extend(entry.dispatch(line, content).map(Step::Send));
            }
        }
        self.from = From::Number(reading.through.number);
        if !reading.is_end {
            steps.push(Step::Drain);
            return Ok(steps);
        }
        while let Some(what) = self.walk.private() {
            self.send_private(&what, line, &mut steps);
        }
        if !self.walk.is_complete() || self.walk.s() < self.seq {
            return Err(Differs);
        }
        line.go_on(self.walk.s(), None);
        steps.push(Step::Subscribe(Box::new(Subscription {
            filter: self.record.filter,
            since: reading.through,
            line: line.clone(),
        })));
        Ok(steps)
    }

    fn send_private(&self, what: &What, line: &Line, steps: &mut Steps) {
        if self.walk.s() > self.seq {
            line.go_on(self.walk.s() - 1, None);
            // What is kept as the id of a guild was made into an event when the session was resumed.
            if let What::Event { name, d } = what {
                steps.extend(line.dispatch(name, d).map(Step::Send));
            }
        }
    }

    /// Keeps what the client asks for until the session receives.
    pub(super) fn keep(&mut self, command: Command) {
        self.waiting.push(command);
    }

    /// The session that receives now, what its client has asked for meanwhile, and whether it went on from before.
    pub(super) fn finish(self) -> (Live, Vec<Command>, bool) {
        let live = Live::new(self.attachment, self.record.filter.intents);
        (live, self.waiting, self.was_resumed)
    }
}
