//! The latest entries of each log, from which sessions that resume or catch up are served.

pub(crate) mod tail;

pub use self::tail::{From, Reading, TailLimits, Unread};
