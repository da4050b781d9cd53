//! How a connection ends that its client does not end, and what an administrator does to it.

use shared::{
    close::Close,
    discord::{close, payload},
};
use smallvec::smallvec;
use tokio::time::Instant;

use super::{Discord, Stage, Steps};
use crate::{
    registry::{Disturbance, Farewell},
    session::{Ending, Step},
    transport::Violation,
};

impl Discord {
    /// The session has to end.
    pub(super) fn leave(&mut self, ending: Ending, now: Instant) -> Steps {
        match ending {
            Ending::Violation(Violation::TooBig) => self.fail(close::TOO_LARGE),
            Ending::Violation(Violation::InvalidUtf8) => self.fail(close::DECODE),
            Ending::Violation(violation) => self.close(violation.close(), Some("protocol violation")),
            Ending::TooSlow => {
                match &mut self.stage {
                    Stage::CatchingUp(session) => session.attachment.is_cut(),
                    Stage::Live(session) => session.attachment.is_cut(),
                    _ => {}
                }
                self.close(close::TOO_SLOW, Some("reads too slowly"))
            }
            Ending::Farewell(Farewell::Restarting | Farewell::Reconnect) => self.reconnect(now),
            Ending::Farewell(Farewell::KeyRevoked) => self.end_session(close::AUTHENTICATION_FAILED),
            Ending::Farewell(Farewell::Kicked) => self.end_session(close::KICKED),
            Ending::Farewell(Farewell::Superseded { generation }) => {
                // A connection may have gone on with its session by itself, after op 9.
                let is_earlier = self.attachment().is_some_and(|it| it.owner().generation < generation);
                if is_earlier {
                    self.close(close::SUPERSEDED, None)
                } else {
                    Steps::new()
                }
            }
            Ending::Farewell(Farewell::Missed) => {
                let Some(attachment) = self.attachment() else {
                    return Steps::new();
                };
                attachment.end();
                self.heartbeat_by = None;
                let mut steps: Steps = smallvec![Step::Unsubscribe];
                steps.extend(self.invalid(false, now));
                steps
            }
        }
    }

    /// Has the client see what an administrator wishes it to.
    pub(super) fn suffer(&mut self, disturbance: Disturbance, now: Instant) -> Steps {
        match disturbance {
            Disturbance::Close(code) => {
                let reason = close::KICKED.reason;
                self.close(Close { code, reason }, None)
            }
            Disturbance::Cut => {
                self.stage = Stage::Over;
                smallvec![Step::Cut]
            }
            Disturbance::Deafen(time) => {
                self.deaf_until = Some(Box::new(now + time));
                Steps::new()
            }
            Disturbance::Forget => {
                if let Some(attachment) = self.attachment() {
                    attachment.end();
                }
                Steps::new()
            }
            Disturbance::Invalidate { is_resumable } => {
                let Some(attachment) = self.attachment() else {
                    return Steps::new();
                };
                if !is_resumable {
                    attachment.end();
                }
                self.heartbeat_by = None;
                let mut steps: Steps = smallvec![Step::Unsubscribe];
                steps.extend(self.invalid(is_resumable, now));
                steps
            }
        }
    }

    /// Ends the session and then the connection.
    fn end_session(&mut self, close: Close) -> Steps {
        if let Some(attachment) = self.attachment() {
            attachment.end();
        }
        self.close(close, None)
    }

    /// Asks the client to reconnect, and ends the connection if it does not.
    fn reconnect(&mut self, now: Instant) -> Steps {
        if self.attachment().is_none() {
            return self.close(close::RESTARTING, None);
        }
        if self.leaves_at.is_some() {
            return Steps::new();
        }
        self.leaves_at = Some(Box::new(now + self.rules.grace));
        smallvec![self.send(&payload::reconnect())]
    }
}
