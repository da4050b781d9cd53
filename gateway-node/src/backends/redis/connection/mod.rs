//! The connection for commands: made, checked, used, and given up as a whole.

pub(in crate::backends::redis) mod backoff;
pub(in crate::backends::redis) mod driver;
pub(in crate::backends::redis) mod link;
pub(in crate::backends::redis) mod problem;
