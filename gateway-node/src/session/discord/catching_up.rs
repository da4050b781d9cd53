//! A session on its way to the end of the log.

use std::{collections::BTreeMap, sync::Arc};

use shared::discord::{Command, Version, payload::Ready};
use smallvec::smallvec;

use super::{
    super::Step,
    Steps,
    live::Live,
    question::{Known, Question},
    walk::Walk,
};
use crate::{
    auth::Key,
    cluster::{Attachment, Checkpoint, Opened, Record, Resumed, What},
    registry::{From, Line, Reading, Subscription},
};

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
        } = known;
        let Opened {
            attachment,
            record,
            since,
            guilds,
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
        let session = Self {
            walk: Walk::new(record.filter, attachment.owner().id, line.s(), BTreeMap::new()),
            attachment,
            record,
            from: From::Opening(since),
            seq: line.s(),
            was_resumed: false,
            waiting: Vec::new(),
        };
        let mut steps = session.attach(key);
        steps.extend(greeting.map(Step::Send));
        let mut session = session;
        steps.extend(session.read_on());
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
        } = session;
        // The first dispatch is Ready, which nobody gets twice: some libraries do not count it.
        let (s, seq) = (s.max(1), seq.max(1));
        line.go_on(s, None);
        let mut session = Self {
            walk: Walk::new(record.filter, attachment.owner().id, s, privates),
            attachment,
            record,
            from: From::Position(position),
            seq,
            was_resumed: true,
            waiting: Vec::new(),
        };
        let mut steps = session.attach(key);
        steps.extend(session.read_on());
        (session, steps)
    }

    fn attach(&self, key: Arc<Key>) -> Steps {
        smallvec![Step::Attach(self.attachment.owner().clone(), key)]
    }

    /// Reads what comes next.
    pub(super) fn read_on(&mut self) -> Steps {
        let application = Arc::clone(&self.attachment.owner().application);
        smallvec![Step::Ask(Question::Read(application, self.from))]
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
            if let Some(content) = entry.header().and_then(|header| self.walk.entry(header)) {
                if self.walk.s() > self.seq {
                    line.go_on(self.walk.s() - 1, None);
                    steps.extend(entry.dispatch(line, content).map(Step::Send));
                }
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
            let What::Event { name, d } = what;
            line.go_on(self.walk.s() - 1, None);
            steps.extend(line.dispatch(name, d).map(Step::Send));
        }
    }

    /// Keeps what the client asks for until the session receives.
    pub(super) fn keep(&mut self, command: Command) {
        self.waiting.push(command);
    }

    /// The session that receives now, what its client has asked for meanwhile, and whether it went on from before.
    pub(super) fn finish(self) -> (Live, Vec<Command>, bool) {
        (Live::new(self.attachment), self.waiting, self.was_resumed)
    }
}
