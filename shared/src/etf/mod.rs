//! The part of Erlang's External Term Format that JSON can express: the content of binary messages with `encoding=etf`.
//!
//! A client's term becomes the [`serde_json::Value`] that its JSON would have given, and JSON to be sent becomes a
//! term. This module handles bytes and values only; what a payload must contain is up to the protocol. The format is
//! described on the page "External Term Format" of Erlang/OTP's run-time system. Which of its tags are written depends
//! on what clients can read, above all `erlpack`, which eris and discord.js use.

mod decode;
mod encode;
mod error;
mod tag;

pub use decode::decode;
pub use encode::{binary, integer, key, map_head, transcode};
pub use error::EtfError;

/// The version byte, which precedes the only term of a message.
pub const VERSION: u8 = 131;

#[cfg(test)]
mod recorded_tests;
#[cfg(test)]
mod round_trip_tests;
#[cfg(test)]
mod tests;
