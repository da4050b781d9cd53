//! The parameters of the URL that a client connects to.

use super::{ErrorCode, Rejection};
use crate::problem::Problem;

/// The only version that is this protocol, and the default.
const VERSION: &str = "1";
const ZLIB: &str = "zlib";
/// How much of a parameter is echoed, in bytes.
const ECHO_BYTES: usize = 128;

/// What a client asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query {
    /// How the gateway sends packets.
    pub encoding: Encoding,
}

/// How the gateway sends packets to one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Encoding {
    /// JSON in text messages.
    #[default]
    Text,
    /// One complete zlib stream (RFC 1950) of the JSON in each binary message.
    Zlib,
}

impl Query {
    /// Reads the decoded values of `v` and `compression`; `None` is a parameter that is not there.
    ///
    /// # Errors
    ///
    /// The rejection that is the connection's first message: wrong version before malformed data.
    pub fn parse(v: Option<&str>, compression: Option<&str>) -> Result<Self, Rejection> {
        if v.is_some_and(|v| v != VERSION) {
            return Err(Rejection::plain(ErrorCode::WrongVersion));
        }
        match compression {
            None => Ok(Encoding::Text),
            Some(ZLIB) => Ok(Encoding::Zlib),
            Some(other) => Err(Rejection::malformed(vec![Problem::with_str(
                "Compression must be zlib.",
                cut(other),
            )])),
        }
        .map(|encoding| Self { encoding })
    }
}

impl Encoding {
    /// The encoding of the one Error that answers a query which [`Query::parse`] refuses: zlib if the client asked for
    /// it, and text otherwise.
    pub fn of_rejection(compression: Option<&str>) -> Self {
        if compression == Some(ZLIB) {
            Self::Zlib
        } else {
            Self::Text
        }
    }
}

/// The start of `text`, at most [`ECHO_BYTES`] long and whole in its last character.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(ECHO_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
