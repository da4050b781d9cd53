//! The byte streams that a connection can run on.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use actix_tls::accept::rustls_0_23::TlsStream;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};

/// The address that stands for the peer of a connection over a Unix socket. No packet comes from it.
pub const UNIX_PEER: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// A stream of bytes to a peer.
pub trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// The address of the peer, if it has one.
    fn peer(&self) -> Option<SocketAddr>;

    /// Makes the coming drop reset the connection and discard unsent bytes.
    fn abort(&self);

    /// Returns a handle that writes to the socket without the driver, for frames that many peers share. `None` if bytes
    /// are not sent as they are, as with TLS.
    fn direct(&self) -> Option<Direct> {
        None
    }
}

/// A socket without encryption that can be written to without its driver, through [`Direct`].
#[derive(Debug)]
pub struct Plain(Rc<RefCell<PlainStream>>);

/// A handle that writes to a socket while its driver holds it. The driver takes it from the outbox when it ends.
#[derive(Debug)]
pub struct Direct(Rc<RefCell<PlainStream>>);

#[derive(Debug)]
enum PlainStream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Calls a method of whichever stream it is.
macro_rules! either {
    ($stream:expr, $name:ident => $call:expr) => {
        match $stream {
            PlainStream::Tcp($name) => $call,
            PlainStream::Unix($name) => $call,
        }
    };
}

impl Direct {
    /// Writes what the socket accepts without blocking and returns how many bytes that was. For a broken socket it
    /// returns 0; the driver will meet the error.
    pub(super) fn write(&self, bytes: &[u8]) -> usize {
        either!(&*self.0.borrow(), stream => stream.try_write(bytes)).unwrap_or(0)
    }
}

impl Plain {
    fn stream(&mut self) -> std::cell::RefMut<'_, PlainStream> {
        self.0.borrow_mut()
    }
}

impl From<TcpStream> for Plain {
    fn from(stream: TcpStream) -> Self {
        Self(Rc::new(RefCell::new(PlainStream::Tcp(stream))))
    }
}

impl From<UnixStream> for Plain {
    fn from(stream: UnixStream) -> Self {
        Self(Rc::new(RefCell::new(PlainStream::Unix(stream))))
    }
}

impl Socket for Plain {
    fn peer(&self) -> Option<SocketAddr> {
        either!(&*self.0.borrow(), stream => stream.peer())
    }

    fn abort(&self) {
        either!(&*self.0.borrow(), stream => stream.abort());
    }

    fn direct(&self) -> Option<Direct> {
        Some(Direct(Rc::clone(&self.0)))
    }
}

impl Socket for TlsStream<TcpStream> {
    fn peer(&self) -> Option<SocketAddr> {
        self.get_ref().0.peer()
    }

    fn abort(&self) {
        self.get_ref().0.abort();
    }
}

impl Socket for TcpStream {
    fn peer(&self) -> Option<SocketAddr> {
        self.peer_addr().ok()
    }

    fn abort(&self) {
        // If this fails, the kernel times the connection out.
        let _ = self.set_zero_linger();
    }
}

impl Socket for UnixStream {
    fn peer(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(UNIX_PEER, 0))
    }

    /// Nothing to do: a Unix socket that is closed is gone at once.
    fn abort(&self) {}
}

impl AsyncRead for Plain {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(&mut *self.stream(), stream => Pin::new(stream).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Plain {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(&mut *self.stream(), stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(&mut *self.stream(), stream => Pin::new(stream).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(&mut *self.stream(), stream => Pin::new(stream).poll_shutdown(cx))
    }
}
