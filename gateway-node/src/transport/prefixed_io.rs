//! A stream with bytes put back in front of it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::write_through;

/// A stream that yields `front` before the bytes of `io`.
#[derive(Debug)]
pub struct PrefixedIo<T> {
    front: Bytes,
    io: T,
}

impl<T> PrefixedIo<T> {
    /// Puts `front` before the bytes of `io`.
    pub const fn new(front: Bytes, io: T) -> Self {
        Self { front, io }
    }

    /// The underlying stream.
    pub const fn get_ref(&self) -> &T {
        &self.io
    }

    /// Whether bytes that were put back are still unread.
    pub const fn has_front(&self) -> bool {
        !self.front.is_empty()
    }

    /// Puts `bytes` before everything that is still unread.
    pub fn put_back(&mut self, bytes: Bytes) {
        self.front = if self.front.is_empty() {
            bytes
        } else {
            [&*bytes, &*self.front].concat().into()
        };
    }

    /// Replaces the unread bytes that were put back.
    pub fn replace_front(&mut self, bytes: Bytes) {
        self.front = bytes;
    }

    /// Returns the unread bytes that were put back, and the underlying stream.
    pub fn into_parts(self) -> (Bytes, T) {
        (self.front, self.io)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for PrefixedIo<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.front.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buffer);
        }
        let count = self.front.len().min(buffer.remaining());
        buffer.put_slice(&self.front[..count]);
        self.front.advance(count);
        if self.front.is_empty() {
            self.front = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for PrefixedIo<T> {
    write_through!();

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn bytes_put_back_are_read_first() {
        let (mut peer, io) = duplex(64);
        let mut prefixed = PrefixedIo::new(Bytes::from_static(b"front"), io);
        peer.write_all(b" and the rest").await.unwrap();
        let mut bytes = [0; 18];
        for byte in &mut bytes {
            *byte = prefixed.read_u8().await.unwrap();
        }
        assert_eq!(&bytes, b"front and the rest");
        prefixed.write_all(b"back").await.unwrap();
        let mut back = [0; 4];
        peer.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"back");
        drop(peer);
        assert_eq!(prefixed.read(&mut bytes).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn into_parts_returns_the_unread_bytes() {
        let mut prefixed = PrefixedIo::new(Bytes::from_static(b"front"), tokio::io::empty());
        assert_eq!(prefixed.read_u8().await.unwrap(), b'f');
        prefixed.put_back(Bytes::from_static(b"new f"));
        assert_eq!(prefixed.read_u8().await.unwrap(), b'n');
        assert!(prefixed.has_front());
        assert_eq!(prefixed.into_parts().0, "ew front");
    }
}
