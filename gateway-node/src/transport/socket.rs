//! The byte streams that a connection may run on.

use actix_tls::accept::rustls_0_23::TlsStream;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

/// A stream of bytes to a peer.
pub trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// Makes the coming drop send a reset and forget what the peer never took.
    fn abort(&self);
}

impl Socket for TcpStream {
    fn abort(&self) {
        // Where it fails the kernel times the connection out by itself.
        let _ = self.set_zero_linger();
    }
}

impl Socket for TlsStream<TcpStream> {
    fn abort(&self) {
        self.get_ref().0.abort();
    }
}
