//! Why the gateway refuses what a client sent.

use super::ErrorCode;
use crate::problem::Problem;

/// An Error that a client has earned, before it is encoded. The connection closes after it.
#[derive(Debug, Clone, PartialEq)]
pub struct Rejection {
    /// `e`, and the close code.
    pub code: ErrorCode,
    /// Everything that is wrong, in the order in which it is sent; may be empty.
    pub problems: Vec<Problem>,
}

impl Rejection {
    /// A rejection with nothing to list.
    pub const fn plain(code: ErrorCode) -> Self {
        Self {
            code,
            problems: Vec::new(),
        }
    }

    /// Malformed data, with what is wrong with it.
    pub const fn malformed(problems: Vec<Problem>) -> Self {
        Self {
            code: ErrorCode::MalformedData,
            problems,
        }
    }
}
