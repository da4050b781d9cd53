//! The query parameters of the URL that a client connects to.

use super::{Version, close};
use crate::close::Close;

/// The options that a client requested in the URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query {
    /// The protocol version.
    pub version: Version,
    /// The encoding of payloads.
    pub encoding: Encoding,
    /// The compressed stream that everything the gateway sends is part of, if any.
    pub transport: Option<Transport>,
}

/// The encoding of payloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Encoding {
    /// JSON.
    #[default]
    Json,
    /// Erlang's external term format.
    Etf,
}

/// A compressed stream that lasts as long as its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// `zlib-stream`: one zlib stream, in which each message ends with a sync flush.
    Zlib,
    /// `zstd-stream`: one zstd frame, in which each message consists of whole blocks.
    Zstd,
}

impl Query {
    /// Parses the decoded values of `v`, `encoding` and `compress`. An absent parameter is `None`.
    ///
    /// Returns `None` if the URL is for the v1 protocol: `v` is absent, is 1, or is unknown in a URL without
    /// `encoding`. An unknown `v` beside an `encoding` is an error of this protocol.
    ///
    /// # Errors
    /// The close that answers an unsupported version, encoding or compression.
    pub fn parse(v: Option<&str>, encoding: Option<&str>, compress: Option<&str>) -> Option<Result<Self, Close>> {
        let version = match v.map(|v| (v, Version::parse(v))) {
            Some((_, Some(version))) => version,
            Some((v, None)) if v != "1" && encoding.is_some() => return Some(Err(close::INVALID_VERSION)),
            _ => return None,
        };
        let encoding = match encoding {
            None | Some("json") => Encoding::Json,
            Some("etf") => Encoding::Etf,
            Some(_) => return Some(Err(close::UNKNOWN_ENCODING)),
        };
        let transport = match compress {
            None => None,
            Some("zlib-stream") => Some(Transport::Zlib),
            Some("zstd-stream") => Some(Transport::Zstd),
            Some(_) => return Some(Err(close::UNKNOWN_COMPRESSION)),
        };
        Some(Ok(Self {
            version,
            encoding,
            transport,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_selects_the_protocol() {
        for v in [None, Some("1"), Some(""), Some("5"), Some("11")] {
            assert_eq!(Query::parse(v, None, None), None, "{v:?}");
        }
        assert_eq!(Query::parse(None, Some("json"), None), None);
        assert_eq!(Query::parse(Some("1"), Some("json"), None), None);
        for v in ["5", "11", "", "ten"] {
            let refused = Query::parse(Some(v), Some("json"), None);
            assert_eq!(refused, Some(Err(close::INVALID_VERSION)), "{v}");
        }
        for version in Version::ALL {
            let query = Query::parse(Some(&version.number().to_string()), None, None);
            let expected = Query {
                version,
                encoding: Encoding::Json,
                transport: None,
            };
            assert_eq!(query, Some(Ok(expected)));
        }
    }

    #[test]
    fn encodings_and_compressions_are_parsed() {
        let parse = |encoding, compress| Query::parse(Some("10"), Some(encoding), compress);
        let spoken = |encoding, transport| {
            Some(Ok(Query {
                version: Version::V10,
                encoding,
                transport,
            }))
        };
        assert_eq!(parse("json", None), spoken(Encoding::Json, None));
        let zlib = spoken(Encoding::Etf, Some(Transport::Zlib));
        assert_eq!(parse("etf", Some("zlib-stream")), zlib);
        let zstd = spoken(Encoding::Json, Some(Transport::Zstd));
        assert_eq!(parse("json", Some("zstd-stream")), zstd);
        assert_eq!(parse("xml", None), Some(Err(close::UNKNOWN_ENCODING)));
        assert_eq!(parse("json", Some("gzip")), Some(Err(close::UNKNOWN_COMPRESSION)));
    }
}
