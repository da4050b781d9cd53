//! The end of the session of a ticket, and its renewal.

use std::sync::Arc;

use shared::{
    close::Close,
    v1::{ErrorCode, Nonce, RefusalCode, Rejection, Report, SESSION_EXPIRING, payload},
};
use smallvec::smallvec;
use tokio::time::Instant;

use super::{V1, V1Actions, identify_error::V1IdentifyError, ticket::TakenTicket};
use crate::session::Action;

impl V1 {
    /// Handles the outcome of a renewal.
    pub(super) fn renewed(
        &mut self,
        taken: Result<TakenTicket, V1IdentifyError>,
        nonce: Option<Nonce>,
        now: Instant,
    ) -> V1Actions {
        let (taken, state) = match (taken, &mut self.ticket) {
            (Ok(taken), Some(state)) => (taken, state),
            (taken, _) => return self.not_renewed(taken.as_ref().err(), nonce, now),
        };
        state.renew(taken, now);
        let ticket = Arc::clone(&state.ticket);
        let report = Report::of_guilds(ticket.rights.guilds.clone());
        let mut actions: V1Actions = smallvec![Action::Renew(ticket)];
        let number = nonce.map_or(0, |nonce| self.answers().expect(nonce));
        if number > 0
            && let Some(state) = &mut self.ticket
        {
            state.renewals.push(number);
        }
        actions.extend(self.report_action(report, number));
        actions
    }

    /// Refuses a renewal. Nothing about the session changes, unless its client wants no answer.
    pub(super) fn not_renewed(
        &mut self,
        error: Option<&V1IdentifyError>,
        nonce: Option<Nonce>,
        now: Instant,
    ) -> V1Actions {
        let is_away = matches!(error, Some(V1IdentifyError::Cluster(_)));
        match nonce {
            Some(nonce) if is_away => self.refuse(nonce, RefusalCode::Unavailable.into(), now),
            Some(nonce) => self.refuse(nonce, RefusalCode::WrongAuthKey.into(), now),
            None if is_away => self.fail_plainly(Close::UNAVAILABLE, None),
            None => self.fail(&Rejection::plain(ErrorCode::WrongAuthKey)),
        }
    }

    /// Warns the client before the session of its ticket ends, and ends it.
    pub(super) fn end_ticket(&mut self, now: Instant) -> V1Actions {
        let warning = self.settings.session_expiring;
        let Some(state) = self.ticket.as_mut().filter(|state| state.deadline(warning) <= now) else {
            return V1Actions::new();
        };
        if state.ends_at <= now {
            return self.fail(&Rejection::plain(ErrorCode::WrongAuthKey));
        }
        state.is_warned = true;
        let d = format!(r#"{{"in_ms":{}}}"#, state.left_ms(now));
        smallvec![self.send(&payload::event(SESSION_EXPIRING, &d))]
    }
}
