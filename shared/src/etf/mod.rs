//! Erlang's External Term Format, as much of it as JSON can say: what `encoding=etf` puts into a binary message.
//!
//! A client's term becomes the [`serde_json::Value`] that its JSON would have been, and JSON that is sent becomes a term.
//! Only bytes and values live here; what a payload has to contain is the protocol's matter. The format is that of the
//! page "External Term Format" of Erlang/OTP's run-time system; which of its tags are written is decided by what clients
//! read, above all `erlpack`, through which eris and discord.js speak it.

mod decode;
mod encode;
mod error;
mod tag;

pub use decode::decode;
pub use encode::{binary, integer, key, map_head, transcode};
pub use error::EtfError;

/// The byte before a message's only term.
pub const VERSION: u8 = 131;

#[cfg(test)]
mod recorded_tests;
#[cfg(test)]
mod round_trip_tests;
#[cfg(test)]
mod tests;
