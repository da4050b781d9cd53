//! What follows from an identify.

use std::sync::Arc;

use shared::{
    client_type::ClientType,
    close::Close,
    v1::{ErrorCode, Rejection, Scope, payload},
};
use smallvec::smallvec;
use tokio::time::Instant;

use super::{V1, V1Actions, V1Phase, identify::Identified, identify_error::V1IdentifyError, ticket::TicketState};
use crate::{backplane::JoinError, registry::Registration, session::Action};

impl V1 {
    /// Registers the session that has joined, or ends one that has not.
    pub(super) fn joined(&mut self, result: Result<Identified, V1IdentifyError>, now: Instant) -> V1Actions {
        match result {
            Ok(identified) => {
                let Identified {
                    id,
                    kind,
                    key,
                    ticket,
                    since,
                    counts,
                    scope,
                } = identified;
                let Scope {
                    guilds,
                    report,
                    counts: wants_counts,
                } = scope;
                self.phase = V1Phase::Identified(kind);
                let interval = self.settings.heartbeat_ms();
                self.ticket = ticket.map(|taken| Box::new(TicketState::new(taken, now)));
                let left = self.ticket.as_ref().map(|it| it.left_ms(now));
                let mut actions =
                    smallvec![self.send(&payload::connect_success(kind, id, &self.settings.node, interval, left))];
                if kind == ClientType::Bot || wants_counts {
                    actions.push(self.send(&payload::event(payload::GuildCount::NAME, &counts.d())));
                }
                // After the connect success and in the same turn, so that no event overtakes it.
                actions.push(Action::Register(Box::new(Registration {
                    id,
                    kind,
                    key,
                    encoding: self.encoding,
                    counts: wants_counts,
                    guilds: guilds.unwrap_or_default(),
                    ticket: self.ticket.as_ref().map(|it| Arc::clone(&it.ticket)),
                    since,
                })));
                // At once if the session is shorter than the warning before its end.
                actions.extend(self.end_ticket(now));
                actions.extend(report.map(|report| self.report_action(report, 0)));
                actions
            }
            Err(V1IdentifyError::Malformed(problems)) => self.fail(&Rejection::malformed(problems)),
            Err(V1IdentifyError::Key) => self.fail(&Rejection::plain(ErrorCode::WrongAuthKey)),
            Err(V1IdentifyError::Cluster(JoinError::IdTaken)) => self.fail(&Rejection::plain(ErrorCode::BotIdUsed)),
            Err(V1IdentifyError::Cluster(JoinError::Unavailable)) => self.fail_plainly(Close::UNAVAILABLE, None),
            Err(V1IdentifyError::Cluster(_)) => self.fail(&Rejection::plain(ErrorCode::Unknown)),
        }
    }
}
