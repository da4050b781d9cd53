//! A session on its way to the end of the log.

use std::{collections::BTreeMap, sync::Arc};

use shared::discord::{Intents, Version, payload::Ready};
use smallvec::smallvec;

use super::{
    Steps,
    live::{Live, Points},
    question::{Dispatch, Known, Make, Question},
    replay_cursor::Walk,
    requests::{Next, Request, Requests},
};
use crate::{
    auth::Key,
    backplane::{Epoch, Position},
    encode::{Line, Place},
    guilds::Viewer,
    registry::Subscription,
    replay::{From, Reading},
    resume::{Attachment, Checkpoint, Opened, Private, Record, Resumed, What},
    session::Step,
};

/// How many dispatches for the session alone are made at once. They are sent before more are made.
const MADE: usize = 16;
/// How many bytes are sent before the client has to have taken them. Small answers go out without waiting.
const UNTAKEN: usize = 8 * 1024;

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
    /// What the client is to be told alone before the session receives.
    requests: Requests,
    /// The bytes that were sent since the client was last known to have taken everything.
    untaken: usize,
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
            attachment,
            record,
            from: From::Position(since),
            end: None,
            seq: line.s(),
            cut: None,
            requests: Requests::default(),
            untaken: 0,
            points: Points::default(),
        };
        let mut steps = session.attach(key);
        steps.extend(greeting.map(Step::Send));
        if is_told && !guilds.is_empty() {
            // Kept before the first of them is sent.
            steps.push(session.keep(guilds.into_iter().map(What::Guild)));
        } else {
            steps.push(session.ask_next());
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
        let mut session = Self {
            walk: Walk::new(record.filter, attachment.owner().id, s, privates),
            attachment,
            record,
            from: From::Position(position),
            end,
            seq,
            cut: None,
            requests: Requests::default(),
            untaken: 0,
            points: Points::default(),
        };
        session.requests.planned([What::Event {
            name: "RESUMED".into(),
            d: "{}".into(),
        }]);
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
            request,
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
            requests: Requests::default(),
            untaken: 0,
            points,
        };
        if let Some(request) = request {
            session.requests.push(*request);
        }
        let steps = match session.next_answer() {
            Some(step) => smallvec![step],
            None => session.read_on(),
        };
        (session, steps)
    }

    fn attach(&self, key: Arc<Key>) -> Steps {
        smallvec![Step::Attach(self.attachment.owner().clone(), key)]
    }

    /// Asks for what comes next: what is for the session alone, then the log.
    pub(super) fn read_on(&mut self) -> Steps {
        self.pass_what_the_client_has();
        smallvec![self.ask_next()]
    }

    fn ask_next(&self) -> Step<Question> {
        let application = Arc::clone(&self.attachment.owner().application);
        let privates: Vec<_> = self.walk.privates().take(MADE).cloned().collect();
        Step::Ask(if privates.is_empty() {
            Question::Read(application, self.from, self.end)
        } else {
            let filter = self.record.filter;
            Question::Make(Make {
                application,
                viewer: Viewer {
                    intents: filter.intents,
                    user: filter.user,
                    large_threshold: self.record.large_threshold,
                },
                privates,
            })
        })
    }

    /// Counts the dispatches for the session alone that the client has.
    fn pass_what_the_client_has(&mut self) {
        while self.walk.s() < self.seq && self.walk.pass() {}
    }

    /// The client has taken everything.
    pub(super) fn drained(&mut self) -> Steps {
        self.untaken = 0;
        self.read_on()
    }

    /// Sends what was made for the session alone, under its numbers.
    pub(super) fn made(&mut self, dispatches: Vec<Dispatch>, line: &Line) -> Steps {
        let mut steps = Steps::new();
        for (name, d) in dispatches {
            line.go_on(self.walk.s(), None);
            if self.walk.pass() {
                steps.extend(line.dispatch(&name, &d).map(Step::Send));
            }
        }
        line.go_on(self.walk.s(), None);
        self.go_on_after(steps)
    }

    /// Goes on after these steps: when the client has taken what was sent, if that is much.
    fn go_on_after(&mut self, mut steps: Steps) -> Steps {
        let sent = steps.iter().map(|step| match step {
            Step::Send(frame) => frame.len(),
            _ => 0,
        });
        self.untaken += sent.sum::<usize>();
        if self.untaken < UNTAKEN {
            steps.extend(self.read_on());
        } else {
            steps.push(Step::Drain);
        }
        steps
    }

    /// Sends what was read, and then either reads on, when the client has taken it, or receives.
    ///
    /// # Errors
    /// When the client has seen what the log does not yield.
    pub(super) fn read(&mut self, reading: &Reading, line: &Line) -> Result<Steps, Differs> {
        let mut steps = Steps::new();
        self.cut = [self.cut, reading.cut].into_iter().flatten().min();
        let epoch = reading.next.position().epoch;
        for entry in reading.entries() {
            self.pass_what_the_client_has();
            if self.walk.privates().next().is_some() {
                // It comes before this entry, and has still to be made.
                return Ok(self.go_on_after(steps));
            }
            if let Some(offset) = self.cut.filter(|cut| entry.offset() > *cut) {
                // What the client has seen beyond may have been other entries, which are lost.
                if self.walk.s() < self.seq {
                    return Err(Differs);
                }
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
            let offset = entry.offset();
            self.from = From::Position(Position { offset, epoch });
        }
        self.from = reading.next;
        let Some(end) = reading.end else {
            if steps.is_empty() {
                return Ok(self.read_on());
            }
            steps.push(Step::Drain);
            return Ok(steps);
        };
        self.pass_what_the_client_has();
        if self.walk.privates().next().is_some() {
            return Ok(self.go_on_after(steps));
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
        } else if let Some(step) = self.next_answer() {
            steps.push(step);
        } else {
            steps.push(Step::Subscribe(Box::new(Subscription {
                filter: self.record.filter,
                since: end,
                line: line.clone(),
            })));
        }
        Ok(steps)
    }

    /// Goes on in another life of the log. That the client has nothing that is gone has to be kept before it sees anything
    /// of that life: nobody could tell any more.
    fn cross_to(&mut self, epoch: Epoch) -> Step<Question> {
        self.cut = None;
        Step::Ask(Question::Keep(self.attachment.carrying(epoch)))
    }

    /// What is to be done next for what the client has asked for; `None` if nothing waits.
    fn next_answer(&mut self) -> Option<Step<Question>> {
        let application = &self.attachment.owner().application;
        Some(match self.requests.next(application, self.record.filter.intents)? {
            Next::Plan(question) => Step::Ask(question),
            Next::Keep(whats) => self.keep(whats),
        })
    }

    /// Has the next dispatches kept before they are made and sent: what the client has seen can always be found again.
    fn keep(&self, whats: impl IntoIterator<Item = What>) -> Step<Question> {
        let numbers = self.walk.s() + 1..;
        let privates = numbers.zip(whats).map(|(s, what)| Private { s, what }).collect();
        Step::Ask(Question::Keep(self.attachment.keeping(privates)))
    }

    /// Takes in what the answers to a request are made from.
    pub(super) fn planned(&mut self, answers: Vec<What>) -> Steps {
        self.requests.planned(answers);
        match self.next_answer() {
            Some(step) => smallvec![step],
            None => self.read_on(),
        }
    }

    /// Sends what is kept now, as the client takes it.
    pub(super) fn kept(&mut self, kept: &[Private]) -> Steps {
        for Private { s, what } in kept {
            self.walk.add(*s, what.clone());
        }
        self.read_on()
    }

    /// Appends a request of the client. Returns `false` if too many wait.
    pub(super) fn request(&mut self, request: Request) -> bool {
        self.requests.push(request)
    }

    /// The session that receives now. Nothing that its client has asked for waits any more.
    pub(super) fn finish(self) -> Live {
        self.attachment.is_live(true);
        Live {
            attachment: self.attachment,
            record: self.record,
            points: self.points,
            request: None,
        }
    }

    /// What the session identified with.
    pub(super) fn record(&self) -> &Record {
        &self.record
    }
}
