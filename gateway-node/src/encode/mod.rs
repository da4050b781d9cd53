//! An event in every wire format, each made once for all sessions that have it.

pub(crate) mod line;
pub(crate) mod pieces;
pub(crate) mod prepared;

pub use self::line::{Coding, Line, Place};
