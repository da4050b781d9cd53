//! Reconciles the state in Redis with the desired state.

use std::sync::Arc;

use redis::Cmd;
use shared::{
    guild::GuildId,
    session_id::SessionId,
    v1::{Report, ReportedGuilds},
};
use tokio::time::{Instant, sleep_until};

use super::{
    lease::Lease,
    member::{Actual, StoredReport},
    members::{MembersState, abandon, begin_join},
    op::{JoinState, MembershipOp},
};
use crate::{
    backends::redis::{
        application::RedisApplication,
        connection::{
            problem::RedisProblem,
            redis_connection::{RedisConnection, ReplyFields, ReplyResult},
        },
        log::{bounds::LogBounds, wire},
    },
    backplane::{Deliver, JoinError, Joined, Position},
};

/// The maximum number of steps in one batch.
const BATCH: usize = 256;
/// The maximum number of steps in one batch that touch many guilds. Other calls on the same connection wait for no more
/// than these.
const HEAVY: usize = 1;

/// Reconciles the state in Redis with the desired state, until the connection ends.
pub(in crate::backends::redis) struct Reconciler<'a> {
    pub(in crate::backends::redis) application: &'a RedisApplication,
    pub(in crate::backends::redis) connection: &'a RedisConnection,
    pub(in crate::backends::redis) lease: &'a Lease,
    pub(in crate::backends::redis) deliver: &'a dyn Deliver,
    pub(in crate::backends::redis) bounds: LogBounds,
}

impl Reconciler<'_> {
    pub(in crate::backends::redis) async fn run(&self) -> RedisProblem {
        loop {
            let changed = self.application.members.changed.notified();
            let calls = self.next_calls();
            if calls.is_empty() {
                let wait = self.application.members.lock().next_wait();
                tokio::select! {
                    () = changed => {}
                    () = sleep_until(wait.unwrap_or_else(Instant::now)), if wait.is_some() => {}
                }
                continue;
            }
            // Steps in flight stay in the state if this future is dropped.
            let is_flushed = match self.connection.run(calls).await {
                Ok(answers) => self.settle(answers),
                Err(problem) => Err(problem),
            };
            if let Err(problem) = is_flushed {
                return problem;
            }
        }
    }

    fn next_calls(&self) -> Vec<Cmd> {
        let mut state = self.application.members.lock();
        let mut ops = Vec::new();
        if !state.ack.is_empty() {
            ops.push(MembershipOp::Ack(state.ack.clone()));
        }
        ops.extend(state.next_steps(Instant::now(), BATCH, HEAVY));
        // After the leaves, so that no session that left is chosen.
        ops.extend(
            state
                .given_up
                .iter()
                .take(BATCH)
                .map(|offset| MembershipOp::Nack(*offset)),
        );
        ops.extend(state.to_sweep.map(MembershipOp::Sweep));
        while state.is_followed && ops.len() < BATCH {
            let Some(join) = state.joins.pop_front() else { break };
            if join.answer.is_closed() {
                continue;
            }
            match self.lease.next(Instant::now()) {
                Ok(id) => {
                    if let Some(op) = begin_join(&mut state, id, join) {
                        ops.push(op);
                    }
                }
                Err(error) => drop(join.answer.send(Err(error))),
            }
        }
        let calls = ops
            .iter()
            .map(|op| op.call(self.application, self.connection, self.bounds))
            .collect();
        state.in_flight = ops;
        calls
    }

    fn settle(&self, answers: Vec<ReplyResult>) -> Result<(), RedisProblem> {
        let mut state = self.application.members.lock();
        let ops = std::mem::take(&mut state.in_flight);
        let mut problem = None;
        for (op, answer) in ops.into_iter().zip(answers) {
            let is_flushed = match answer {
                Ok(fields) if fields.word(0) == "fenced" => Err(self.connection.fenced()),
                Ok(fields) => self.settle_step(&mut state, &op, &fields),
                Err(problem) => Err(problem),
            };
            // Answered steps are settled even if another step of the batch failed.
            match (is_flushed, op) {
                (Ok(Settled::Joined(joined)), MembershipOp::Join(id, join)) => {
                    if join.answer.send(Ok(joined)).is_err() {
                        state.advance(id, |member| member.is = Actual::Gone);
                    }
                }
                (Ok(Settled::IdTaken), MembershipOp::Join(id, join)) => {
                    state.sessions.remove(&id);
                    if join.attempts > 1 {
                        state.joins.push_front(JoinState {
                            attempts: join.attempts - 1,
                            ..join
                        });
                    } else {
                        let _ = join.answer.send(Err(JoinError::IdTaken));
                    }
                }
                (Ok(_), _) => {}
                (Err(found), op) => {
                    problem.get_or_insert(found);
                    abandon(&mut state, op);
                }
            }
        }
        problem.map_or(Ok(()), Err)
    }

    fn settle_step(
        &self,
        state: &mut MembersState,
        op: &MembershipOp,
        fields: &ReplyFields,
    ) -> Result<Settled, RedisProblem> {
        match op {
            MembershipOp::Join(..) if fields.word(0) == "taken" => return Ok(Settled::IdTaken),
            MembershipOp::Join(id, _) => return self.joined(*id, fields).map(Settled::Joined),
            MembershipOp::JoinAgain(id, ..) => {
                if fields.word(0) == "taken" {
                    log::error!(session:% = id; "the id of a live session belongs to another session");
                }
                let is_done = fields.word(0) != "later";
                state.advance(*id, |member| {
                    member.taken_for = if is_done { Actual::Member } else { Actual::Gone }
                });
            }
            // The session was reaped; the next connection makes it a member again.
            MembershipOp::Enter(..) | MembershipOp::Report { .. } if fields.word(0) == "gone" => {
                return Err(self.connection.fenced());
            }
            // It has received some of the waiting events; more remain.
            MembershipOp::Enter(id) if fields.word(0) == "more" => state.advance(*id, |_| {}),
            MembershipOp::Enter(id) => state.advance(*id, |member| member.taken_for = Actual::Receiver),
            MembershipOp::Leave(id, _) => {
                if fields.word(0) == "more" {
                    state.advance(*id, |_| {});
                } else {
                    let member = state.sessions.remove(id);
                    if member.is_some_and(|member| member.worker.is_some()) {
                        self.application.jobs_changed.notify_one();
                    }
                    if state.sessions.is_empty() {
                        // Entries addressed to the last sessions may arrive after this node has stopped reading the
                        // log.
                        state.to_sweep = Some(u64::MAX);
                    }
                }
                self.application.counts_changed.notify_one();
            }
            MembershipOp::Ask(id) => {
                let mut ids: Vec<_> = fields.rest(0).filter_map(GuildId::from_digits).collect();
                ids.sort_unstable();
                // The numbers do not matter: any new report replaces them.
                let report = Report {
                    guilds: ReportedGuilds::Ids(ids),
                    guild_members: 0,
                    cached_guild_members: 0,
                    shard: None,
                };
                state.advance(*id, |member| {
                    member.stored = match &member.desired {
                        Some(_) => StoredReport::Found(Arc::new(report)),
                        None => StoredReport::Report(None),
                    };
                });
            }
            MembershipOp::Report { id, added, removed, .. } if fields.word(0) == "more" => {
                state.advance(*id, |member| {
                    if let Some(sending) = &mut member.sending {
                        sending.put_back(added, removed);
                    }
                });
            }
            MembershipOp::Report {
                id, report, is_last, ..
            } => {
                let position = self.position(fields)?;
                state.advance(*id, |member| {
                    if *is_last {
                        member.sending = None;
                        member.stored = StoredReport::Report(Some(Arc::clone(report)));
                        let desired = member.desired.as_mut().filter(|it| Arc::ptr_eq(&it.report, report));
                        for waiter in desired.into_iter().flat_map(|desired| desired.waiters.drain(..)) {
                            let _ = waiter.send(position);
                        }
                    }
                });
                if *is_last {
                    self.application.counts_changed.notify_one();
                }
            }
            MembershipOp::Ack(offsets) => {
                state.ack.drain(..offsets.len());
            }
            MembershipOp::Sweep(up_to) => {
                if fields.word(0) == "ok" && state.to_sweep == Some(*up_to) {
                    state.to_sweep = None;
                }
                for _ in 0..fields.number(1) {
                    self.deliver.no_receiver(&self.application.name, "");
                }
            }
            MembershipOp::Nack(offset) => {
                state.given_up.retain(|given_up| given_up != offset);
                if fields.word(0) == "unheard" {
                    self.deliver.no_receiver(&self.application.name, "");
                }
            }
        }
        Ok(Settled::Done)
    }

    fn joined(&self, id: SessionId, fields: &ReplyFields) -> Result<Joined, RedisProblem> {
        let counts = wire::counts(fields.word(3)).ok_or_else(|| self.connection.nonsense("a join without counts"))?;
        let since = self.position(fields)?;
        Ok(Joined { id, since, counts })
    }

    /// The end of the log in the answer of a script.
    fn position(&self, fields: &ReplyFields) -> Result<Position, RedisProblem> {
        let epoch = wire::epoch(fields.word(1)).map_err(|_| self.connection.nonsense("a log without an epoch"))?;
        let offset = fields.number(2);
        Ok(Position { offset, epoch })
    }
}

enum Settled {
    Done,
    Joined(Joined),
    IdTaken,
}
