//! The connection for commands: made, checked, used, and given up as a whole.

pub(in crate::backends::redis) mod backoff;
pub(in crate::backends::redis) mod problem;
pub(in crate::backends::redis) mod redis_connection;
pub(in crate::backends::redis) mod supervisor;
