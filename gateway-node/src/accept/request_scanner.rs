//! Finds where the requests on a connection begin and end, as a strict parser of RFC 9112 would.
//!
//! The HTTP server accepts a bare LF as the end of a line. A proxy in front of it may not: the two then find different
//! requests in the same bytes, and a client can hide one request in another (request smuggling). The scanner follows
//! the bytes of a connection and finds the first one that a strict parser refuses. All other rules are left to the
//! server: whatever the server refuses ends the connection, so the scanner need not track it.

use std::mem;

use crate::transport::lists_token;

/// What the scanner has found just before a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// The byte makes the request malformed. What follows is not scanned.
    Malformed,
    /// The end of a head that lists `websocket` among other protocols. The HTTP server recognises an upgrade only by
    /// a field that names nothing else.
    ListedWebSocket,
}

/// Follows the requests of one connection.
#[derive(Debug, Default)]
pub(super) struct RequestScanner {
    place: ScanState,
    /// Whether the last byte was a CR that has to be followed by an LF.
    after_cr: bool,
    /// The current line of a head, as far as it has arrived.
    line: Vec<u8>,
    head: HeadFields,
}

/// What the next byte belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum ScanState {
    #[default]
    UpgradeHead,
    /// A body of known length: this many bytes are left.
    Bytes(u64),
    /// The line before a chunk: the size read so far, and whether its digits have ended.
    ChunkSize { size: u64, is_over: bool },
    /// A chunk and the CRLF after it: this many bytes.
    Chunk(u64),
    /// The lines after the last chunk.
    Trailers { is_empty: bool },
    /// A WebSocket, a tunnel, or a request that the server refuses.
    Opaque,
    /// Bytes after a refused one.
    Refused,
}

/// The parts of a head that decide where its request ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct HeadFields {
    has_request_line: bool,
    is_connect: bool,
    is_chunked: bool,
    length: Option<u64>,
    websocket: WebSocket,
}

/// How a head asks for a WebSocket. Of several `Upgrade` fields, the greatest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum WebSocket {
    #[default]
    Absent,
    /// Among other protocols.
    Listed,
    /// As the only protocol of a field.
    Alone,
}

impl RequestScanner {
    /// Scans the next bytes of the connection. Returns what was found and the index of the byte after it, where
    /// scanning continues.
    pub(super) fn scan(&mut self, bytes: &[u8]) -> Option<(usize, Found)> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            let left = bytes.len() - at;
            match &mut self.place {
                ScanState::Opaque | ScanState::Refused => return None,
                ScanState::Bytes(missing) | ScanState::Chunk(missing) => {
                    let taken = usize::try_from(*missing).map_or(left, |missing| missing.min(left));
                    *missing -= taken as u64;
                    at += taken;
                    if *missing == 0 {
                        self.place = match self.place {
                            ScanState::Chunk(_) => ScanState::CHUNK_SIZE,
                            _ => ScanState::UpgradeHead,
                        };
                    }
                    continue;
                }
                ScanState::UpgradeHead | ScanState::ChunkSize { .. } | ScanState::Trailers { .. } => {}
            }
            if self.head.websocket == WebSocket::Listed && self.is_blank_line(*byte) {
                return Some((at, Found::ListedWebSocket));
            }
            if !self.take(*byte) {
                self.place = ScanState::Refused;
                self.line = Vec::new();
                return Some((at, Found::Malformed));
            }
            at += 1;
        }
        None
    }

    /// Whether a malformed byte was found.
    pub(super) const fn is_refused(&self) -> bool {
        matches!(self.place, ScanState::Refused)
    }

    /// Whether `byte` begins the line that ends a head.
    fn is_blank_line(&self, byte: u8) -> bool {
        self.place == ScanState::UpgradeHead && byte == b'\r' && self.line.is_empty() && !self.after_cr
    }

    /// Consumes a byte of a line. Returns `false` if the byte is not allowed there.
    fn take(&mut self, byte: u8) -> bool {
        if mem::take(&mut self.after_cr) {
            if byte == b'\n' {
                self.end_line();
            }
            return byte == b'\n';
        }
        match (byte, &mut self.place) {
            (b'\n', _) => return false,
            (b'\r', _) => self.after_cr = true,
            (_, ScanState::ChunkSize { size, is_over }) if !*is_over => match char::from(byte).to_digit(16) {
                Some(digit) => match size.checked_mul(16) {
                    Some(sixteenfold) => *size = sixteenfold + u64::from(digit),
                    None => self.place = ScanState::Opaque,
                },
                None => *is_over = true,
            },
            (_, ScanState::Trailers { is_empty }) => *is_empty = false,
            (_, ScanState::UpgradeHead) => self.line.push(byte),
            _ => {}
        }
        true
    }

    fn end_line(&mut self) {
        match self.place {
            ScanState::UpgradeHead if !self.line.is_empty() => {
                self.head.read_line(&self.line);
                self.line.clear();
            }
            // Blank lines before a request are ignored (RFC 9112, section 2.2).
            ScanState::UpgradeHead if self.head.has_request_line => {
                self.place = mem::take(&mut self.head).body();
                self.line = Vec::new();
            }
            ScanState::ChunkSize { size: 0, .. } | ScanState::Trailers { is_empty: false } => {
                self.place = ScanState::Trailers { is_empty: true };
            }
            ScanState::ChunkSize { size, .. } => {
                self.place = size.checked_add(2).map_or(ScanState::Opaque, ScanState::Chunk);
            }
            ScanState::Trailers { is_empty: true } => self.place = ScanState::UpgradeHead,
            _ => {}
        }
    }
}

impl ScanState {
    const CHUNK_SIZE: Self = Self::ChunkSize {
        size: 0,
        is_over: false,
    };
}

impl HeadFields {
    fn read_line(&mut self, line: &[u8]) {
        if !self.has_request_line {
            self.has_request_line = true;
            self.is_connect = line.starts_with(b"CONNECT ");
            return;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.is_chunked = true;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            self.length = str::from_utf8(value).ok().and_then(|digits| digits.parse().ok());
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            let websocket = if value.eq_ignore_ascii_case(b"websocket") {
                WebSocket::Alone
            } else if lists_token(value, "websocket") {
                WebSocket::Listed
            } else {
                WebSocket::Absent
            };
            self.websocket = self.websocket.max(websocket);
        }
    }

    /// What follows the head. The rules are in the HTTP server's order.
    fn body(self) -> ScanState {
        match self.length {
            _ if self.is_chunked => ScanState::CHUNK_SIZE,
            _ if self.is_connect || self.websocket == WebSocket::Alone => ScanState::Opaque,
            Some(length) if length > 0 => ScanState::Bytes(length),
            _ => ScanState::UpgradeHead,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

    /// Scans `bytes` at once and in parts, and checks that both find the same.
    fn scan(bytes: &[u8]) -> Option<(usize, Found)> {
        let found = RequestScanner::default().scan(bytes);
        for size in [1, 2, 3, 7] {
            let mut scanner = RequestScanner::default();
            let mut begin = 0;
            let in_parts = bytes.chunks(size).find_map(|part| {
                let found = scanner.scan(part);
                begin += part.len();
                found.map(|(at, what)| (begin - part.len() + at, what))
            });
            assert_eq!(in_parts, found, "in parts of {size}");
        }
        found
    }

    fn malformed(before: &str, behind: &str) {
        let bytes = [before, behind].concat();
        assert_eq!(
            scan(bytes.as_bytes()),
            Some((before.len(), Found::Malformed)),
            "{bytes:?}"
        );
    }

    #[test]
    fn every_line_of_a_head_ends_with_crlf() {
        malformed("", "\nGET / HTTP/1.1\r\nHost: h\r\n\r\n");
        malformed("GET / HTTP/1.1", "\nHost: h\r\n\r\n");
        malformed("GET / HTTP/1.1\r\nHost: h", "\n\r\n");
        malformed("GET / HTTP/1.1\r\nHost: h\r\n", "\n");
        malformed("GET / HTTP/1.1\r\nHost: h\r\n\r", "GET");
        malformed("GET / HTTP/1.1\r\nHost: h\r", "x: y\r\n\r\n");
        malformed("GET / HTTP/1.1\r\nHost: h\r", "\r\n\r\n");
        assert_eq!(scan(["\r\n\r\n", GET, "\r\n", GET].concat().as_bytes()), None);
    }

    #[test]
    fn every_head_of_a_connection_is_scanned() {
        let bad = "GET /2 HTTP/1.1\nHost: h\r\n\r\n";
        let line = "GET /2 HTTP/1.1";
        for first in [
            GET.to_owned(),
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "POST / HTTP/1.1\r\nHost: h\r\ncontent-length:  5 \r\n\r\na\nb\rc".to_owned(),
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
             A;x=\"y\"\r\n\n\r0123\n\n67\r\n1 \r\n\n\r\n000\r\nx: y\r\nz: w\r\n\r\n"
                .to_owned(),
        ] {
            malformed(&[&first, line].concat(), &bad[line.len()..]);
            malformed(&[&first, &first, line].concat(), &bad[line.len()..]);
        }
    }

    #[test]
    fn the_lines_of_a_chunked_body_end_with_crlf() {
        let head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
        malformed(&[head, "1"].concat(), "\na\r\n0\r\n\r\n");
        malformed(&[head, "1;x"].concat(), "\na\r\n0\r\n\r\n");
        malformed(&[head, "0\r\n"].concat(), "\nGET / HTTP/1.1\r\n\r\n");
        malformed(&[head, "0\r\nx: y"].concat(), "\n\r\n");
    }

    #[test]
    fn the_bytes_of_a_websocket_or_a_tunnel_are_not_scanned() {
        for head in [
            "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: WebSocket\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\nupgrade: websocket \r\nUpgrade: websocket, h2c\r\n\r\n",
            "CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n",
        ] {
            assert_eq!(scan([head, "\n\n\r"].concat().as_bytes()), None, "{head}");
        }
        // An upgrade to a protocol that is not supported is an ordinary request.
        let other = "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: h2c, websocket/13\r\n\r\n";
        malformed(other, "\n");
    }

    #[test]
    fn websocket_in_a_list_of_protocols_is_found_at_the_end_of_the_head() {
        for list in [
            "h2c, websocket",
            "websocket,h2c",
            "a/1 ,\tWebSocket , b",
            "h2c\r\nUpgrade: a, websocket",
        ] {
            let head = format!("GET / HTTP/1.1\r\nHost: h\r\nUpgrade: {list}\r\nX: y\r\n");
            let bytes = [&head, "\r\n\n"].concat();
            assert_eq!(
                scan(bytes.as_bytes()),
                Some((head.len(), Found::ListedWebSocket)),
                "{list}"
            );
        }
    }

    proptest! {
        #[test]
        fn results_do_not_depend_on_how_the_stream_is_cut(parts in proptest::collection::vec(
            prop_oneof![
                Just("\r\n"), Just("\n"), Just("\r"), Just("POST / HTTP/1.1\r\n"), Just("Content-Length: 3\r\n"),
                Just("Transfer-Encoding: chunked\r\n"), Just("Upgrade: a, websocket\r\n"), Just("5\r\n"), Just("abc"),
                Just("0\r\n\r\n"),
            ],
            0..20,
        )) {
            scan(parts.concat().as_bytes());
        }
    }
}
