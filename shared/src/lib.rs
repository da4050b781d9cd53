//! What a client, a node and a test all need to agree on: payloads, codecs, catalogues of errors and close codes,
//! ids, compression and routing rules.
//!
//! Nothing here knows an actor, a socket or a clock: time and randomness are passed in.

pub mod client_type;
pub mod routing;
