//! Brings Redis to what should be there.

use std::sync::Arc;

use redis::Cmd;
use shared::{
    guild::GuildId,
    session_id::SessionId,
    v1::{Report, ReportedGuilds},
};
use tokio::time::{Instant, sleep_until};

use super::{
    Join, State, abandon, begin_join,
    lease::Lease,
    member::{Is, Stored},
    op::Step,
};
use crate::{
    backends::redis::{
        Bounds,
        application::Application,
        connection::{
            problem::Problem,
            redis_connection::{Answer, Link, Words},
        },
        log::wire,
    },
    backplane::{Deliver, JoinError, Joined, Position},
};

/// The most steps of one batch.
const BATCH: usize = 256;
/// The most steps of one batch that touch many guilds: what others send on the same connection waits for no more.
const HEAVY: usize = 1;

/// Brings Redis to what should be there, until the link ends.
pub(in crate::backends::redis) struct Keeper<'a> {
    pub(in crate::backends::redis) application: &'a Application,
    pub(in crate::backends::redis) link: &'a Link,
    pub(in crate::backends::redis) lease: &'a Lease,
    pub(in crate::backends::redis) deliver: &'a dyn Deliver,
    pub(in crate::backends::redis) bounds: Bounds,
}

impl Keeper<'_> {
    pub(in crate::backends::redis) async fn run(&self) -> Problem {
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
        steps.extend(state.next_steps(Instant::now(), BATCH, HEAVY));
        // After those who left, so that none of them is chosen.
        steps.extend(state.given_up.iter().take(BATCH).map(|offset| Step::GiveUp(*offset)));
        steps.extend(state.to_sweep.map(Step::Sweep));
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
        let calls = steps
            .iter()
            .map(|step| step.call(self.application, self.link, self.bounds))
            .collect();
        state.under_way = steps;
        calls
    }

    fn settle(&self, answers: Vec<Answer>) -> Result<(), Problem> {
        let mut state = self.application.members.lock();
        let steps = std::mem::take(&mut state.under_way);
        let mut problem = None;
        for (step, answer) in steps.into_iter().zip(answers) {
            let settled = match answer {
                Ok(words) if words.word(0) == "fenced" => Err(self.link.fenced()),
                Ok(words) => self.settle_step(&mut state, &step, &words),
                Err(problem) => Err(problem),
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
            Step::JoinAgain(id, _) => {
                if words.word(0) == "taken" {
                    log::error!(session:% = id; "the id of a live session belongs to another one");
                }
                let is_done = words.word(0) != "later";
                state.advance(*id, |member| {
                    member.taken_for = if is_done { Is::Member } else { Is::Gone }
                });
            }
            // Of a session that was reaped meanwhile; the next link makes it a member again.
            Step::Enter(..) | Step::Report { .. } if words.word(0) == "gone" => return Err(self.link.fenced()),
            // It has been given some of what waited for it.
            Step::Enter(id) if words.word(0) == "more" => state.advance(*id, |_| {}),
            Step::Enter(id) => state.advance(*id, |member| member.taken_for = Is::Receiver),
            Step::Leave(id, _) => {
                if words.word(0) == "more" {
                    state.advance(*id, |_| {});
                } else {
                    state.sessions.remove(id);
                    if state.sessions.is_empty() {
                        // What was addressed to the last ones may come when nobody reads the log here any more.
                        state.to_sweep = Some(u64::MAX);
                    }
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
                    member.stored = match &member.wanted {
                        Some(_) => Stored::Found(Arc::new(report)),
                        None => Stored::Report(None),
                    };
                });
            }
            Step::Report { id, added, removed, .. } if words.word(0) == "more" => {
                state.advance(*id, |member| {
                    if let Some(sending) = &mut member.sending {
                        sending.put_back(added, removed);
                    }
                });
            }
            Step::Report {
                id, report, is_last, ..
            } => {
                state.advance(*id, |member| {
                    if *is_last {
                        member.sending = None;
                        member.stored = Stored::Report(Some(Arc::clone(report)));
                    }
                });
                if *is_last {
                    self.application.counts_changed.notify_one();
                }
            }
            Step::Taken(offsets) => {
                state.taken.drain(..offsets.len());
            }
            Step::Sweep(up_to) => {
                if words.word(0) == "ok" && state.to_sweep == Some(*up_to) {
                    state.to_sweep = None;
                }
                for _ in 0..words.number(1) {
                    self.deliver.unheard(&self.application.name, "");
                }
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
