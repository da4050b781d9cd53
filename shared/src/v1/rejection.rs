//! Rejections of what a client sent.

use super::ErrorCode;
use crate::problem::Problem;

/// An Error for a client, before it is encoded. The connection closes after it.
#[derive(Debug, Clone, PartialEq)]
pub struct Rejection {
    /// `e` of the Error, which also decides the close code.
    pub code: ErrorCode,
    /// All problems, in the order in which they are sent. May be empty.
    pub problems: Vec<Problem>,
}

impl Rejection {
    /// Creates a rejection without problems.
    pub const fn plain(code: ErrorCode) -> Self {
        Self {
            code,
            problems: Vec::new(),
        }
    }

    /// Creates a rejection for malformed data, with its problems.
    pub const fn malformed(problems: Vec<Problem>) -> Self {
        Self {
            code: ErrorCode::MalformedData,
            problems,
        }
    }
}
