//! The query parameters of the URL that a client connects to.

use super::{ErrorCode, Rejection};
use crate::problem::Problem;

/// The only version of this protocol, and the default.
const VERSION: &str = "1";
const ZLIB: &str = "zlib";
/// The most bytes of a parameter that are echoed.
const ECHO_BYTES: usize = 128;

/// The options that a client requested in the URL.
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
    /// Parses the decoded values of `v` and `compression`. An absent parameter is `None`.
    ///
    /// # Errors
    ///
    /// The rejection to send as the connection's first message. A wrong version takes precedence over malformed data.
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
    /// Returns the encoding of the Error that answers a query which [`Query::parse`] refuses: zlib if the client
    /// requested it, otherwise text.
    pub fn of_rejection(compression: Option<&str>) -> Self {
        if compression == Some(ZLIB) {
            Self::Zlib
        } else {
            Self::Text
        }
    }
}

/// Returns the longest prefix of `text` that has at most [`ECHO_BYTES`] bytes and ends at a character boundary.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(ECHO_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_version_but_1_is_rejected() {
        for v in [None, Some("1")] {
            let encoding = Encoding::Text;
            assert_eq!(Query::parse(v, None), Ok(Query { encoding }));
        }
        for v in ["", "0", "01", "1.0", " 1", "2", "6", "10", "one"] {
            let wrong = Err(Rejection::plain(ErrorCode::WrongVersion));
            assert_eq!(Query::parse(Some(v), None), wrong, "{v}");
            assert_eq!(Query::parse(Some(v), Some("zlib")), wrong, "{v}");
            assert_eq!(Query::parse(Some(v), Some("gzip")), wrong, "{v}");
        }
    }

    #[test]
    fn every_compression_but_zlib_is_malformed() {
        let encoding = Encoding::Zlib;
        assert_eq!(Query::parse(None, Some("zlib")), Ok(Query { encoding }));
        for (compression, echo) in [
            ("", r#""""#),
            ("ZLIB", r#""ZLIB""#),
            ("zlib-stream", r#""zlib-stream""#),
            ("\"\n", r#""\"\n""#),
        ] {
            let rejection = Query::parse(Some("1"), Some(compression)).unwrap_err();
            assert_eq!(rejection.code, ErrorCode::MalformedData);
            let [problem] = &rejection.problems[..] else {
                panic!("expected one problem");
            };
            assert_eq!(problem.error, "Compression must be zlib.");
            assert_eq!(problem.data.as_ref().unwrap().get(), echo);
        }
    }

    #[test]
    fn an_echo_is_cut_at_128_bytes_on_a_character_boundary() {
        let ascii = "a".repeat(129);
        assert_eq!(cut(&ascii[..128]), &ascii[..128]);
        assert_eq!(cut(&ascii), &ascii[..128]);
        let accents = "é".repeat(100);
        assert_eq!(cut(&accents).len(), 128);
        assert_eq!(cut(&format!("a{accents}")).len(), 127);
        assert_eq!(cut(&"🎉".repeat(40)).len(), 128);
        assert_eq!(cut(&format!("a{}", "🎉".repeat(40))).len(), 125);
    }

    #[test]
    fn a_rejection_has_the_encoding_that_was_requested() {
        assert_eq!(Encoding::of_rejection(Some("zlib")), Encoding::Zlib);
        assert_eq!(Encoding::of_rejection(Some("gzip")), Encoding::Text);
        assert_eq!(Encoding::of_rejection(None), Encoding::Text);
    }

    proptest! {
        #[test]
        fn no_query_panics(v: Option<String>, compression: Option<String>) {
            let _ = Query::parse(v.as_deref(), compression.as_deref());
            let _ = Query::parse(None, compression.as_deref());
        }
    }
}
