//! What a close code or an error code of protocol version 1 tells the person at the other end.

/// The name of an error code (`e`) in the catalogue of version 1.
pub(super) fn error_name(e: i64) -> Option<&'static str> {
    Some(match e {
        1000 => "Unknown Error",
        4000 => "Wrong Version",
        4001 => "Wrong Auth Key",
        4002 => "Bot ID Used",
        4003 => "No Opcode",
        4004 => "Wrong Opcode",
        4005 => "Malformed Data",
        4006 => "No Heartbeat",
        4007 => "Wrong Identify",
        _ => return None,
    })
}

/// What a WebSocket close code means here: RFC 6455, section 7.4.1, as the protocol page uses it, and 4000 to 4007.
pub(super) fn meaning(code: u16) -> &'static str {
    match code {
        1000 => "normal end",
        1001 => "the gateway is going away",
        1002 => "a frame broke the WebSocket protocol",
        1003 => "that kind of data is not taken",
        1005 => "closed without a code",
        1007 => "a text message was not UTF-8",
        1008 => "kicked by an administrator, or the rate limit was exceeded",
        1009 => "a message was too big",
        1011 => "internal fault of the gateway; connect again",
        1012 => "the node is restarting; connect again",
        1013 => "the node is overloaded or this client reads too slowly; connect again later",
        4000 => "wrong version: the gateway does not speak this v",
        4001 => "wrong key: unknown, revoked, expired or not valid for this type",
        4002 => "the generated id was in use; connect again",
        4003 => "no opcode: a packet without op was sent",
        4004 => "wrong opcode: op is no integer, unknown or not a client's to send",
        4005 => "malformed data: the error's d lists what was wrong",
        4006 => "no heartbeat arrived in time",
        4007 => "wrong identify: sent twice, or not in time",
        _ => "not a code of this protocol",
    }
}

/// Whether a close with `code` is an ordinary end and not an error. 1005 stands for a close frame without a code.
pub(super) fn is_normal(code: i64) -> bool {
    matches!(code, 1000 | 1005)
}

/// Whether trying again with the same options would end in the same way. Malformed data is the options' fault only
/// before the session began; later it was a line that someone typed.
pub(super) fn is_final(code: i64, had_session: bool) -> bool {
    matches!(code, 4000 | 4001) || code == 4005 && !had_session
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_catalogue_has_a_name_and_a_meaning() {
        for e in 4000..=4007_u16 {
            assert!(error_name(e.into()).is_some());
            assert!(!meaning(e).contains("not a code"));
        }
        assert_eq!(error_name(4008), None);
        assert!(meaning(4008).contains("not a code"));
    }

    #[test]
    fn only_what_cannot_improve_is_final() {
        assert!(is_final(4001, true) && is_final(4000, false) && is_final(4005, false));
        assert!(!is_final(4005, true) && !is_final(1012, false) && !is_final(4006, true));
    }
}
