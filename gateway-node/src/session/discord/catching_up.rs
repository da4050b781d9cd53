//! A session on its way to the end of the log.

use std::{collections::BTreeMap, sync::Arc};

use shared::discord::{Command, Version, payload::Ready};
use smallvec::smallvec;

use super::{
    super::Step,
    Steps,
    answers::{self, Tell},
    live::{Live, Points},
    question::{Known, Question},
    walk::Walk,
};
use crate::{
    auth::Key,
    cluster::{Attachment, Checkpoint, Opened, Private, Record, Resumed, What},
    registry::{From, Line, Place, Reading, Subscription},
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
    /// Entries behind this offset may be others than those that the client has seen there.
    cut: Option<u64>,
    /// What the client is to be told before the session receives. The rate of its payloads bounds it.
    tells: Vec<Tell>,
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
            from: From::Position(since),
            seq: line.s(),
            cut: None,
            tells: Vec::new(),
            points: Points::default(),
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
            cut: None,
            tells: vec![Tell {
                name: "RESUMED",
                d: "{}".to_owned(),
            }],
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
        let mut session = Self {
            walk: Walk::new(record.filter, attachment.owner().id, s, BTreeMap::new()),
            attachment,
            record,
            from: From::Place(place),
            seq: s,
            cut: None,
            tells,
            points,
        };
        let steps = smallvec![session.keep_tells()];
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
        self.cut = [self.cut, reading.cut].into_iter().flatten().min();
        for entry in reading.entries() {
            while let Some(what) = self.walk.private() {
                self.send_private(&what, line, &mut steps);
            }
            if self.cut.is_some_and(|cut| entry.offset() > cut) {
                // What the client has seen beyond may have been other entries, which are lost.
                if self.walk.s() < self.seq {
                    return Err(Differs);
                }
                self.cut = None;
            }
            if let Some(content) = entry.header().and_then(|header| self.walk.entry(header)) {
                if self.walk.s() > self.seq {
                    line.go_on(self.walk.s() - 1, None);
                    steps.extend(entry.dispatch(line, content).map(Step::Send));
                }
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
            return Err(Differs);
        }
        line.go_on(self.walk.s(), None);
        if self.tells.is_empty() {
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

    fn send_private(&self, what: &What, line: &Line, steps: &mut Steps) {
        if self.walk.s() > self.seq {
            let What::Event { name, d } = what;
            line.go_on(self.walk.s() - 1, None);
            steps.extend(line.dispatch(name, d).map(Step::Send));
        }
    }

    /// Has what the client is to be told kept before it is sent: what it has seen can always be found again.
    fn keep_tells(&mut self) -> Step<Question> {
        let private = |(s, Tell { name, d }): (u64, Tell)| Private {
            s,
            what: What::Event {
                name: name.into(),
                d: d.into(),
            },
        };
        let privates = (self.walk.s() + 1..).zip(self.tells.drain(..)).map(private).collect();
        Step::Ask(Question::Keep(self.attachment.keeping(privates)))
    }

    /// Tells the client what is kept now, and goes on to receive.
    pub(super) fn tell(&mut self, kept: &[Private], line: &Line) -> Steps {
        let mut steps = Steps::new();
        for Private { s, what } in kept {
            let What::Event { name, d } = what;
            line.go_on(s - 1, None);
            steps.extend(line.dispatch(name, d).map(Step::Send));
        }
        self.walk.count(kept.len() as u64);
        self.seq = self.walk.s();
        line.go_on(self.walk.s(), None);
        steps.extend(self.read_on());
        steps
    }

    /// Tells the client what it asks for before the session receives.
    pub(super) fn keep(&mut self, command: &Command) {
        self.tells.extend(answers::to(command));
    }

    /// The session that receives now.
    pub(super) fn finish(self) -> Live {
        Live {
            attachment: self.attachment,
            record: self.record,
            points: self.points,
            tells: Vec::new(),
        }
    }
}
