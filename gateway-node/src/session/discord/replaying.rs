//! A session that catches up with the end of the log.

use std::{collections::BTreeMap, sync::Arc};

use shared::discord::{Intents, Version, payload::Ready};
use smallvec::smallvec;

use super::{
    call::{Call, DiscordActions},
    identify::Authenticated,
    live::{Live, Points},
    private_dispatch::{Make, PrivateDispatch},
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
    session::{Action, Cx},
};

/// How many private dispatches are made at once. They are sent before more are made.
const MADE: usize = 16;
/// How many bytes are sent before waiting for the client to take them. Small answers go out without waiting.
const UNTAKEN: usize = 8 * 1024;

/// A session that still has to receive what came before it could subscribe.
pub(super) struct Replaying {
    pub(super) ownership: SessionOwnership,
    record: Arc<Record>,
    replay: ReplayCursor,
    /// Where to read on.
    from: ReadFrom,
    /// The log has entries up to this position, even if this node has not reached it yet.
    end: Option<Position>,
    /// The last dispatch that the client has. Dispatches up to it are not sent again.
    seq: u64,
    /// The last offset that the client's epoch shares with the current one, if they differ. The client may have seen
    /// other entries after it.
    cut: Option<u64>,
    /// What the client gets before the session subscribes.
    requests: Requests,
    /// The bytes sent since the client was last known to have taken everything.
    untaken: usize,
    points: Points,
}

/// The log does not yield what the client has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Diverged;

/// How a replay goes on after a page.
pub(super) enum ReplayStep {
    /// There is more to replay.
    More(DiscordActions),
    /// The session has everything and is subscribed to what comes.
    CaughtUp(DiscordActions),
}

impl Replaying {
    /// Starts a new session with READY.
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
            // Stored before the first of them is sent.
            actions.push(session.keep(guilds.into_iter().map(PrivateBody::Guild)));
        } else {
            actions.push(session.ask_next());
        }
        (session, actions)
    }

    /// Continues a resumed session whose client has the dispatches up to `seq`.
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
        // Dispatch 1 is READY, which is never sent twice: some libraries do not count it.
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

    /// Continues a live session that received the dispatches up to `s`, at this log cursor, and that receives nothing
    /// for now.
    pub(super) fn pause(live: Live, request: Request, s: u64, cursor: LogCursor) -> (Self, DiscordActions) {
        let Live {
            ownership,
            record,
            points,
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
        session.requests.push(request);
        let actions = match session.next_answer() {
            Some(action) => smallvec![action],
            None => session.read_on(),
        };
        (session, actions)
    }

    fn attach(&self, key: Arc<Key>) -> DiscordActions {
        smallvec![Action::Attach(self.ownership.owner().clone(), key)]
    }

    /// Requests what comes next: private dispatches first, then the log.
    pub(super) fn read_on(&mut self) -> DiscordActions {
        self.pass_what_the_client_has();
        smallvec![self.ask_next()]
    }

    fn ask_next(&self) -> Action<Call> {
        let application = Arc::clone(&self.ownership.owner().application);
        let privates: Vec<_> = self.replay.privates().take(MADE).cloned().collect();
        Action::Call(if privates.is_empty() {
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

    /// Counts the private dispatches that the client already has.
    fn pass_what_the_client_has(&mut self) {
        while self.replay.s() < self.seq && self.replay.skip_private() {}
    }

    /// Continues once the client has taken everything.
    pub(super) fn drained(&mut self) -> DiscordActions {
        self.untaken = 0;
        self.read_on()
    }

    /// Sends the private dispatches that were made, under their sequence numbers.
    pub(super) fn made(&mut self, dispatches: Vec<PrivateDispatch>, encoder: &DispatchEncoder) -> DiscordActions {
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

    /// Continues after these steps: at once if little was sent, otherwise when the client has taken it.
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

    /// Sends what was read. Then reads on once the client has taken it, or subscribes at the end of the log.
    ///
    /// # Errors
    /// Fails if the client has seen what the log does not yield.
    pub(super) fn read(
        &mut self,
        page: &ReplayPage,
        encoder: &DispatchEncoder,
        cx: &Cx<'_>,
    ) -> Result<ReplayStep, Diverged> {
        let mut actions = DiscordActions::new();
        self.cut = [self.cut, page.cut].into_iter().flatten().min();
        let epoch = page.next.position().epoch;
        for entry in page.entries() {
            self.pass_what_the_client_has();
            if self.replay.privates().next().is_some() {
                // A private dispatch comes before this entry and still has to be made.
                return Ok(ReplayStep::More(self.go_on_after(actions)));
            }
            if let Some(offset) = self.cut.filter(|cut| entry.offset() > *cut) {
                // After this offset the client may have seen other entries, which are lost.
                if self.replay.s() < self.seq {
                    return Err(Diverged);
                }
                self.from = ReadFrom::Position(Position { offset, epoch });
                actions.push(self.cross_to(epoch));
                return Ok(ReplayStep::More(actions));
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
                return Ok(ReplayStep::More(self.read_on()));
            }
            actions.push(Action::Drain);
            return Ok(ReplayStep::More(actions));
        };
        self.pass_what_the_client_has();
        if self.replay.privates().next().is_some() {
            return Ok(ReplayStep::More(self.go_on_after(actions)));
        }
        if !self.replay.is_complete() || self.replay.s() < self.seq {
            // The client got more from a node that is further ahead than this one, or the log has lost it.
            self.from = ReadFrom::Position(end.position);
            let application = Arc::clone(&self.ownership.owner().application);
            actions.push(Action::Call(Call::ReadBeyond(application, end.position)));
            return Ok(ReplayStep::More(actions));
        }
        encoder.continue_at(self.replay.s(), None);
        if self.cut.is_some() {
            actions.push(self.cross_to(end.position.epoch));
        } else if let Some(action) = self.next_answer() {
            actions.push(action);
        } else {
            let is_subscribed = cx.subscribe(Subscription {
                filter: self.record.filter,
                since: end,
                encoder: encoder.clone(),
            });
            if is_subscribed {
                return Ok(ReplayStep::CaughtUp(actions));
            }
            // The shard has delivered more by now.
            actions.extend(self.read_on());
        }
        Ok(ReplayStep::More(actions))
    }

    /// Continues in another epoch of the log. Before the client sees anything of that epoch, it is stored that the
    /// client has nothing that is lost; afterwards this could no longer be known.
    fn cross_to(&mut self, epoch: Epoch) -> Action<Call> {
        self.cut = None;
        Action::Call(Call::Write(self.ownership.carry_to(epoch)))
    }

    /// Returns the next step for the client's requests, or `None` if none is pending.
    fn next_answer(&mut self) -> Option<Action<Call>> {
        let application = &self.ownership.owner().application;
        Some(match self.requests.next(application, self.record.filter.intents)? {
            NextAnswer::Plan(call) => Action::Call(call),
            NextAnswer::Keep(bodies) => self.keep(bodies),
        })
    }

    /// Stores the next private dispatches before they are made and sent, so that everything the client has seen can be
    /// found again.
    fn keep(&self, bodies: impl IntoIterator<Item = PrivateBody>) -> Action<Call> {
        let numbers = self.replay.s() + 1..;
        let privates = numbers.zip(bodies).map(|(s, body)| PrivateRecord { s, body }).collect();
        Action::Call(Call::Write(self.ownership.private_write(privates)))
    }

    /// Takes what the answers to a request are made from.
    pub(super) fn planned(&mut self, answers: Vec<PrivateBody>) -> DiscordActions {
        self.requests.planned(answers);
        match self.next_answer() {
            Some(action) => smallvec![action],
            None => self.read_on(),
        }
    }

    /// Sends the private dispatches that are now stored, as the client takes them.
    pub(super) fn kept(&mut self, kept: &[PrivateRecord]) -> DiscordActions {
        for PrivateRecord { s, body } in kept {
            self.replay.add(*s, body.clone());
        }
        self.read_on()
    }

    /// Queues a request of the client. Returns `false` if too many are pending.
    pub(super) fn request(&mut self, request: Request) -> bool {
        self.requests.push(request)
    }

    /// Makes the session live. None of its client's requests is pending at this point.
    pub(super) fn finish(self) -> Live {
        self.ownership.set_live(true);
        Live {
            ownership: self.ownership,
            record: self.record,
            points: self.points,
        }
    }

    /// Returns what the session identified with.
    pub(super) fn record(&self) -> &Record {
        &self.record
    }
}
