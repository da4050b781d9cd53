//! The meanings of close codes and error codes of protocol version 1, for people.

use shared::v1::ErrorCode;

/// Returns the standard message of an error code (`e`), for an Error without a message.
pub(super) fn error_message(e: i64) -> Option<&'static str> {
    let known = ErrorCode::ALL.into_iter().find(|error| i64::from(error.code()) == e)?;
    Some(known.message())
}

/// Returns the meaning of a WebSocket close code: those of RFC 6455, section 7.4.1, as the protocol page uses them, and
/// 4000 to 4007.
pub(super) fn meaning(code: u16) -> &'static str {
    match code {
        1000 => "normal close",
        1001 => "the gateway is going away",
        1002 => "a frame broke the WebSocket protocol",
        1003 => "that kind of data is not accepted",
        1005 => "closed without a code",
        1007 => "a text message was not UTF-8",
        1008 => "kicked by an administrator, or the rate limit was exceeded",
        1009 => "a message was too big",
        1011 => "internal error of the gateway; connect again",
        1012 => "the node is restarting; connect again",
        1013 => "the node is overloaded, Redis is unavailable, or this client reads too slowly; connect again later",
        4000 => "wrong version: the gateway does not speak this v",
        4001 => "wrong key: unknown, revoked, expired or not valid for this type",
        4002 => "the generated id was in use; connect again",
        4003 => "no opcode: a packet without op was sent",
        4004 => "wrong opcode: op is not an integer, is unknown or may not be sent by clients",
        4005 => "malformed data: the error's d lists what was wrong",
        4006 => "no heartbeat arrived in time",
        4007 => "wrong identify: sent twice, or not in time",
        _ => "not a code of this protocol",
    }
}

/// Returns whether `code` is a normal close. 1005 stands for a close frame without a code.
pub(super) fn is_normal(code: i64) -> bool {
    matches!(code, 1000 | 1005)
}

/// Returns whether a retry with the same options would end in the same way. Malformed data is the fault of the options
/// only before the session began; later, it was a line that was typed.
pub(super) fn is_final(code: i64, had_session: bool) -> bool {
    matches!(code, 4000 | 4001) || code == 4005 && !had_session
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_that_closes_a_connection_has_a_meaning() {
        for error in ErrorCode::ALL {
            assert!(error_message(error.code().into()).is_some());
            assert!(!meaning(error.close().code).contains("not a code"), "{error:?}");
        }
        for code in [1000, 1001, 1002, 1005, 1007, 1008, 1009, 1012, 1013] {
            assert!(!meaning(code).contains("not a code"), "{code}");
        }
        assert_eq!(error_message(4008), None);
        assert!(meaning(4008).contains("not a code"));
    }

    #[test]
    fn closes_that_a_retry_cannot_fix_are_final() {
        assert!(is_final(4001, true) && is_final(4000, false) && is_final(4005, false));
        assert!(!is_final(4005, true) && !is_final(1012, false) && !is_final(4006, true));
    }
}
