//! What follows from an identify.

use std::sync::Arc;

use shared::{
    client_type::ClientType,
    close::Close,
    v1::{
        ErrorCode, Rejection, Scope,
        payload::{self, ConnectSuccess},
    },
};
use smallvec::smallvec;
use tokio::time::Instant;

use super::{
    V1, V1Actions, V1Phase, catch_up::CatchUp, identify::Identified, identify_error::V1IdentifyError,
    ticket::TicketState,
};
use crate::{
    backplane::{JoinError, report_changes::guilds as guilds_of},
    registry::Registration,
    session::Action,
};

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
                    positions,
                    after,
                    jobs,
                } = scope;
                self.phase = V1Phase::Identified(kind);
                let interval = self.settings.heartbeat_ms();
                self.ticket = ticket.map(|taken| Box::new(TicketState::new(taken, now)));
                let left = self.ticket.as_ref().map(|it| it.left_ms(now));
                let of_report = report
                    .as_ref()
                    .filter(|_| positions)
                    .map(|report| guilds_of(report).to_vec());
                let registration = Registration {
                    id,
                    kind,
                    key,
                    encoding: self.encoding,
                    counts: wants_counts,
                    guilds: guilds.or(of_report).unwrap_or_default(),
                    has_positions: positions,
                    ticket: self.ticket.as_ref().map(|it| Arc::clone(&it.ticket)),
                    since,
                };
                self.has_positions = positions;
                self.wants_counts = wants_counts;
                self.takes_jobs = jobs.is_some();
                let mut catch_up = positions.then(|| CatchUp::new(registration.clone(), after, report.clone()));
                let lost = catch_up.as_mut().and_then(CatchUp::begin);
                let position = catch_up.as_ref().map(|it| it.position().to_string());
                let success = ConnectSuccess {
                    kind,
                    id,
                    node: &self.settings.node,
                    heartbeat_ms: interval,
                    expires_in_ms: left,
                    position: position.as_deref(),
                };
                let mut actions = smallvec![self.send(&success.payload())];
                if kind == ClientType::Bot || wants_counts {
                    actions.push(self.send(&payload::event(payload::GuildCount::NAME, &counts.d())));
                }
                // After the connect success and in the same turn, so that no event overtakes it.
                actions.push(Action::Register(Box::new(registration)));
                // At once if the session is shorter than the warning before its end.
                actions.extend(self.end_ticket(now));
                match catch_up {
                    Some(catch_up) => actions.extend(self.catch_up(catch_up, lost.as_deref())),
                    None => actions.extend(report.and_then(|report| self.report_action(report, 0))),
                }
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
