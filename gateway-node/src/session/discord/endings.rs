//! How the node ends a connection, and the faults that an administrator injects.

use shared::{
    close::Close,
    discord::{close, payload},
};
use smallvec::smallvec;
use tokio::time::Instant;

use super::{Discord, DiscordPhase, call::DiscordActions};
use crate::{
    registry::{EndReason, InjectedFault},
    session::{Action, Cx, SessionEnd},
    transport::Violation,
};

impl Discord {
    /// Ends the session or the connection, for this reason.
    pub(super) fn leave(&mut self, end: SessionEnd, cx: &Cx<'_>) -> DiscordActions {
        let now = cx.now;
        match end {
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
            SessionEnd::ByNode(EndReason::Restarting | EndReason::Reconnect) => self.reconnect(now),
            SessionEnd::ByNode(EndReason::KeyRevoked | EndReason::KeyExpired) => {
                self.end_session(close::AUTHENTICATION_FAILED)
            }
            SessionEnd::ByNode(EndReason::Kicked) => self.end_session(close::KICKED),
            SessionEnd::ByNode(EndReason::Superseded { fencing_token }) => {
                // After op 9 the client may have resumed on this same connection, which then has the newer fencing
                // token.
                let is_earlier = self
                    .ownership()
                    .is_some_and(|it| it.owner().fencing_token < fencing_token);
                if is_earlier {
                    self.close(close::SUPERSEDED, None)
                } else {
                    DiscordActions::new()
                }
            }
            SessionEnd::ByNode(EndReason::Missed) => {
                let Some(ownership) = self.ownership() else {
                    return DiscordActions::new();
                };
                ownership.end();
                self.heartbeat_by = None;
                cx.unsubscribe();
                self.invalid(false, now)
            }
        }
    }

    /// Injects a fault.
    pub(super) fn inject_fault(&mut self, fault: InjectedFault, cx: &Cx<'_>) -> DiscordActions {
        let now = cx.now;
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
                DiscordActions::new()
            }
            InjectedFault::Forget => {
                if let Some(ownership) = self.ownership() {
                    ownership.end();
                }
                DiscordActions::new()
            }
            InjectedFault::Invalidate { is_resumable } => {
                let Some(ownership) = self.ownership() else {
                    return DiscordActions::new();
                };
                if !is_resumable {
                    ownership.end();
                }
                self.heartbeat_by = None;
                cx.unsubscribe();
                self.invalid(is_resumable, now)
            }
        }
    }

    /// Ends the session, then the connection.
    fn end_session(&mut self, close: Close) -> DiscordActions {
        if let Some(ownership) = self.ownership() {
            ownership.end();
        }
        self.close(close, None)
    }

    /// Asks the client to reconnect, and closes the connection later if it does not.
    fn reconnect(&mut self, now: Instant) -> DiscordActions {
        if self.ownership().is_none() {
            return self.close(close::RESTARTING, None);
        }
        if self.leaves_at.is_some() {
            return DiscordActions::new();
        }
        self.leaves_at = Some(Box::new(now + self.settings.grace));
        smallvec![self.send(&payload::reconnect())]
    }
}
