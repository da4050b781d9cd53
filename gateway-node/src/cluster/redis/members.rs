//! This node's sessions of one application, and what Redis knows of them.
//!
//! What should be there is kept here; what is there is brought to it step by step, a batch at a time. So nothing has to
//! be queued while the server is away, and after any accident the same steps repair what it left.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use redis::Cmd;
use rustc_hash::FxHashMap;
use shared::{
    client_type::ClientType,
    guild::GuildId,
    session_id::SessionId,
    v1::{Report, ReportedGuilds},
};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use super::{
    super::{Deliver, JoinError, Joined, Pending, Position},
    Bounds,
    application::{Application, lock},
    lease::Lease,
    link::{Answer, Link, Words},
    problem::Problem,
    script::Script,
    wire,
};

/// The most steps of one batch.
const BATCH: usize = 256;
/// The most guilds that one call adds, removes or forgets.
const CHUNK: usize = 1000;
/// How long a session waits to become a member.
const JOIN: Duration = Duration::from_secs(5);
/// How often another id is tried when the generated one is taken.
const ID_ATTEMPTS: usize = 3;

/// The sessions of one application on this node.
#[derive(Default)]
pub(super) struct Members {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    sessions: FxHashMap<SessionId, Member>,
    /// Those for which something is to be done, each once.
    changed: VecDeque<SessionId>,
    joins: VecDeque<Join>,
    /// Offsets of entries for one session, which has them.
    taken: Vec<u64>,
    /// Offsets of entries for one session, which ended before it had them.
    given_up: VecDeque<u64>,
    /// What was sent and has no answer yet.
    under_way: Vec<Step>,
    /// Whether the log is followed, so that a session can be told from where on it receives.
    is_followed: bool,
    /// How many sessions are here that are no members: the server knows them by themselves.
    guests: usize,
}

/// A session that is there, or was.
struct Member {
    kind: ClientType,
    wanted: Option<Arc<Report>>,
    stored: Stored,
    /// What it is here.
    is: Is,
    /// What Redis takes it for.
    taken_for: Is,
    is_changed: bool,
}

/// What a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Is {
    /// Nothing any more, or, for Redis, nothing until it is made a member again.
    Gone,
    /// A member that cannot receive yet.
    Member,
    /// A member that can be given what is for one of several.
    Receiver,
}

/// What Redis has of a session's report.
enum Stored {
    Report(Option<Arc<Report>>),
    /// It has to be asked for.
    Unknown,
}

struct Join {
    kind: ClientType,
    attempts: usize,
    answer: oneshot::Sender<Result<Joined, JoinError>>,
}

/// One thing to do. A session has at most one under way.
enum Step {
    Join(SessionId, Join),
    JoinAgain(SessionId, ClientType, Is),
    Enter(SessionId),
    Leave(SessionId),
    /// Asks for the guilds that Redis has.
    Ask(SessionId),
    /// A part of a report: new guilds, those that are gone, and whether it is the last part.
    Report(SessionId, Arc<Report>, Vec<GuildId>, Vec<GuildId>, bool),
    Taken(Vec<u64>),
    GiveUp(u64),
}

impl Members {
    /// Asks to join; the answer comes once the session is a member.
    pub(super) fn join(&self, kind: ClientType) -> Pending<Joined, JoinError> {
        let (answer, answered) = oneshot::channel();
        lock(&self.state).joins.push_back(Join {
            kind,
            attempts: ID_ATTEMPTS,
            answer,
        });
        self.changed.notify_one();
        Box::pin(async {
            match tokio::time::timeout(JOIN, answered).await {
                Ok(Ok(answer)) => answer,
                // Should it become a member after all, nobody hears of it, and it leaves again.
                Ok(Err(_)) | Err(_) => Err(JoinError::Away),
            }
        })
    }

    /// Lets a session have what is for one of several.
    pub(super) fn enter(&self, id: SessionId) {
        self.change(id, |member| member.is = Is::Receiver);
    }

    /// Whether an entry for this session alone can still be delivered to it.
    pub(super) fn can_receive(&self, id: SessionId) -> bool {
        let state = lock(&self.state);
        let member = state.sessions.get(&id);
        member.is_some_and(|member| member.is == Is::Receiver)
    }

    /// Notes which sessions Redis has of this node. Those that are none any more leave again: the server has lost that
    /// they left.
    pub(super) fn compare(&self, known: impl Iterator<Item = SessionId>) {
        let mut state = lock(&self.state);
        let State { sessions, changed, .. } = &mut *state;
        for id in known {
            sessions.entry(id).or_insert_with(|| {
                changed.push_back(id);
                Member {
                    is: Is::Gone,
                    is_changed: true,
                    ..Member::new(ClientType::Bot)
                }
            });
        }
    }

    /// Ends a membership.
    pub(super) fn leave(&self, id: SessionId) {
        self.change(id, |member| member.is = Is::Gone);
    }

    /// Replaces what a session reports.
    pub(super) fn report(&self, id: SessionId, report: Report) {
        self.change(id, |member| member.wanted = Some(Arc::new(report)));
    }

    /// Notes that the entry at this offset has reached its one session.
    pub(super) fn taken(&self, offset: u64) {
        lock(&self.state).taken.push(offset);
        self.changed.notify_one();
    }

    /// Gives up the entry at this offset: its one session has ended.
    pub(super) fn give_up(&self, offset: u64) {
        lock(&self.state).given_up.push_back(offset);
        self.changed.notify_one();
    }

    /// Whether there is a session, or one that waits to become one.
    pub(super) fn are_there(&self) -> bool {
        lock(&self.state).are_there()
    }

    /// How many sessions there are.
    pub(super) fn count(&self) -> usize {
        let state = lock(&self.state);
        state.sessions.len() + state.guests
    }

    /// Notes that there is a session that is no member.
    pub(super) fn add_guest(&self) {
        lock(&self.state).guests += 1;
    }

    /// Notes that it has gone.
    pub(super) fn remove_guest(&self) {
        lock(&self.state).guests -= 1;
    }

    /// Whether the log is followed.
    pub(super) fn is_followed(&self) -> bool {
        lock(&self.state).is_followed
    }

    /// Whether Redis has everything that it should have.
    pub(super) fn are_settled(&self) -> bool {
        let state = lock(&self.state);
        let nothing_to_do = state.taken.is_empty() && state.given_up.is_empty() && state.joins.is_empty();
        nothing_to_do && !state.sessions.values().any(Member::needs_a_step)
    }

    /// Notes that the log is followed from now on.
    pub(super) fn begin_following(&self) {
        lock(&self.state).is_followed = true;
        self.changed.notify_one();
    }

    /// Notes that the log is not followed any more, if there is nobody for whom. Answers whether it is so.
    pub(super) fn end_following(&self) -> bool {
        let mut state = lock(&self.state);
        state.is_followed = state.are_there();
        !state.is_followed
    }

    /// Notes that the link has ended: who waits to join is refused, and nobody knows what became of what was under way.
    pub(super) fn end_link(&self) {
        let mut state = lock(&self.state);
        for step in std::mem::take(&mut state.under_way) {
            abandon(&mut state, step);
        }
        for join in state.joins.drain(..) {
            let _ = join.answer.send(Err(JoinError::Away));
        }
    }

    /// Makes ready for a new link. Where the server may have forgotten this node's sessions (`is_lost`), or has removed
    /// them (`is_reaped`), all of them are made members again.
    pub(super) fn begin_link(&self, is_lost: bool, is_reaped: bool) {
        let mut state = lock(&self.state);
        let is_lost = is_lost || is_reaped;
        if is_reaped {
            // What was for them alone has been given to others.
            state.taken.clear();
            state.given_up.clear();
        }
        let State { sessions, changed, .. } = &mut *state;
        changed.clear();
        for (id, member) in sessions {
            if is_lost {
                member.taken_for = Is::Gone;
                member.stored = Stored::Unknown;
            }
            member.is_changed = member.needs_a_step();
            if member.is_changed {
                changed.push_back(*id);
            }
        }
    }

    fn change(&self, id: SessionId, change: impl FnOnce(&mut Member)) {
        let mut state = lock(&self.state);
        let State { sessions, changed, .. } = &mut *state;
        // A session that is none any more has nothing to change.
        let Some(member) = sessions.get_mut(&id) else { return };
        change(member);
        if !std::mem::replace(&mut member.is_changed, true) {
            changed.push_back(id);
        }
        drop(state);
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Member {
    fn new(kind: ClientType) -> Self {
        Self {
            kind,
            wanted: None,
            stored: Stored::Report(None),
            is: Is::Member,
            taken_for: Is::Member,
            is_changed: false,
        }
    }

    fn needs_a_step(&self) -> bool {
        let is_stored = match (&self.stored, &self.wanted) {
            (Stored::Report(None), None) => true,
            (Stored::Report(Some(stored)), Some(wanted)) => Arc::ptr_eq(stored, wanted),
            _ => false,
        };
        // One that is gone is forgotten as soon as Redis has forgotten it.
        self.is == Is::Gone || self.is != self.taken_for || !is_stored
    }

    /// What is to be done next, in one or more calls.
    fn steps(&self, id: SessionId) -> Vec<Step> {
        match (self.is, self.taken_for) {
            (Is::Gone, _) => return vec![Step::Leave(id)],
            (_, Is::Gone) => return vec![Step::JoinAgain(id, self.kind, self.is)],
            (Is::Receiver, Is::Member) => return vec![Step::Enter(id)],
            _ => {}
        }
        match (&self.stored, &self.wanted) {
            (Stored::Unknown, _) => vec![Step::Ask(id)],
            (Stored::Report(stored), Some(wanted)) => parts(id, stored.as_deref(), wanted),
            (Stored::Report(_), None) => Vec::new(),
        }
    }
}

/// The parts of the way from one report to another.
fn parts(id: SessionId, from: Option<&Report>, to: &Arc<Report>) -> Vec<Step> {
    let from = from.map_or(&[][..], guilds);
    let to_guilds = guilds(to);
    // Both are in ascending order.
    let added = to_guilds.iter().filter(|guild| from.binary_search(guild).is_err());
    let removed = from.iter().filter(|guild| to_guilds.binary_search(guild).is_err());
    let mut changes = added
        .map(|guild| (*guild, true))
        .chain(removed.map(|guild| (*guild, false)))
        .peekable();
    let mut parts = Vec::new();
    loop {
        let part: Vec<_> = changes.by_ref().take(CHUNK).collect();
        let pick = |is_new| {
            let picked = part.iter().filter(|(_, new)| *new == is_new);
            picked.map(|(guild, _)| *guild).collect()
        };
        let is_last = changes.peek().is_none();
        parts.push(Step::Report(id, Arc::clone(to), pick(true), pick(false), is_last));
        if is_last {
            return parts;
        }
    }
}

fn guilds(report: &Report) -> &[GuildId] {
    match &report.guilds {
        ReportedGuilds::Count(_) => &[],
        ReportedGuilds::Ids(ids) => ids,
    }
}

/// Brings Redis to what should be there, until the link ends.
pub(super) struct Keeper<'a> {
    pub(super) application: &'a Application,
    pub(super) link: &'a Link,
    pub(super) lease: &'a Lease,
    pub(super) deliver: &'a dyn Deliver,
    pub(super) bounds: Bounds,
}

impl Keeper<'_> {
    pub(super) async fn run(&self) -> Problem {
        loop {
            let changed = self.application.members.changed.notified();
            let calls = self.next_calls();
            if calls.is_empty() {
                changed.await;
                continue;
            }
            // What is under way when this is dropped stays in the state.
            let settled = match self.link.run(calls).await {
                Ok(answers) => self.settle(answers),
                Err(problem) => Err(problem),
            };
            if let Err(problem) = settled {
                return problem;
            }
        }
    }

    fn next_calls(&self) -> Vec<Cmd> {
        let mut state = self.application.members.lock();
        let mut steps = Vec::new();
        if !state.taken.is_empty() {
            steps.push(Step::Taken(state.taken.clone()));
        }
        while steps.len() < BATCH {
            let Some(id) = state.changed.pop_front() else { break };
            let Some(member) = state.sessions.get_mut(&id) else {
                continue;
            };
            member.is_changed = false;
            steps.extend(member.steps(id));
        }
        // After those who left, so that none of them is chosen.
        steps.extend(state.given_up.iter().take(BATCH).map(|offset| Step::GiveUp(*offset)));
        while state.is_followed && steps.len() < BATCH {
            let Some(join) = state.joins.pop_front() else { break };
            if join.answer.is_closed() {
                continue;
            }
            match self.lease.next(Instant::now()) {
                Ok(id) => {
                    if let Some(step) = begin_join(&mut state, id, join) {
                        steps.push(step);
                    }
                }
                Err(error) => drop(join.answer.send(Err(error))),
            }
        }
        let calls = steps.iter().map(|step| self.call(step)).collect();
        state.under_way = steps;
        calls
    }

    fn call(&self, step: &Step) -> Cmd {
        let application = self.application;
        let call_script = |script| application.call(self.link, script);
        let call_log = |script| application.call_log(self.link, script);
        match step {
            Step::Join(id, Join { kind, .. }) => {
                let mut call = call_log(Script::Join);
                call.arg(id.get()).arg(*kind as u8).arg(0).arg(0);
                call
            }
            Step::JoinAgain(id, kind, is) => {
                let mut call = call_log(Script::Join);
                let can_receive = u8::from(*is == Is::Receiver);
                call.arg(id.get()).arg(*kind as u8).arg(1).arg(can_receive);
                call
            }
            Step::Enter(id) => {
                let mut call = call_script(Script::Enter);
                call.arg(id.get());
                call
            }
            Step::Leave(id) => {
                let mut call = call_script(Script::Leave);
                call.arg(id.get()).arg(CHUNK);
                call
            }
            Step::Ask(id) => {
                let mut ask = redis::cmd("SMEMBERS");
                ask.arg(application.key(format_args!("report:{id}")));
                ask
            }
            Step::Report(id, report, added, removed, is_last) => {
                let count = match report.guilds {
                    ReportedGuilds::Count(count) => count,
                    ReportedGuilds::Ids(_) => 0,
                };
                let mut call = call_script(Script::Report);
                call.arg(id.get())
                    .arg(u8::from(*is_last))
                    .arg(count)
                    .arg(report.guild_members)
                    .arg(report.cached_guild_members)
                    .arg(added.len());
                for guild in added.iter().chain(removed) {
                    call.arg(guild.get());
                }
                call
            }
            Step::Taken(offsets) => {
                let owner = application.registration().owner;
                let mut call = redis::cmd("ZREM");
                call.arg(application.key(format_args!("pending:{owner}"))).arg(offsets);
                call
            }
            Step::GiveUp(offset) => {
                let mut call = call_log(Script::Redirect);
                self.bounds.add_to(&mut call);
                call.arg(*offset);
                call
            }
        }
    }

    fn settle(&self, answers: Vec<Answer>) -> Result<(), Problem> {
        let mut state = self.application.members.lock();
        let steps = std::mem::take(&mut state.under_way);
        let mut problem = None;
        for (step, answer) in steps.into_iter().zip(answers) {
            let settled = match answer {
                Ok(words) if words.word(0) == "fenced" => Err(self.link.fenced()),
                Ok(words) => self.settle_step(&mut state, &step, &words),
                Err(_) => Err(self.link.out_of_memory()),
            };
            // What is answered is settled even when something else in the batch has failed.
            match (settled, step) {
                (Ok(Settled::Joined(joined)), Step::Join(id, join)) => {
                    if join.answer.send(Ok(joined)).is_err() {
                        state.advance(id, |member| member.is = Is::Gone);
                    }
                }
                (Ok(Settled::Taken), Step::Join(id, join)) => {
                    state.sessions.remove(&id);
                    if join.attempts > 1 {
                        state.joins.push_front(Join {
                            attempts: join.attempts - 1,
                            ..join
                        });
                    } else {
                        let _ = join.answer.send(Err(JoinError::IdTaken));
                    }
                }
                (Ok(_), _) => {}
                (Err(found), step) => {
                    problem.get_or_insert(found);
                    abandon(&mut state, step);
                }
            }
        }
        problem.map_or(Ok(()), Err)
    }

    fn settle_step(&self, state: &mut State, step: &Step, words: &Words) -> Result<Settled, Problem> {
        match step {
            Step::Join(..) if words.word(0) == "taken" => return Ok(Settled::Taken),
            Step::Join(id, _) => return self.joined(*id, words).map(Settled::Joined),
            Step::JoinAgain(id, _, is) => {
                if words.word(0) == "taken" {
                    log::error!(session:% = id; "the id of a live session belongs to another one");
                }
                let is_done = words.word(0) != "later";
                state.advance(*id, |member| member.taken_for = if is_done { *is } else { Is::Gone });
            }
            // Of a session that was reaped meanwhile; the next link makes it a member again.
            Step::Enter(..) | Step::Report(..) if words.word(0) == "gone" => return Err(self.link.fenced()),
            Step::Enter(id) => state.advance(*id, |member| member.taken_for = Is::Receiver),
            Step::Leave(id) => {
                if words.word(0) == "more" {
                    state.advance(*id, |_| {});
                } else {
                    state.sessions.remove(id);
                }
                self.application.counts_changed.notify_one();
            }
            Step::Ask(id) => {
                let mut ids: Vec<_> = words.rest(0).filter_map(GuildId::from_digits).collect();
                ids.sort_unstable();
                // The numbers are whatever they are: a report that is another one replaces them.
                let report = Report {
                    guilds: ReportedGuilds::Ids(ids),
                    guild_members: 0,
                    cached_guild_members: 0,
                    shard: None,
                };
                state.advance(*id, |member| {
                    member.stored = Stored::Report(member.wanted.as_ref().map(|_| Arc::new(report)));
                });
            }
            Step::Report(id, report, _, _, is_last) => {
                if *is_last {
                    state.advance(*id, |member| member.stored = Stored::Report(Some(Arc::clone(report))));
                    self.application.counts_changed.notify_one();
                }
            }
            Step::Taken(offsets) => {
                state.taken.drain(..offsets.len());
            }
            Step::GiveUp(offset) => {
                state.given_up.retain(|given_up| given_up != offset);
                if words.word(0) == "unheard" {
                    self.deliver.unheard(&self.application.name, "");
                }
            }
        }
        Ok(Settled::Done)
    }

    fn joined(&self, id: SessionId, words: &Words) -> Result<Joined, Problem> {
        let epoch = wire::epoch(words.word(1)).map_err(|_| self.link.nonsense("a join without its epoch"))?;
        let counts = wire::counts(words.word(3)).ok_or_else(|| self.link.nonsense("a join without counts"))?;
        let since = Position {
            epoch,
            offset: words.number(2),
        };
        Ok(Joined { id, since, counts })
    }
}

enum Settled {
    Done,
    Joined(Joined),
    Taken,
}

impl State {
    fn are_there(&self) -> bool {
        self.guests > 0 || !self.joins.is_empty() || self.sessions.values().any(|member| member.is != Is::Gone)
    }

    /// Notes a step that is done, and looks whether there is another.
    fn advance(&mut self, id: SessionId, done: impl FnOnce(&mut Member)) {
        let Some(member) = self.sessions.get_mut(&id) else {
            return;
        };
        done(member);
        if member.needs_a_step() && !std::mem::replace(&mut member.is_changed, true) {
            self.changed.push_back(id);
        }
    }
}

/// Makes the session a member here before it is asked for: whatever becomes of the call, it can be left again.
fn begin_join(state: &mut State, id: SessionId, join: Join) -> Option<Step> {
    if state.sessions.contains_key(&id) {
        let _ = join.answer.send(Err(JoinError::IdTaken));
        return None;
    }
    state.sessions.insert(id, Member::new(join.kind));
    Some(Step::Join(id, join))
}

/// Whether the step was done is not known: who wanted to join did not, and a report has to be asked for.
fn abandon(state: &mut State, step: Step) {
    match step {
        Step::Join(id, join) => {
            state.advance(id, |member| member.is = Is::Gone);
            let _ = join.answer.send(Err(JoinError::Away));
        }
        Step::Report(id, ..) => state.advance(id, |member| member.stored = Stored::Unknown),
        Step::JoinAgain(id, ..) | Step::Enter(id) | Step::Leave(id) | Step::Ask(id) => state.advance(id, |_| {}),
        Step::Taken(_) | Step::GiveUp(_) => {}
    }
}
