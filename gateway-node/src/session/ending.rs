//! Why a session ended, as the log says it.

use log::Level;
use shared::close::Close;

use super::SessionEnd;
use crate::registry::EndReason;

/// The reasons that are no errors of clients and no close reasons.
pub const ENDINGS: [&str; 12] = [
    "client closed",
    "connection lost",
    "cut by an injected fault",
    "protocol violation",
    "reads too slowly",
    "node stopping",
    "key revoked",
    "key expired",
    "kicked by an administrator",
    "events missed",
    "continued on another connection",
    "asked to reconnect by an administrator",
];

/// The errors with which version 1 ends sessions, and those of both protocols. The others of Discord's protocol are the
/// reasons of its close codes.
pub const PROBLEMS: [&str; 12] = [
    "wrong version",
    "wrong auth key",
    "bot id used",
    "no opcode",
    "wrong opcode",
    "malformed data",
    "no heartbeat",
    "wrong identify",
    "rate limit exceeded",
    "message too big",
    "protocol violation",
    "reads too slowly",
];

/// Why packets are dropped without an answer.
pub const DROPS: [&str; 8] = [
    "not_json",
    "not_zlib",
    "binary",
    "unidentified",
    "receipt_over",
    "unknown_guild",
    "guilds_away",
    "appearances_full",
];

/// The results of resumes.
pub const RESUMES: [&str; 5] = ["resumed", "incomplete", "gone", "refused", "unavailable"];

/// Why a session ended, and where the line about it belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ending {
    /// The cause in a few words.
    pub(super) reason: &'static str,
    /// The close code: the gateway's, or that of the client if it closed first. `None` without a close frame.
    pub(super) code: Option<u16>,
    /// Whether sessions end like this all the time.
    is_normal: bool,
}

impl Ending {
    /// The client closed the connection. `cause` is what it was asked to do before, if anything.
    pub(super) fn by_client(code: Option<u16>, cause: Option<SessionEnd>) -> Self {
        let asked = cause.map(Self::by_cause);
        Self {
            reason: asked.map_or("client closed", |asked| asked.reason),
            code,
            is_normal: asked.is_none_or(|asked| asked.is_normal),
        }
    }

    /// The connection broke without a close frame. `cause` is what the client was asked to do before, if anything.
    pub(super) fn lost(cause: Option<SessionEnd>) -> Self {
        let plain = Self {
            reason: "connection lost",
            code: None,
            is_normal: false,
        };
        cause.map_or(plain, Self::by_cause)
    }

    /// The connection was cut by an injected fault.
    pub(super) const fn cut() -> Self {
        Self {
            reason: "cut by an injected fault",
            code: None,
            is_normal: false,
        }
    }

    /// The gateway closed the connection: for `cause`, for the client's error `problem`, or for what `close` says.
    pub(super) fn by_gateway(close: Close, problem: Option<&'static str>, cause: Option<SessionEnd>) -> Self {
        let plain = Self {
            reason: problem.unwrap_or(close.reason),
            code: None,
            is_normal: false,
        };
        Self {
            code: Some(close.code),
            ..cause.map_or(plain, Self::by_cause)
        }
    }

    fn by_cause(cause: SessionEnd) -> Self {
        let (reason, is_normal) = match cause {
            SessionEnd::Violation(_) => ("protocol violation", false),
            SessionEnd::TooSlow => ("reads too slowly", false),
            SessionEnd::ByNode(EndReason::Restarting) => ("node stopping", true),
            SessionEnd::ByNode(EndReason::KeyRevoked) => ("key revoked", false),
            SessionEnd::ByNode(EndReason::KeyExpired) => ("key expired", false),
            SessionEnd::ByNode(EndReason::Kicked) => ("kicked by an administrator", false),
            SessionEnd::ByNode(EndReason::Missed) => ("events missed", false),
            SessionEnd::ByNode(EndReason::Superseded { .. }) => ("continued on another connection", true),
            SessionEnd::ByNode(EndReason::Reconnect) => ("asked to reconnect by an administrator", false),
        };
        Self {
            reason,
            code: None,
            is_normal,
        }
    }

    /// Returns the level of the line. Connections without a session are only of interest to a developer.
    pub(super) const fn level(self, has_session: bool) -> Level {
        if self.is_normal || !has_session {
            Level::Debug
        } else {
            Level::Info
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_endings_are_for_developers() {
        for ending in [
            Ending::by_client(Some(1000), None),
            Ending::by_client(Some(4000), Some(SessionEnd::ByNode(EndReason::Restarting))),
            Ending::by_gateway(Close::RESTARTING, None, Some(SessionEnd::ByNode(EndReason::Restarting))),
        ] {
            assert_eq!(ending.level(true), Level::Debug, "{ending:?}");
        }
    }

    #[test]
    fn abnormal_endings_are_for_operators() {
        let by_node = |reason| Some(SessionEnd::ByNode(reason));
        for (ending, reason) in [
            (Ending::lost(None), "connection lost"),
            (
                Ending::by_gateway(Close::TOO_SLOW, Some("reads too slowly"), Some(SessionEnd::TooSlow)),
                "reads too slowly",
            ),
            (
                Ending::by_gateway(Close::KICKED, None, by_node(EndReason::Kicked)),
                "kicked by an administrator",
            ),
            (
                Ending::by_gateway(Close::NORMAL, None, by_node(EndReason::KeyRevoked)),
                "key revoked",
            ),
            (
                Ending::by_gateway(Close::NORMAL, None, by_node(EndReason::KeyExpired)),
                "key expired",
            ),
            (
                Ending::by_gateway(Close::NORMAL, Some("no heartbeat"), None),
                "no heartbeat",
            ),
            (
                Ending::by_gateway(Close::UNAVAILABLE, None, None),
                "Redis is unavailable.",
            ),
        ] {
            assert_eq!((ending.reason, ending.level(true)), (reason, Level::Info));
            let is_other = ["no heartbeat", "Redis is unavailable."].contains(&reason);
            assert!(is_other || ENDINGS.contains(&reason), "{reason}");
            assert_eq!(ending.level(false), Level::Debug);
        }
    }

    #[test]
    fn a_client_that_follows_a_request_to_reconnect_left_for_that_reason() {
        let asked = Some(SessionEnd::ByNode(EndReason::Reconnect));
        let ending = Ending::by_client(Some(4000), asked);
        assert_eq!(ending.reason, "asked to reconnect by an administrator");
        assert_eq!(ending.code, Some(4000));
    }
}
