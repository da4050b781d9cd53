//! How a connection ends that its client does not end, and what an administrator does to it.

use shared::{
    close::Close,
    discord::{close, payload},
};
use smallvec::smallvec;
use tokio::time::Instant;

use super::{Actions, Discord, DiscordPhase};
use crate::{
    registry::{EndReason, InjectedFault},
    session::{Action, SessionEnd},
    transport::Violation,
};

impl Discord {
    /// The session has to end.
    pub(super) fn leave(&mut self, ending: SessionEnd, now: Instant) -> Actions {
        match ending {
            SessionEnd::Violation(Violation::TooBig) => self.fail(close::TOO_LARGE),
            SessionEnd::Violation(Violation::InvalidUtf8) => self.fail(close::DECODE),
            SessionEnd::Violation(violation) => self.close(violation.close(), Some("protocol violation")),
            SessionEnd::TooSlow => {
                match &mut self.phase {
                    DiscordPhase::Replaying(session) => session.ownership.set_slow(),
                    DiscordPhase::Live(session) => session.ownership.set_slow(),
                    _ => {}
                }
                self.close(close::TOO_SLOW, Some("reads too slowly"))
            }
            SessionEnd::EndReason(EndReason::Restarting | EndReason::Reconnect) => self.reconnect(now),
            SessionEnd::EndReason(EndReason::KeyRevoked) => self.end_session(close::AUTHENTICATION_FAILED),
            SessionEnd::EndReason(EndReason::Kicked) => self.end_session(close::KICKED),
            SessionEnd::EndReason(EndReason::Superseded { fencing_token }) => {
                // A connection may have gone on with its session by itself, after op 9.
                let is_earlier = self
                    .ownership()
                    .is_some_and(|it| it.owner().fencing_token < fencing_token);
                if is_earlier {
                    self.close(close::SUPERSEDED, None)
                } else {
                    Actions::new()
                }
            }
            SessionEnd::EndReason(EndReason::Missed) => {
                let Some(ownership) = self.ownership() else {
                    return Actions::new();
                };
                ownership.end();
                self.heartbeat_by = None;
                let mut actions: Actions = smallvec![Action::Unsubscribe];
                actions.extend(self.invalid(false, now));
                actions
            }
        }
    }

    /// Has the client see what an administrator wishes it to.
    pub(super) fn suffer(&mut self, fault: InjectedFault, now: Instant) -> Actions {
        match fault {
            InjectedFault::Close(code) => {
                let reason = close::KICKED.reason;
                self.close(Close { code, reason }, None)
            }
            InjectedFault::Cut => {
                self.phase = DiscordPhase::Over;
                smallvec![Action::Cut]
            }
            InjectedFault::Deafen(time) => {
                self.deaf_until = Some(Box::new(now + time));
                Actions::new()
            }
            InjectedFault::Forget => {
                if let Some(ownership) = self.ownership() {
                    ownership.end();
                }
                Actions::new()
            }
            InjectedFault::Invalidate { is_resumable } => {
                let Some(ownership) = self.ownership() else {
                    return Actions::new();
                };
                if !is_resumable {
                    ownership.end();
                }
                self.heartbeat_by = None;
                let mut actions: Actions = smallvec![Action::Unsubscribe];
                actions.extend(self.invalid(is_resumable, now));
                actions
            }
        }
    }

    /// Ends the session and then the connection.
    fn end_session(&mut self, close: Close) -> Actions {
        if let Some(ownership) = self.ownership() {
            ownership.end();
        }
        self.close(close, None)
    }

    /// Asks the client to reconnect, and ends the connection if it does not.
    fn reconnect(&mut self, now: Instant) -> Actions {
        if self.ownership().is_none() {
            return self.close(close::RESTARTING, None);
        }
        if self.leaves_at.is_some() {
            return Actions::new();
        }
        self.leaves_at = Some(Box::new(now + self.settings.grace));
        smallvec![self.send(&payload::reconnect())]
    }
}
