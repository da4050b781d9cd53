//! The connection for commands: connecting, checking, reconnecting.

pub(in crate::backends::redis) mod backoff;
pub(in crate::backends::redis) mod problem;
pub(in crate::backends::redis) mod redis_connection;
pub(in crate::backends::redis) mod supervisor;
