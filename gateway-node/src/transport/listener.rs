//! Sockets that connections are accepted from.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use socket2::{Domain, Protocol, Socket, Type};

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct ListenError {
    /// The address.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

/// Listens on `address` with room for `backlog` connections that are not accepted yet.
///
/// # Errors
/// When the address is in use, not ours, or may not be bound.
pub fn listen(address: SocketAddr, backlog: u32) -> Result<TcpListener, ListenError> {
    let open = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // A node that restarts takes its address back at once; one that another process listens on stays refused.
        socket.set_reuse_address(true)?;
        // Whatever is accepted inherits it.
        socket.set_tcp_nodelay(true)?;
        socket.bind(&address.into())?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        Ok(TcpListener::from(socket))
    };
    open().map_err(|source| ListenError { address, source })
}
