//! Close codes of the Discord-shaped protocol and their reasons: the catalogue, in one place.
//!
//! A client that is to come back and resume is closed with 4000 and nothing else: of the other codes that allow it,
//! libraries give up their session, or give up altogether.

use crate::close::Close;

/// A fault inside the gateway; the cause is in the log.
pub const UNKNOWN: Close = Close::new(4000, "Unknown error.");
/// The node drains.
pub const RESTARTING: Close = Close::new(4000, "The node is restarting.");
/// The client reads more slowly than events arrive for it: it is to resume, and gets them then.
pub const TOO_SLOW: Close = Close::new(4000, "The client reads too slowly.");
/// An administrator wants the client to reconnect, or it has not done so when it was told to.
pub const RECONNECT: Close = Close::new(4000, "Reconnect and resume.");
/// The session goes on over another connection.
pub const SUPERSEDED: Close = Close::new(4000, "The session was resumed on another connection.");
/// An administrator ended the session.
pub const KICKED: Close = Close::new(4000, "Ended by an administrator.");
/// Redis, which the nodes share, is away or takes nothing now.
pub const AWAY: Close = Close::new(4000, "Redis is unavailable.");
/// Neither Identify nor Resume has come in time.
pub const NO_IDENTIFY: Close = Close::new(4000, "No identify or resume in time.");
/// An opcode that no client may send.
pub const UNKNOWN_OPCODE: Close = Close::new(4001, "Unknown opcode.");
/// The payload of a known opcode is not what it should be.
pub const INVALID_PAYLOAD: Close = Close::new(4001, "Invalid payload for this opcode.");
/// A payload cannot be decoded.
pub const DECODE: Close = Close::new(4002, "Error while decoding payload.");
/// A payload is over the limit.
pub const TOO_LARGE: Close = Close::new(4002, "The payload is too large.");
/// The URL asks for an encoding that is not spoken.
pub const UNKNOWN_ENCODING: Close = Close::new(4002, "The encoding must be json or etf.");
/// The URL asks for a compression that is not spoken.
pub const UNKNOWN_COMPRESSION: Close = Close::new(4002, "The compression must be zlib-stream or zstd-stream.");
/// Something that needs a session came before there was one.
pub const NOT_AUTHENTICATED: Close = Close::new(4003, "Not authenticated.");
/// The token is not good.
pub const AUTHENTICATION_FAILED: Close = Close::new(4004, "Authentication failed.");
/// A second Identify.
pub const ALREADY_AUTHENTICATED: Close = Close::new(4005, "Already authenticated.");
/// More payloads a minute than a client may send.
pub const RATE_LIMITED: Close = Close::new(4008, "Rate limited.");
/// No heartbeat in time.
pub const SESSION_TIMED_OUT: Close = Close::new(4009, "Session timed out.");
/// The shard of an Identify is none.
pub const INVALID_SHARD: Close = Close::new(4010, "Invalid shard.");
/// More guilds than one session may have.
pub const SHARDING_REQUIRED: Close = Close::new(4011, "Sharding required.");
/// The URL asks for a version that is not spoken.
pub const INVALID_VERSION: Close = Close::new(4012, "Invalid API version.");
/// The intents of an Identify are none.
pub const INVALID_INTENTS: Close = Close::new(4013, "Invalid intent(s).");
/// The application may not have one of the intents.
pub const DISALLOWED_INTENTS: Close = Close::new(4014, "Disallowed intent(s).");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_pinned() {
        let catalogue = [
            UNKNOWN,
            UNKNOWN_OPCODE,
            DECODE,
            NOT_AUTHENTICATED,
            AUTHENTICATION_FAILED,
            ALREADY_AUTHENTICATED,
            RATE_LIMITED,
            SESSION_TIMED_OUT,
            INVALID_SHARD,
            SHARDING_REQUIRED,
            INVALID_VERSION,
            INVALID_INTENTS,
            DISALLOWED_INTENTS,
        ];
        let codes = [
            4000, 4001, 4002, 4003, 4004, 4005, 4008, 4009, 4010, 4011, 4012, 4013, 4014,
        ];
        assert_eq!(catalogue.map(|close| close.code), codes);
        for resume in [RESTARTING, TOO_SLOW, RECONNECT, SUPERSEDED, KICKED, AWAY, NO_IDENTIFY] {
            assert_eq!(resume.code, 4000, "{}", resume.reason);
        }
        assert_eq!(INVALID_PAYLOAD.code, UNKNOWN_OPCODE.code);
        for decode in [TOO_LARGE, UNKNOWN_ENCODING, UNKNOWN_COMPRESSION] {
            assert_eq!(decode.code, DECODE.code);
        }
    }
}
