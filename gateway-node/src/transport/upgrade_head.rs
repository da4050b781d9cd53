//! A borrowed view of a request head, reduced to what upgrades and access checks need.

use std::{mem::MaybeUninit, net::SocketAddr};

use actix_http::{
    Method, RequestHead, Version,
    header::{self, HeaderMap, HeaderName, HeaderValue},
    uri::Authority,
};
use httparse::{Request, Status};

/// The most header fields that [`UpgradeHead::read`] accepts. Browsers send about twenty.
const FIELDS: usize = 32;

/// The method, target and fields of a request, borrowed from its owner.
#[derive(Debug, Clone, Copy)]
pub struct UpgradeHead<'a> {
    /// Whether the method is GET.
    pub is_get: bool,
    /// Whether the request is HTTP/1.1 or later.
    pub is_current: bool,
    /// The authority of the target, if the target is an absolute URL.
    pub authority: Option<&'a str>,
    /// The path of the target.
    pub path: &'a str,
    /// The query of the target, without the question mark.
    pub query: Option<&'a str>,
    /// The address of the peer, if it has one.
    pub peer: Option<SocketAddr>,
    fields: HeaderFields<'a>,
}

#[derive(Debug, Clone, Copy)]
enum HeaderFields<'a> {
    Read(&'a [httparse::Header<'a>]),
    Known(&'a HeaderMap),
}

/// Scratch space for the fields that [`UpgradeHead::read`] parses.
#[derive(Debug)]
pub struct HeaderBuf<'a>([MaybeUninit<httparse::Header<'a>>; FIELDS]);

impl Default for HeaderBuf<'_> {
    fn default() -> Self {
        Self([const { MaybeUninit::uninit() }; FIELDS])
    }
}

/// Whether a comma-separated list contains `token`, ignoring case (RFC 9110, sections 5.6.1 and 7.8). A protocol with a
/// version, such as `websocket/13`, is a different token.
pub fn lists_token(list: &[u8], token: &str) -> bool {
    list.split(|byte| *byte == b',')
        .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

impl<'a> UpgradeHead<'a> {
    /// The head of a request that the HTTP server has parsed.
    pub fn of(request: &'a RequestHead) -> Self {
        Self {
            is_get: request.method == Method::GET,
            is_current: request.version >= Version::HTTP_11,
            authority: request.uri.authority().map(Authority::as_str),
            path: request.uri.path(),
            query: request.uri.query(),
            peer: request.peer_addr,
            fields: HeaderFields::Known(&request.headers),
        }
    }

    /// Parses a complete WebSocket request at the front of `bytes`. Returns its head and the length of the head in
    /// bytes.
    ///
    /// Accepts only a request that every HTTP server parses the same way. Returns `None` for anything that the HTTP
    /// server has to handle: an incomplete or malformed head, a body or an expectation, an unusual target, or no
    /// upgrade to WebSocket.
    pub fn read(bytes: &'a [u8], peer: Option<SocketAddr>, room: &'a mut HeaderBuf<'a>) -> Option<(Self, usize)> {
        let mut request = Request::new(&mut []);
        let Ok(Status::Complete(length)) = request.parse_with_uninit_headers(bytes, &mut room.0) else {
            return None;
        };
        if !ends_lines_with_crlf(&bytes[..length]) {
            return None;
        }
        let (Some("GET"), Some(1), Some(target)) = (request.method, request.version, request.path) else {
            return None;
        };
        let fields: &'a [httparse::Header<'a>] = request.headers;
        if !target.starts_with('/') || !target.bytes().all(is_common) || !asks_for_websocket(fields) {
            return None;
        }
        let (path, query) = target
            .split_once('?')
            .map_or((target, None), |(path, query)| (path, Some(query)));
        let head = Self {
            is_get: true,
            is_current: true,
            authority: None,
            path,
            query,
            peer,
            fields: HeaderFields::Read(fields),
        };
        Some((head, length))
    }

    /// The values of all fields called `name`, in order.
    pub fn all(&self, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
        let (read, known) = match self.fields {
            HeaderFields::Read(fields) => (fields, None),
            HeaderFields::Known(fields) => (&[][..], Some(fields.get_all(name))),
        };
        let is_named = move |field: &&httparse::Header<'_>| field.name.eq_ignore_ascii_case(name.as_str());
        let known = known.into_iter().flatten().map(HeaderValue::as_bytes);
        read.iter().filter(is_named).map(|field| field.value).chain(known)
    }

    /// The value of the first field called `name`.
    pub fn first(&self, name: &HeaderName) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// The values of all fields called `name` that are text: printable ASCII and tabs (RFC 9110, section 5.5). In
    /// order.
    pub fn texts(&self, name: &HeaderName) -> impl Iterator<Item = &'a str> {
        self.all(name).filter_map(text)
    }

    /// The value of the first field called `name`. `None` if that is not text.
    pub fn text(&self, name: &HeaderName) -> Option<&'a str> {
        self.first(name).and_then(text)
    }
}

fn text(value: &[u8]) -> Option<&str> {
    let is_text = value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
    is_text.then(|| str::from_utf8(value).ok()).flatten()
}

/// Whether every LF of a head follows a CR. The parser also accepts a bare LF as the end of a line.
fn ends_lines_with_crlf(head: &[u8]) -> bool {
    let is_whole = |pair: &[u8]| pair[1] != b'\n' || pair[0] == b'\r';
    head.first() != Some(&b'\n') && head.windows(2).all(is_whole)
}

/// Whether every HTTP server treats this byte of a target the same way.
const fn is_common(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'/' | b'?' | b'&' | b'=' | b'-' | b'_' | b'.' | b'~' | b'%' | b'+'
        )
}

/// Whether these fields ask for a WebSocket, have one `Host`, and announce neither a body nor an expectation.
fn asks_for_websocket(fields: &[httparse::Header<'_>]) -> bool {
    let (mut hosts, mut upgrades) = (0, false);
    for field in fields {
        let is = |name: &HeaderName| field.name.eq_ignore_ascii_case(name.as_str());
        match field.name.len() {
            4 if is(&header::HOST) => hosts += 1,
            6 if is(&header::EXPECT) => return false,
            7 if is(&header::UPGRADE) => upgrades |= lists_token(field.value, "websocket"),
            14 if is(&header::CONTENT_LENGTH) => return false,
            17 if is(&header::TRANSFER_ENCODING) => return false,
            _ => {}
        }
    }
    hosts == 1 && upgrades
}

#[cfg(test)]
mod tests {
    use actix_codec::Decoder as _;
    use actix_http::{
        Request, ServiceConfig,
        h1::{Codec, Message},
    };
    use bytes::BytesMut;

    use super::*;

    const UPGRADE: &str = "GET /?v=1&compression=zlib HTTP/1.1\r\nHost: gateway.example:80\r\nUpgrade: WebSocket\r\n\
                           Connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                           X-Forwarded-For: 1.2.3.4 \r\nx-forwarded-for:5.6.7.8\r\n\r\n";

    fn is_read(bytes: &[u8]) -> bool {
        UpgradeHead::read(bytes, None, &mut HeaderBuf::default()).is_some()
    }

    /// Parses a request as the HTTP server does.
    fn served(text: &str) -> Request {
        actix_rt::System::new().block_on(async {
            let mut codec = Codec::new(ServiceConfig::default());
            match codec.decode(&mut BytesMut::from(text)) {
                Ok(Some(Message::Item(request))) => request,
                other => panic!("{other:?}"),
            }
        })
    }

    #[test]
    fn a_head_matches_what_the_http_server_parses() {
        let behind = [UPGRADE.as_bytes(), b"\x81\x80behind"].concat();
        let mut room = HeaderBuf::default();
        let (read, length) = UpgradeHead::read(&behind, None, &mut room).unwrap();
        assert_eq!(length, UPGRADE.len());
        let request = served(UPGRADE);
        let known = UpgradeHead::of(request.head());
        let all = |head: &UpgradeHead<'_>| {
            (
                head.is_get,
                head.is_current,
                head.path.to_owned(),
                head.query.map(str::to_owned),
            )
        };
        assert_eq!(all(&read), all(&known));
        for (name, _) in &request.head().headers {
            assert_eq!(
                read.all(name).collect::<Vec<_>>(),
                known.all(name).collect::<Vec<_>>(),
                "{name}"
            );
        }
        let chain = HeaderName::from_static("x-forwarded-for");
        assert_eq!(read.texts(&chain).collect::<Vec<_>>(), ["1.2.3.4", "5.6.7.8"]);
    }

    #[test]
    fn an_incomplete_head_is_left_to_the_server() {
        for end in 0..UPGRADE.len() {
            assert!(!is_read(&UPGRADE.as_bytes()[..end]), "{end}");
        }
        assert!(is_read(UPGRADE.as_bytes()));
    }

    #[test]
    fn an_unusual_head_is_left_to_the_server() {
        let host = "Host: gateway.example:80\r\n";
        for (from, to) in [
            ("GET", "POST"),
            ("HTTP/1.1", "HTTP/1.0"),
            ("/?v=1", "http://gateway.example/?v=1"),
            ("/?v=1", "/?v=1#"),
            ("/?v=1", "/?v=\"1\""),
            (host, ""),
            (host, &format!("{host}{host}")),
            (host, &format!("{host}Content-Length: 0\r\n")),
            (host, &format!("{host}Transfer-Encoding: chunked\r\n")),
            (host, &format!("{host}Expect: 100-continue\r\n")),
            (host, &format!("{host}a b: c\r\n")),
            ("WebSocket\r\n", "h2c\r\n"),
            ("WebSocket\r\n", "websocket/13\r\n"),
            ("GET", "\nGET"),
            ("HTTP/1.1\r\n", "HTTP/1.1\n"),
            (host, "Host: gateway.example:80\n"),
            ("5.6.7.8\r\n\r\n", "5.6.7.8\r\n\n"),
            (host, &format!("{host}a: b\rc\r\n")),
            (host, &format!("{host}a: b\0\r\n")),
            (host, &format!("{host}a: b\r\n folded\r\n")),
            (host, &format!("{host}a : b\r\n")),
            (host, &format!("{host}: b\r\n")),
            (host, &format!(" {host}")),
            ("GET /", "GET  /"),
            ("Upgrade: WebSocket\r\n", ""),
            (host, &format!("{host}{}", "x: y\r\n".repeat(FIELDS))),
        ] {
            let other = UPGRADE.replacen(from, to, 1);
            assert_ne!(other, UPGRADE);
            assert!(!is_read(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn websocket_may_be_one_of_several_protocols() {
        for list in ["h2c, websocket", "websocket ,h2c", "h2c\r\nUpgrade: a/1,WebSocket"] {
            assert!(is_read(UPGRADE.replacen("WebSocket", list, 1).as_bytes()), "{list}");
        }
    }

    #[test]
    fn only_printable_bytes_are_text() {
        let odd = UPGRADE.replacen("gateway.example", "gäteway.example", 1);
        let mut room = HeaderBuf::default();
        let (head, _) = UpgradeHead::read(odd.as_bytes(), None, &mut room).unwrap();
        assert_eq!(head.text(&header::HOST), None);
        assert!(head.first(&header::HOST).is_some());
        assert_eq!(head.text(&header::UPGRADE), Some("WebSocket"));
    }
}
