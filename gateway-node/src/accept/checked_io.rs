//! A stream that lets through only requests that every HTTP implementation parses the same way.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::request_scanner::{Found, RequestScanner};
use crate::transport::{PrefixedIo, write_through};

/// Replaces a malformed byte. No part of a request may contain these bytes, so the HTTP server answers 400 and closes.
const REFUSED: &[u8] = b"\r\0";
/// The header field by which the HTTP server recognises an upgrade.
const UPGRADE: &[u8] = b"upgrade: websocket\r\n";
/// The most bytes discarded in one read.
const DISCARDED_BYTES: usize = 16 * 1024;

/// A stream that an HTTP server reads requests from. It passes on what the peer sends, up to the first byte that a
/// strict parser refuses.
#[derive(Debug)]
pub struct CheckedIo<T> {
    io: PrefixedIo<T>,
    scanner: RequestScanner,
}

impl<T> CheckedIo<T> {
    /// A stream whose next byte begins a request.
    pub fn new(io: PrefixedIo<T>) -> Self {
        Self {
            io,
            scanner: RequestScanner::default(),
        }
    }

    /// The underlying stream.
    pub(super) const fn get_ref(&self) -> &T {
        self.io.get_ref()
    }

    pub(super) fn into_inner(self) -> PrefixedIo<T> {
        self.io
    }
}

impl<T: AsyncRead + Unpin> CheckedIo<T> {
    /// Reads and discards bytes. Ready at the end of the stream.
    pub(super) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut scratch = [0; DISCARDED_BYTES];
        let mut buffer = ReadBuf::new(&mut scratch);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
        if buffer.filled().is_empty() {
            return Poll::Ready(Ok(()));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for CheckedIo<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let start = buffer.filled().len();
        loop {
            if self.scanner.is_refused() && !self.io.has_front() {
                return self.poll_discard(cx);
            }
            ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
            let Some((at, found)) = self.scanner.scan(&buffer.filled()[start..]) else {
                return Poll::Ready(Ok(()));
            };
            let rest = &buffer.filled()[start + at..];
            match found {
                Found::Malformed => self.io.replace_front(Bytes::from_static(REFUSED)),
                Found::ListedWebSocket => self.io.put_back([UPGRADE, rest].concat().into()),
            }
            buffer.set_filled(start + at);
            // Returning without a byte would signal the end of the stream.
            if at > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for CheckedIo<T> {
    write_through!();

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }
}

#[cfg(test)]
mod tests {
    use actix_codec::Decoder as _;
    use actix_http::{ServiceConfig, h1::Codec};
    use bytes::BytesMut;
    use tokio::io::AsyncReadExt as _;

    use super::*;

    /// Returns what a server reads when `bytes` arrive, `size` bytes at a time.
    async fn read(bytes: &[u8], size: usize) -> Vec<u8> {
        let mut io = CheckedIo::new(PrefixedIo::new(Bytes::copy_from_slice(bytes), tokio::io::empty()));
        let mut part = vec![0; size];
        let mut all = Vec::new();
        loop {
            let count = io.read(&mut part).await.unwrap();
            if count == 0 {
                return all;
            }
            all.extend_from_slice(&part[..count]);
        }
    }

    #[tokio::test]
    async fn requests_and_their_bodies_pass_unchanged() {
        let bytes = b"\r\nPOST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n\n\r\n\
                      GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n\n\0\r\n";
        for size in [1, 2, 5, 1000] {
            assert_eq!(read(bytes, size).await, bytes, "{size}");
        }
    }

    #[tokio::test]
    async fn websocket_in_a_list_of_protocols_gets_its_own_upgrade_field() {
        let head = "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: h2c, websocket\r\n";
        let bytes = [head, "\r\n\n\n"].concat();
        let expected = [head, "upgrade: websocket\r\n\r\n\n\n"].concat();
        for size in [1, 2, 5, 1000] {
            assert_eq!(read(bytes.as_bytes(), size).await, expected.as_bytes(), "{size}");
        }
    }

    #[test]
    fn a_malformed_request_is_refused_and_ends_the_stream() {
        actix_rt::System::new().block_on(async {
            let chunked = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
            for before in [
                "",
                "GET",
                "GET /",
                "GET / HTTP/1.1",
                "GET / HTTP/1.1\r\nHost",
                "GET / HTTP/1.1\r\nHost: h",
                "GET / HTTP/1.1\r\nHost: h\r\n",
                "GET / HTTP/1.1\r\nHost: h\r\nx:",
                "\r\n",
                &[chunked, "1"].concat(),
                &[chunked, "1;a=b"].concat(),
                &[chunked, "0\r\n"].concat(),
                &[chunked, "0\r\nx: y"].concat(),
                &[chunked, "0\r\nx: y\r\n"].concat(),
            ] {
                let bytes = [before, "\nGET /hidden HTTP/1.1\r\nHost: h\r\n\r\n"].concat();
                for size in [1, 1000] {
                    let mut passed = BytesMut::from(&*read(bytes.as_bytes(), size).await);
                    assert_eq!(passed, [before.as_bytes(), REFUSED].concat());
                    let mut codec = Codec::new(ServiceConfig::default());
                    let ended = loop {
                        match codec.decode(&mut passed) {
                            Ok(Some(_)) => {}
                            ended => break ended,
                        }
                    };
                    assert!(ended.is_err(), "{before:?}");
                }
            }
        });
    }
}
