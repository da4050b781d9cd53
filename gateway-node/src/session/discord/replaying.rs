//! A session on its way to the end of the log.

use std::{collections::BTreeMap, sync::Arc};

use shared::discord::{Intents, Version, payload::Ready};
use smallvec::smallvec;

use super::{
    DiscordActions,
    call::{Authenticated, Call, Dispatch, Make},
    live::{Live, Points},
    replay_cursor::ReplayCursor,
    requests::{NextAnswer, Request, Requests},
};
use crate::{
    auth::Key,
    backplane::{Epoch, Position},
    encode::{DispatchEncoder, LogCursor},
    guilds::Viewer,
    registry::Subscription,
    replay::{ReadFrom, ReplayPage},
    resume::{Checkpoint, OpenedSession, PrivateBody, PrivateRecord, Record, ResumedSession, SessionOwnership},
    session::Action,
};

/// How many dispatches for the session alone are made at once. They are sent before more are made.
const MADE: usize = 16;
/// How many bytes are sent before the client has to have taken them. Small answers go out without waiting.
const UNTAKEN: usize = 8 * 1024;

/// A session that has still to get what came before it could receive.
pub(super) struct Replaying {
    pub(super) ownership: SessionOwnership,
    record: Arc<Record>,
    replay: ReplayCursor,
    /// From where to read on.
    from: ReadFrom,
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
pub(super) struct Diverged;

impl Replaying {
    /// A new session, with what it is greeted with.
    pub(super) fn begin(
        authenticated: Authenticated<OpenedSession>,
        version: Version,
        resume_url: &str,
        node: &str,
        encoder: &DispatchEncoder,
    ) -> (Self, DiscordActions) {
        let Authenticated {
            session,
            key,
            application,
            guilds,
        } = authenticated;
        let OpenedSession {
            ownership,
            record,
            since,
        } = session;
        let shard = record.filter.shard;
        let ready = Ready {
            version,
            session: ownership.owner().id,
            resume_url,
            shard: Some(shard),
            user: &application.user,
            application: &application.brief,
            guilds: &guilds,
            node,
        };
        encoder.continue_at(0, None);
        let greeting = encoder.dispatch(Ready::NAME, &ready.d());
        let is_told = record.filter.intents.contains(Intents::GUILDS);
        let session = Self {
            replay: ReplayCursor::new(record.filter, ownership.owner().id, encoder.s(), BTreeMap::new()),
            ownership,
            record,
            from: ReadFrom::Position(since),
            end: None,
            seq: encoder.s(),
            cut: None,
            requests: Requests::default(),
            untaken: 0,
            points: Points::default(),
        };
        let mut actions = session.attach(key);
        actions.extend(greeting.map(Action::Send));
        if is_told && !guilds.is_empty() {
            // Kept before the first of them is sent.
            actions.push(session.keep(guilds.into_iter().map(PrivateBody::Guild)));
        } else {
            actions.push(session.ask_next());
        }
        (session, actions)
    }

    /// A session that its client knows up to dispatch `seq`.
    pub(super) fn resume(
        authenticated: Authenticated<ResumedSession>,
        seq: u64,
        encoder: &DispatchEncoder,
    ) -> (Self, DiscordActions) {
        let Authenticated { session, key, .. } = authenticated;
        let ResumedSession {
            ownership,
            record,
            checkpoint: Checkpoint { s, position },
            privates,
            end,
        } = session;
        // The first dispatch is Ready, which nobody gets twice: some libraries do not count it.
        let (s, seq) = (s.max(1), seq.max(1));
        encoder.continue_at(s, None);
        let mut session = Self {
            replay: ReplayCursor::new(record.filter, ownership.owner().id, s, privates),
            ownership,
            record,
            from: ReadFrom::Position(position),
            end,
            seq,
            cut: None,
            requests: Requests::default(),
            untaken: 0,
            points: Points::default(),
        };
        session.requests.planned([PrivateBody::Event {
            name: "RESUMED".into(),
            d: "{}".into(),
        }]);
        let mut actions = session.attach(key);
        actions.extend(session.read_on());
        (session, actions)
    }

    /// A session that received up to dispatch `s` and this place, and gets nothing more now.
    pub(super) fn pause(live: Live, s: u64, cursor: LogCursor) -> (Self, DiscordActions) {
        let Live {
            ownership,
            record,
            points,
            request,
        } = live;
        ownership.set_live(false);
        let mut session = Self {
            replay: ReplayCursor::new(record.filter, ownership.owner().id, s, BTreeMap::new()),
            ownership,
            record,
            from: ReadFrom::Cursor(cursor),
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
        let actions = match session.next_answer() {
            Some(action) => smallvec![action],
            None => session.read_on(),
        };
        (session, actions)
    }

    fn attach(&self, key: Arc<Key>) -> DiscordActions {
        smallvec![Action::Attach(self.ownership.owner().clone(), key)]
    }

    /// Asks for what comes next: what is for the session alone, then the log.
    pub(super) fn read_on(&mut self) -> DiscordActions {
        self.pass_what_the_client_has();
        smallvec![self.ask_next()]
    }

    fn ask_next(&self) -> Action<Call> {
        let application = Arc::clone(&self.ownership.owner().application);
        let privates: Vec<_> = self.replay.privates().take(MADE).cloned().collect();
        Action::Ask(if privates.is_empty() {
            Call::Read(application, self.from, self.end)
        } else {
            let filter = self.record.filter;
            Call::Make(Make {
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
        while self.replay.s() < self.seq && self.replay.skip_private() {}
    }

    /// The client has taken everything.
    pub(super) fn drained(&mut self) -> DiscordActions {
        self.untaken = 0;
        self.read_on()
    }

    /// Sends what was made for the session alone, under its numbers.
    pub(super) fn made(&mut self, dispatches: Vec<Dispatch>, encoder: &DispatchEncoder) -> DiscordActions {
        let mut actions = DiscordActions::new();
        for (name, d) in dispatches {
            encoder.continue_at(self.replay.s(), None);
            if self.replay.skip_private() {
                actions.extend(encoder.dispatch(&name, &d).map(Action::Send));
            }
        }
        encoder.continue_at(self.replay.s(), None);
        self.go_on_after(actions)
    }

    /// Goes on after these steps: when the client has taken what was sent, if that is much.
    fn go_on_after(&mut self, mut actions: DiscordActions) -> DiscordActions {
        let sent = actions.iter().map(|action| match action {
            Action::Send(frame) => frame.len(),
            _ => 0,
        });
        self.untaken += sent.sum::<usize>();
        if self.untaken < UNTAKEN {
            actions.extend(self.read_on());
        } else {
            actions.push(Action::Drain);
        }
        actions
    }

    /// Sends what was read, and then either reads on, when the client has taken it, or receives.
    ///
    /// # Errors
    /// When the client has seen what the log does not yield.
    pub(super) fn read(&mut self, page: &ReplayPage, encoder: &DispatchEncoder) -> Result<DiscordActions, Diverged> {
        let mut actions = DiscordActions::new();
        self.cut = [self.cut, page.cut].into_iter().flatten().min();
        let epoch = page.next.position().epoch;
        for entry in page.entries() {
            self.pass_what_the_client_has();
            if self.replay.privates().next().is_some() {
                // It comes before this entry, and has still to be made.
                return Ok(self.go_on_after(actions));
            }
            if let Some(offset) = self.cut.filter(|cut| entry.offset() > *cut) {
                // What the client has seen beyond may have been other entries, which are lost.
                if self.replay.s() < self.seq {
                    return Err(Diverged);
                }
                self.from = ReadFrom::Position(Position { offset, epoch });
                actions.push(self.cross_to(epoch));
                return Ok(actions);
            }
            if let Some(content) = entry.header().and_then(|header| self.replay.entry(header))
                && self.replay.s() > self.seq
            {
                encoder.continue_at(self.replay.s() - 1, None);
                actions.extend(entry.dispatch(encoder, content).map(Action::Send));
            }
            let offset = entry.offset();
            self.from = ReadFrom::Position(Position { offset, epoch });
        }
        self.from = page.next;
        let Some(end) = page.end else {
            if actions.is_empty() {
                return Ok(self.read_on());
            }
            actions.push(Action::Drain);
            return Ok(actions);
        };
        self.pass_what_the_client_has();
        if self.replay.privates().next().is_some() {
            return Ok(self.go_on_after(actions));
        }
        if !self.replay.is_complete() || self.replay.s() < self.seq {
            // The client has it from a node that has come further than this one, or the log has lost it.
            self.from = ReadFrom::Position(end.position);
            let application = Arc::clone(&self.ownership.owner().application);
            actions.push(Action::Ask(Call::ReadBeyond(application, end.position)));
            return Ok(actions);
        }
        encoder.continue_at(self.replay.s(), None);
        if self.cut.is_some() {
            actions.push(self.cross_to(end.position.epoch));
        } else if let Some(action) = self.next_answer() {
            actions.push(action);
        } else {
            actions.push(Action::Subscribe(Box::new(Subscription {
                filter: self.record.filter,
                since: end,
                encoder: encoder.clone(),
            })));
        }
        Ok(actions)
    }

    /// Goes on in another life of the log. That the client has nothing that is gone has to be kept before it sees anything
    /// of that life: nobody could tell any more.
    fn cross_to(&mut self, epoch: Epoch) -> Action<Call> {
        self.cut = None;
        Action::Ask(Call::Keep(self.ownership.carry_to(epoch)))
    }

    /// What is to be done next for what the client has asked for; `None` if nothing waits.
    fn next_answer(&mut self) -> Option<Action<Call>> {
        let application = &self.ownership.owner().application;
        Some(match self.requests.next(application, self.record.filter.intents)? {
            NextAnswer::Plan(call) => Action::Ask(call),
            NextAnswer::Keep(bodies) => self.keep(bodies),
        })
    }

    /// Has the next dispatches kept before they are made and sent: what the client has seen can always be found again.
    fn keep(&self, bodies: impl IntoIterator<Item = PrivateBody>) -> Action<Call> {
        let numbers = self.replay.s() + 1..;
        let privates = numbers.zip(bodies).map(|(s, body)| PrivateRecord { s, body }).collect();
        Action::Ask(Call::Keep(self.ownership.private_write(privates)))
    }

    /// Takes in what the answers to a request are made from.
    pub(super) fn planned(&mut self, answers: Vec<PrivateBody>) -> DiscordActions {
        self.requests.planned(answers);
        match self.next_answer() {
            Some(action) => smallvec![action],
            None => self.read_on(),
        }
    }

    /// Sends what is kept now, as the client takes it.
    pub(super) fn kept(&mut self, kept: &[PrivateRecord]) -> DiscordActions {
        for PrivateRecord { s, body } in kept {
            self.replay.add(*s, body.clone());
        }
        self.read_on()
    }

    /// Appends a request of the client. Returns `false` if too many wait.
    pub(super) fn request(&mut self, request: Request) -> bool {
        self.requests.push(request)
    }

    /// The session that receives now. Nothing that its client has asked for waits any more.
    pub(super) fn finish(self) -> Live {
        self.ownership.set_live(true);
        Live {
            ownership: self.ownership,
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
