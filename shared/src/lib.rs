//! What a client, a node and a test all need to agree on: payloads, codecs, catalogues of errors and close codes,
//! ids, compression and routing rules.
//!
//! Nothing here knows an actor, a socket or a clock: time and randomness are passed in.

#![forbid(unsafe_code)]

pub mod client_type;
pub mod close;
pub mod compression;
pub mod discord;
pub mod etf;
mod fields;
pub mod guild;
pub mod key;
pub mod problem;
pub mod routing;
pub mod session_id;
pub mod snowflake;
pub mod token_bucket;
pub mod v1;

/// The largest integer that a client may send: 2^53 − 1, the last that JavaScript's numbers hold exactly.
pub const MAX_INTEGER: u64 = (1 << 53) - 1;
