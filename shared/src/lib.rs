//! Code that clients, nodes and tests share: payloads, codecs, the catalogues of errors and close codes, ids,
//! compression and routing rules.
//!
//! There are no actors, sockets or clocks here: callers pass in time and randomness.

#![forbid(unsafe_code)]

pub mod client_type;
pub mod close;
pub mod compression;
pub mod discord;
pub mod etf;
mod fields;
pub mod guild;
pub mod idempotency_key;
pub mod job;
pub mod key;
pub mod problem;
pub mod routing;
pub mod session_id;
pub mod snowflake;
pub mod ticket;
pub mod token_bucket;
pub mod user;
pub mod v1;

/// The largest integer that a client may send: 2^53 − 1, `Number.MAX_SAFE_INTEGER` in JavaScript.
pub const MAX_INTEGER: u64 = (1 << 53) - 1;
