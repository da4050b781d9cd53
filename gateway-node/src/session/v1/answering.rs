//! How a version 1 session answers packets that have a nonce.

use std::time::Duration;

use shared::{
    client_type::ClientType,
    close::Close,
    v1::{Nonce, Refusal, RefusalCode, Rejection, Report, payload},
};
use smallvec::smallvec;
use tokio::time::Instant;

use super::{
    V1, V1Actions, V1Phase,
    answers::{Answers, refusal},
};
use crate::{
    backplane::{Position, PublishError, Published, Unavailable},
    session::Action,
};

/// How many answers a session owes before it reads slowly.
pub(super) const MOST_UNANSWERED: usize = 1024;
/// The pause after each packet of a client that is owed that many answers.
const UNANSWERED_PAUSE: Duration = Duration::from_millis(100);

impl V1 {
    /// Replaces what the session reports or watches.
    pub(super) fn report(&mut self, report: Report, nonce: Option<Nonce>, now: Instant) -> V1Actions {
        let number = match nonce {
            Some(nonce) if self.is_report_awaited() => {
                return self.refuse(nonce, RefusalCode::Overloaded.into(), now);
            }
            Some(nonce) => self.answers().expect(nonce),
            None => 0,
        };
        let mut actions: V1Actions = smallvec![Action::Count];
        actions.extend(self.report_action(report, number));
        self.slow_down(&mut actions, now);
        actions
    }

    pub(super) fn answers(&mut self) -> &mut Answers {
        self.answers.get_or_insert_default()
    }

    /// Answers a packet whose outcome is known, once every packet before it is answered.
    pub(super) fn answer(
        &mut self,
        nonce: Nonce,
        outcome: Result<String, Refusal>,
        actions: &mut V1Actions,
        now: Instant,
    ) {
        let answers = self.answers();
        let number = answers.expect(nonce);
        answers.settle(number, outcome);
        self.send_answers(actions);
        self.slow_down(actions, now);
    }

    /// Answers a packet that had no effect.
    pub(super) fn refuse(&mut self, nonce: Nonce, refusal: Refusal, now: Instant) -> V1Actions {
        let mut actions = smallvec![Action::Refuse];
        self.answer(nonce, Err(refusal), &mut actions, now);
        actions
    }

    pub(super) fn send_answers(&mut self, actions: &mut V1Actions) {
        if self.catching_up.is_some() {
            // They may have positions beyond what the client has missed.
            return;
        }
        while let Some(answer) = self.answers.as_mut().and_then(|answers| answers.next()) {
            actions.push(self.send(&answer));
        }
    }

    /// Reads slowly while many answers are owed.
    pub(super) fn slow_down(&self, actions: &mut V1Actions, now: Instant) {
        if self.answers.as_ref().is_some_and(|it| it.len() >= MOST_UNANSWERED) {
            actions.push(Action::StopReading {
                until: now + UNANSWERED_PAUSE,
            });
        }
    }

    /// Answers an event, or without a nonce only one that was not published.
    pub(super) fn answer_publication(
        &mut self,
        name: &str,
        number: u64,
        result: Result<Published, PublishError>,
    ) -> V1Actions {
        let outcome = result.map(accepted_as).map_err(|error| refusal(name, &error));
        if number > 0 {
            let mut actions = V1Actions::new();
            self.answers().settle(number, outcome);
            self.send_answers(&mut actions);
            return actions;
        }
        let Err(refusal) = outcome else {
            return V1Actions::new();
        };
        match refusal.code {
            // The client's event was good, so its connection stays.
            RefusalCode::NoReceiver => smallvec![self.send(&payload::refused(None, &refusal))],
            RefusalCode::Overloaded => self.fail_plainly(Close::OVERLOADED, None),
            RefusalCode::Unavailable | RefusalCode::Unknown => self.fail_plainly(Close::UNAVAILABLE, None),
            _ => self.fail(&Rejection::malformed(refusal.problems)),
        }
    }

    /// Answers a report, a list of guilds to watch, or a renewal.
    pub(super) fn answer_report(
        &mut self,
        number: u64,
        result: Result<Position, Unavailable>,
        now: Instant,
    ) -> V1Actions {
        let renewal = self.ticket.as_mut().and_then(|it| it.end_renewal(number, now));
        let outcome = match (result, &self.phase) {
            (Ok(_), V1Phase::Identified(ClientType::Bot)) => Ok("{}".to_owned()),
            (Ok(position), _) => Ok(match renewal {
                Some(left) => format!(r#"{{"position":"{position}","expires_in_ms":{left}}}"#),
                None => accepted_at(position),
            }),
            // It may be applied later.
            (Err(Unavailable), _) => Err(RefusalCode::Unknown.into()),
        };
        let mut actions = V1Actions::new();
        self.answers().settle(number, outcome);
        self.send_answers(&mut actions);
        // At once if the new session is shorter than the warning before its end.
        actions.extend(self.end_ticket(now));
        actions
    }
}

/// Returns `d` of the answer to an event.
fn accepted_as(published: Published) -> String {
    match published {
        Published::At(position) => accepted_at(position),
        Published::Job(job) => format!(r#"{{"job":"{job}"}}"#),
    }
}

/// Returns `d` of the answer to a packet that took effect at this position.
fn accepted_at(position: Position) -> String {
    format!(r#"{{"position":"{position}"}}"#)
}
