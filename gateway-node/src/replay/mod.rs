//! The latest entries of each log, from which sessions that resume or catch up are served.

pub(crate) mod buffer;

pub use self::buffer::{ReadFrom, ReplayError, ReplayLimits, ReplayPage};
