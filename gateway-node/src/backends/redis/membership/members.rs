//! The desired state: which sessions this node has, and what they report.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::{Mutex, MutexGuard};
use rustc_hash::FxHashMap;
use shared::{client_type::ClientType, session_id::SessionId, v1::Report};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use super::{
    member::{Actual, Desired, Member, NextOp},
    op::{JoinState, MembershipOp},
};
use crate::backplane::{JoinError, Joined, Joining, Pending, Position, ReportLimits, report_rates::ReportRates};

/// How long a session waits to become a member.
const JOIN: Duration = Duration::from_secs(5);
/// How many ids are tried before a join fails.
const ID_ATTEMPTS: usize = 3;

/// The sessions of one application on this node.
pub(in crate::backends::redis) struct Members {
    state: Mutex<MembersState>,
    pub(super) changed: Notify,
}

pub(super) struct MembersState {
    pub(super) sessions: FxHashMap<SessionId, Member>,
    /// The sessions that need a step. Each is here or in `heavy`, once.
    pub(super) changed: VecDeque<SessionId>,
    /// The sessions whose next step touches many guilds.
    pub(super) heavy: VecDeque<SessionId>,
    /// The sessions whose report waits for its key's allowance, and when to check again.
    pub(super) waiting: VecDeque<(Instant, SessionId)>,
    pub(super) rates: ReportRates,
    pub(super) joins: VecDeque<JoinState>,
    /// Offsets of addressed entries to acknowledge: at least one of their sessions received them.
    pub(super) ack: Vec<u64>,
    /// Offsets of addressed entries to give back: their sessions ended before they received them.
    pub(super) given_up: VecDeque<u64>,
    /// The offset up to which every addressed entry is to be given back.
    pub(super) to_sweep: Option<u64>,
    /// The steps sent but not yet answered.
    pub(super) in_flight: Vec<MembershipOp>,
    /// Whether the log is followed, so that joining sessions can be given a starting position.
    pub(super) is_followed: bool,
    /// The number of Discord sessions here. They are not members: the server stores them separately.
    pub(super) guests: usize,
}

impl Members {
    /// Creates an empty set of sessions, with a limit on how fast the sessions of one key may change their reports.
    pub(in crate::backends::redis) fn new(limits: ReportLimits) -> Self {
        let state = MembersState {
            sessions: FxHashMap::default(),
            changed: VecDeque::new(),
            heavy: VecDeque::new(),
            waiting: VecDeque::new(),
            rates: ReportRates::new(limits),
            joins: VecDeque::new(),
            ack: Vec::new(),
            given_up: VecDeque::new(),
            to_sweep: None,
            in_flight: Vec::new(),
            is_followed: false,
            guests: 0,
        };
        Self {
            state: Mutex::new(state),
            changed: Notify::new(),
        }
    }

    /// Requests a join. The result arrives once the session is a member.
    pub(in crate::backends::redis) fn join(&self, joining: Joining) -> Pending<Joined, JoinError> {
        let (answer, answered) = oneshot::channel();
        self.state.lock().joins.push_back(JoinState {
            joining,
            attempts: ID_ATTEMPTS,
            answer,
        });
        self.changed.notify_one();
        Box::pin(async {
            match tokio::time::timeout(JOIN, answered).await {
                Ok(Ok(answer)) => answer,
                // If it becomes a member later, the caller no longer waits, and the session is removed again.
                Ok(Err(_)) | Err(_) => Err(JoinError::Unavailable),
            }
        })
    }

    /// Marks a session as ready for events addressed to one of several.
    pub(in crate::backends::redis) fn ready(&self, id: SessionId) {
        self.change(id, |member| member.is = Actual::Receiver);
    }

    /// Whether an entry addressed to this session can still be delivered to it.
    pub(in crate::backends::redis) fn can_receive(&self, id: SessionId) -> bool {
        let state = self.state.lock();
        let member = state.sessions.get(&id);
        member.is_some_and(|member| member.is == Actual::Receiver)
    }

    /// Whether one of these sessions is on this node: it has received what the node has delivered, or will.
    pub(in crate::backends::redis) fn is_any_there(&self, ids: &[SessionId]) -> bool {
        let state = self.state.lock();
        let is_there = |id| {
            state
                .sessions
                .get(id)
                .is_some_and(|member: &Member| member.is != Actual::Gone)
        };
        ids.iter().any(is_there)
    }

    /// Takes the sessions that Redis has of this node. Sessions unknown here are removed again; the server lost their
    /// removal.
    pub(in crate::backends::redis) fn compare(&self, known: impl Iterator<Item = SessionId>) {
        let mut state = self.state.lock();
        let MembersState { sessions, changed, .. } = &mut *state;
        for id in known {
            sessions.entry(id).or_insert_with(|| {
                changed.push_back(id);
                Member {
                    is: Actual::Gone,
                    is_changed: true,
                    ..Member::new(ClientType::Bot)
                }
            });
        }
    }

    /// Ends a membership.
    pub(in crate::backends::redis) fn leave(&self, id: SessionId) {
        self.change(id, |member| member.is = Actual::Gone);
    }

    /// Replaces the report of a session. The change is charged to the key with this id. Returns the receiver of the
    /// position at which this report, or a later one, was applied.
    pub(in crate::backends::redis) fn report(
        &self,
        id: SessionId,
        key: &Arc<str>,
        report: Report,
    ) -> oneshot::Receiver<Position> {
        let (answer, applied) = oneshot::channel();
        self.change(id, |member| {
            let mut waiters = member.desired.take().map_or_else(Vec::new, |desired| desired.waiters);
            waiters.retain(|waiter| !waiter.is_closed());
            waiters.push(answer);
            member.desired = Some(Desired {
                report: Arc::new(report),
                key: Arc::clone(key),
                waiters,
            });
        });
        applied
    }

    /// Acknowledges the addressed entry at this offset: it has reached one of its sessions.
    pub(in crate::backends::redis) fn ack(&self, offset: u64) {
        self.state.lock().ack.push(offset);
        self.changed.notify_one();
    }

    /// Gives back the entry at this offset: its sessions on this node have ended.
    pub(in crate::backends::redis) fn nack(&self, offset: u64) {
        self.state.lock().given_up.push_back(offset);
        self.changed.notify_one();
    }

    /// Gives back every addressed entry up to this offset, which this node skips.
    pub(in crate::backends::redis) fn sweep(&self, up_to: u64) {
        let mut state = self.state.lock();
        state.to_sweep = state.to_sweep.max(Some(up_to));
        drop(state);
        self.changed.notify_one();
    }

    /// Whether there is a session, or a pending join.
    pub(in crate::backends::redis) fn are_there(&self) -> bool {
        self.state.lock().are_there()
    }

    /// The number of sessions.
    pub(in crate::backends::redis) fn count(&self) -> usize {
        let state = self.state.lock();
        state.sessions.len() + state.guests
    }

    /// Counts a Discord session.
    pub(in crate::backends::redis) fn add_guest(&self) {
        self.state.lock().guests += 1;
    }

    /// Stops counting a Discord session.
    pub(in crate::backends::redis) fn remove_guest(&self) {
        self.state.lock().guests -= 1;
    }

    /// Whether the log is followed.
    pub(in crate::backends::redis) fn is_followed(&self) -> bool {
        self.state.lock().is_followed
    }

    /// Whether Redis has the desired state.
    pub(in crate::backends::redis) fn is_flushed(&self) -> bool {
        let state = self.state.lock();
        let nothing_to_do = state.ack.is_empty() && state.given_up.is_empty() && state.to_sweep.is_none();
        nothing_to_do && state.joins.is_empty() && !state.sessions.values().any(Member::needs_a_step)
    }

    /// Records that the log is now followed.
    pub(in crate::backends::redis) fn begin_following(&self) {
        self.state.lock().is_followed = true;
        self.changed.notify_one();
    }

    /// Records that the log is no longer followed, if there are no sessions. Returns whether that is so.
    pub(in crate::backends::redis) fn end_following(&self) -> bool {
        let mut state = self.state.lock();
        state.is_followed = state.are_there();
        !state.is_followed
    }

    /// Records that the connection has ended. Pending joins are refused, and the outcome of unanswered steps is
    /// unknown.
    pub(in crate::backends::redis) fn end_link(&self) {
        let mut state = self.state.lock();
        for op in std::mem::take(&mut state.in_flight) {
            abandon(&mut state, op);
        }
        for join in state.joins.drain(..) {
            let _ = join.answer.send(Err(JoinError::Unavailable));
        }
    }

    /// Prepares for a new connection. If the server may have lost this node's sessions (`is_lost`) or has removed them
    /// (`is_reaped`), all of them join again.
    pub(in crate::backends::redis) fn begin_link(&self, is_lost: bool, is_reaped: bool) {
        let mut state = self.state.lock();
        let is_lost = is_lost || is_reaped;
        if is_reaped {
            // Their addressed entries have been given to other sessions.
            state.ack.clear();
            state.given_up.clear();
            state.to_sweep = None;
        }
        state.heavy.clear();
        state.waiting.clear();
        let MembersState { sessions, changed, .. } = &mut *state;
        changed.clear();
        for (id, member) in sessions {
            if is_lost {
                member.taken_for = Actual::Gone;
            }
            if is_lost || member.sending.is_some() {
                member.lose_sight();
            }
            member.is_waiting = false;
            member.is_changed = member.needs_a_step();
            if member.is_changed {
                changed.push_back(*id);
            }
        }
    }

    pub(super) fn change(&self, id: SessionId, change: impl FnOnce(&mut Member)) {
        let mut state = self.state.lock();
        let MembersState { sessions, changed, .. } = &mut *state;
        // A removed session has nothing to change.
        let Some(member) = sessions.get_mut(&id) else { return };
        change(member);
        if !std::mem::replace(&mut member.is_changed, true) {
            changed.push_back(id);
        }
        drop(state);
        self.changed.notify_one();
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, MembersState> {
        self.state.lock()
    }
}

impl MembersState {
    /// Returns the next steps: up to `most` cheap ones, then up to `most_heavy` that touch many guilds.
    pub(super) fn next_steps(&mut self, now: Instant, most: usize, most_heavy: usize) -> Vec<MembershipOp> {
        self.end_waits(now);
        let mut ops = Vec::new();
        while ops.len() < most {
            let Some(id) = self.changed.pop_front() else { break };
            match self.sessions.get(&id) {
                // A report that has started is finished first: until then the counts are frozen.
                Some(member) if member.is_next_heavy() && member.has_begun() => self.heavy.push_front(id),
                Some(member) if member.is_next_heavy() => self.heavy.push_back(id),
                _ => ops.extend(self.next_step(id, now)),
            }
        }
        let most = most.min(ops.len() + most_heavy);
        while ops.len() < most {
            let Some(id) = self.heavy.pop_front() else { break };
            ops.extend(self.next_step(id, now));
        }
        ops
    }

    pub(super) fn next_step(&mut self, id: SessionId, now: Instant) -> Option<MembershipOp> {
        let member = self.sessions.get_mut(&id)?;
        member.is_changed = false;
        match member.next(id, &mut self.rates, now) {
            NextOp::MembershipOp(op) => Some(op),
            NextOp::Wait(until) => {
                if !std::mem::replace(&mut member.is_waiting, true) {
                    self.waiting.push_back((until, id));
                }
                None
            }
            NextOp::Nothing => None,
        }
    }

    /// Checks the sessions whose key may have an allowance by now, in the order in which they started to wait.
    pub(super) fn end_waits(&mut self, now: Instant) {
        let Self {
            sessions,
            changed,
            waiting,
            ..
        } = self;
        waiting.retain(|(until, id)| {
            let is_over = *until <= now;
            if is_over && let Some(member) = sessions.get_mut(id) {
                member.is_waiting = false;
                if !std::mem::replace(&mut member.is_changed, true) {
                    changed.push_back(*id);
                }
            }
            !is_over
        });
    }

    /// When the first wait ends.
    pub(super) fn next_wait(&self) -> Option<Instant> {
        self.waiting.iter().map(|(until, _)| *until).min()
    }

    pub(super) fn are_there(&self) -> bool {
        self.guests > 0 || !self.joins.is_empty() || self.sessions.values().any(|member| member.is != Actual::Gone)
    }

    /// Records a finished step, and schedules the session if it needs another one.
    pub(super) fn advance(&mut self, id: SessionId, done: impl FnOnce(&mut Member)) {
        let Some(member) = self.sessions.get_mut(&id) else {
            return;
        };
        done(member);
        if member.needs_a_step() && !std::mem::replace(&mut member.is_changed, true) {
            self.changed.push_back(id);
        }
    }
}

/// Adds the session locally before the call is sent: whatever the outcome, it can be removed again.
pub(super) fn begin_join(state: &mut MembersState, id: SessionId, join: JoinState) -> Option<MembershipOp> {
    if state.sessions.contains_key(&id) {
        let _ = join.answer.send(Err(JoinError::IdTaken));
        return None;
    }
    let member = Member {
        ticket: join.joining.ticket.clone(),
        worker: join.joining.worker.clone(),
        ..Member::new(join.joining.kind)
    };
    state.sessions.insert(id, member);
    Some(MembershipOp::Join(id, join))
}

/// Handles a step whose outcome is unknown: a join fails, and the stored report has to be read.
pub(super) fn abandon(state: &mut MembersState, op: MembershipOp) {
    match op {
        MembershipOp::Join(id, join) => {
            state.advance(id, |member| member.is = Actual::Gone);
            let _ = join.answer.send(Err(JoinError::Unavailable));
        }
        MembershipOp::Report { id, .. } => state.advance(id, Member::lose_sight),
        MembershipOp::JoinAgain(id, ..)
        | MembershipOp::Enter(id)
        | MembershipOp::Leave(id, _)
        | MembershipOp::Ask(id) => state.advance(id, |_| {}),
        MembershipOp::Ack(_) | MembershipOp::Nack(_) | MembershipOp::Sweep(_) => {}
    }
}

#[cfg(test)]
#[path = "members_tests.rs"]
mod tests;
