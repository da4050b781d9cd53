//! The server's side of the WebSocket handshake (RFC 6455, section 4.2).

use actix_http::{
    StatusCode,
    header::{self, HeaderName},
    ws::hash_key,
};
use actix_web_actors::ws::HandshakeError;
use bytes::Bytes;

use super::upgrade_head::{UpgradeHead, lists_token};

/// Why a request is not a valid WebSocket handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeRefusal {
    /// The request breaks a rule of the handshake.
    #[error("{0}")]
    Handshake(HandshakeError),
    /// The request is older than HTTP/1.1.
    #[error("WebSocket needs HTTP/1.1")]
    OldHttp,
}

impl HandshakeRefusal {
    /// The status of the response.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Handshake(HandshakeError::GetMethodRequired) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Handshake(HandshakeError::NoVersionHeader | HandshakeError::UnsupportedVersion) => {
                StatusCode::UPGRADE_REQUIRED
            }
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// Response headers that name what the server supports (RFC 6455, section 4.4; RFC 9110, section 15.5.6).
    pub const fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Handshake(HandshakeError::GetMethodRequired) => &[("allow", "GET")],
            Self::Handshake(HandshakeError::NoVersionHeader | HandshakeError::UnsupportedVersion) => {
                &[("sec-websocket-version", "13"), ("upgrade", "websocket")]
            }
            _ => &[],
        }
    }
}

/// Checks a request and returns the value of `Sec-WebSocket-Accept`.
///
/// # Errors
/// If the request breaks a rule of the handshake. The error names the first one.
pub fn accept_key(head: &UpgradeHead<'_>) -> Result<[u8; 28], HandshakeRefusal> {
    let broken = |error| Err(HandshakeRefusal::Handshake(error));
    if !head.is_get {
        return broken(HandshakeError::GetMethodRequired);
    }
    if !head.is_current {
        return Err(HandshakeRefusal::OldHttp);
    }
    if !has_token(head, &header::UPGRADE, "websocket") {
        return broken(HandshakeError::NoWebsocketUpgrade);
    }
    if !has_token(head, &header::CONNECTION, "upgrade") {
        return broken(HandshakeError::NoConnectionUpgrade);
    }
    match head.first(&header::SEC_WEBSOCKET_VERSION) {
        None => return broken(HandshakeError::NoVersionHeader),
        Some(version) if version.trim_ascii() != b"13" => {
            return broken(HandshakeError::UnsupportedVersion);
        }
        Some(_) => {}
    }
    match head.first(&header::SEC_WEBSOCKET_KEY).map(<[u8]>::trim_ascii) {
        Some(key) if is_key(key) => Ok(hash_key(key)),
        _ => broken(HandshakeError::BadWebsocketKey),
    }
}

/// Returns the response that completes the handshake.
pub fn switching_protocols(accept: &[u8; 28]) -> Bytes {
    [
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: "
            .as_slice(),
        accept,
        b"\r\n\r\n",
    ]
    .concat()
    .into()
}

/// Whether one of the fields called `name` lists `token`.
fn has_token(head: &UpgradeHead<'_>, name: &HeaderName, token: &str) -> bool {
    head.all(name).any(|list| lists_token(list, token))
}

/// Whether `key` is base64 of sixteen bytes.
fn is_key(key: &[u8]) -> bool {
    match key {
        [digits @ .., b'=', b'='] => {
            digits.len() == 22
                && digits
                    .iter()
                    .all(|digit| digit.is_ascii_alphanumeric() || b"+/".contains(digit))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use actix_http::test::TestRequest;

    use super::*;

    const WHOLE: [(&str, &str); 4] = [
        ("upgrade", "WebSocket"),
        ("connection", "keep-alive, UPGRADE"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn request(headers: &[(&'static str, &'static str)]) -> actix_http::Request {
        let mut request = TestRequest::default();
        for (name, value) in headers {
            request.append_header((*name, *value));
        }
        request.finish()
    }

    #[test]
    fn the_example_of_the_rfc_is_accepted() {
        let accept = accept_key(&UpgradeHead::of(request(&WHOLE).head())).unwrap();
        assert_eq!(&accept, b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(switching_protocols(&accept).ends_with(b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"));
    }

    #[test]
    fn upgrade_and_connection_may_be_lists_in_several_fields() {
        for (name, lists) in [
            ("upgrade", &["h2c, websocket"][..]),
            ("upgrade", &["WEBSOCKET ,h2c"]),
            ("upgrade", &["h2c", "a/1,, websocket"]),
            ("connection", &["keep-alive, Upgrade"]),
            ("connection", &["keep-alive", "x,\tUPGRADE"]),
        ] {
            let others = WHOLE.into_iter().filter(|pair| pair.0 != name);
            let headers: Vec<_> = others.chain(lists.iter().map(|list| (name, *list))).collect();
            let accepted = accept_key(&UpgradeHead::of(request(&headers).head()));
            assert!(accepted.is_ok(), "{name}: {lists:?}");
        }
    }

    #[test]
    fn each_broken_rule_has_its_own_error() {
        for (name, value, error) in [
            ("upgrade", "h2c", HandshakeError::NoWebsocketUpgrade),
            ("upgrade", "websocket/13", HandshakeError::NoWebsocketUpgrade),
            ("upgrade", "h2c websocket", HandshakeError::NoWebsocketUpgrade),
            ("connection", "close", HandshakeError::NoConnectionUpgrade),
            ("sec-websocket-version", "8", HandshakeError::UnsupportedVersion),
            ("sec-websocket-key", "c2hvcnQ=", HandshakeError::BadWebsocketKey),
            (
                "sec-websocket-key",
                "dGhlIHNhbXBsZSBub25j!Q==",
                HandshakeError::BadWebsocketKey,
            ),
        ] {
            let headers: Vec<_> = WHOLE
                .iter()
                .map(|pair| if pair.0 == name { (name, value) } else { *pair })
                .collect();
            assert_eq!(
                accept_key(&UpgradeHead::of(request(&headers).head())),
                Err(HandshakeRefusal::Handshake(error)),
                "{name}: {value}"
            );
        }
        assert_eq!(
            accept_key(&UpgradeHead::of(request(&WHOLE[..2]).head())),
            Err(HandshakeRefusal::Handshake(HandshakeError::NoVersionHeader))
        );
    }
}
