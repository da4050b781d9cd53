//! The byte streams that a connection may run on.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    rc::{Rc, Weak},
    task::{Context, Poll},
};

use actix_tls::accept::rustls_0_23::TlsStream;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// A stream of bytes to a peer.
pub trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// The address of the peer, where there is one.
    fn peer(&self) -> Option<SocketAddr>;

    /// Makes the coming drop send a reset and forget what the peer never took.
    fn abort(&self);

    /// A way past the driver for what is shared by many; none where bytes are not written as they are.
    fn direct(&self) -> Option<Direct> {
        None
    }
}

/// TCP, which others than its driver may write to.
#[derive(Debug)]
pub struct Plain(Rc<RefCell<TcpStream>>);

/// Writes to a TCP socket for as long as its driver has it.
#[derive(Debug)]
pub struct Direct(Weak<RefCell<TcpStream>>);

impl Direct {
    /// Writes what the socket takes at once and says how many bytes that was. A broken socket takes none: its driver
    /// finds out why.
    pub(super) fn write(&self, bytes: &[u8]) -> usize {
        self.0
            .upgrade()
            .and_then(|stream| stream.borrow().try_write(bytes).ok())
            .unwrap_or(0)
    }
}

impl Plain {
    fn stream(&mut self) -> std::cell::RefMut<'_, TcpStream> {
        self.0.borrow_mut()
    }
}

impl From<TcpStream> for Plain {
    fn from(stream: TcpStream) -> Self {
        Self(Rc::new(RefCell::new(stream)))
    }
}

impl Socket for Plain {
    fn peer(&self) -> Option<SocketAddr> {
        self.0.borrow().peer_addr().ok()
    }

    fn abort(&self) {
        abort(&self.0.borrow());
    }

    fn direct(&self) -> Option<Direct> {
        Some(Direct(Rc::downgrade(&self.0)))
    }
}

impl Socket for TlsStream<TcpStream> {
    fn peer(&self) -> Option<SocketAddr> {
        self.get_ref().0.peer_addr().ok()
    }

    fn abort(&self) {
        abort(self.get_ref().0);
    }
}

fn abort(stream: &TcpStream) {
    // Where it fails the kernel times the connection out by itself.
    let _ = stream.set_zero_linger();
}

impl AsyncRead for Plain {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream()).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Plain {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream()).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream()).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream()).poll_shutdown(cx)
    }
}
