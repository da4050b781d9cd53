//! The catalogue of close codes and reasons of the Discord protocol.
//!
//! A client that should reconnect and resume is always closed with 4000. On the other codes that allow a resume, some
//! libraries discard their session or stop reconnecting.

use crate::close::Close;

/// A fault inside the gateway; the log has the cause.
pub const UNKNOWN: Close = Close::new(4000, "Unknown error.");
/// The node is draining.
pub const RESTARTING: Close = Close::new(4000, "The node is restarting.");
/// The client reads more slowly than its events arrive. It should resume, and gets the missed events then.
pub const TOO_SLOW: Close = Close::new(4000, "The client reads too slowly.");
/// The client was asked to reconnect and did not do so in time.
pub const RECONNECT: Close = Close::new(4000, "Reconnect and resume.");
/// The session was resumed on another connection.
pub const SUPERSEDED: Close = Close::new(4000, "The session was resumed on another connection.");
/// An administrator ended the session.
pub const KICKED: Close = Close::new(4000, "Ended by an administrator.");
/// Redis, which the nodes share, is unreachable or rejects writes.
pub const AWAY: Close = Close::new(4000, "Redis is unavailable.");
/// The client sent neither Identify nor Resume in time.
pub const NO_IDENTIFY: Close = Close::new(4000, "No identify or resume in time.");
/// The client sent an opcode that no client may send.
pub const UNKNOWN_OPCODE: Close = Close::new(4001, "Unknown opcode.");
/// The opcode is known, but the data of the payload is invalid.
pub const INVALID_PAYLOAD: Close = Close::new(4001, "Invalid payload for this opcode.");
/// A payload cannot be decoded.
pub const DECODE: Close = Close::new(4002, "Error while decoding payload.");
/// A payload exceeds the size limit.
pub const TOO_LARGE: Close = Close::new(4002, "The payload is too large.");
/// The URL requested an unsupported encoding.
pub const UNKNOWN_ENCODING: Close = Close::new(4002, "The encoding must be json or etf.");
/// The URL requested an unsupported compression.
pub const UNKNOWN_COMPRESSION: Close = Close::new(4002, "The compression must be zlib-stream or zstd-stream.");
/// The client sent an opcode that requires a session before it had one.
pub const NOT_AUTHENTICATED: Close = Close::new(4003, "Not authenticated.");
/// The token is invalid.
pub const AUTHENTICATION_FAILED: Close = Close::new(4004, "Authentication failed.");
/// The client sent a second Identify.
pub const ALREADY_AUTHENTICATED: Close = Close::new(4005, "Already authenticated.");
/// The client exceeded its limit of payloads per minute.
pub const RATE_LIMITED: Close = Close::new(4008, "Rate limited.");
/// No heartbeat arrived in time.
pub const SESSION_TIMED_OUT: Close = Close::new(4009, "Session timed out.");
/// Identify carried an invalid shard.
pub const INVALID_SHARD: Close = Close::new(4010, "Invalid shard.");
/// The shard has more guilds than one session may have.
pub const SHARDING_REQUIRED: Close = Close::new(4011, "Sharding required.");
/// The URL requested an unsupported version.
pub const INVALID_VERSION: Close = Close::new(4012, "Invalid API version.");
/// Identify carried invalid intents.
pub const INVALID_INTENTS: Close = Close::new(4013, "Invalid intent(s).");
/// Identify requested an intent that the application may not use.
pub const DISALLOWED_INTENTS: Close = Close::new(4014, "Disallowed intent(s).");

/// The whole catalogue.
pub const ALL: [Close; 24] = [
    UNKNOWN,
    RESTARTING,
    TOO_SLOW,
    RECONNECT,
    SUPERSEDED,
    KICKED,
    AWAY,
    NO_IDENTIFY,
    UNKNOWN_OPCODE,
    INVALID_PAYLOAD,
    DECODE,
    TOO_LARGE,
    UNKNOWN_ENCODING,
    UNKNOWN_COMPRESSION,
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
