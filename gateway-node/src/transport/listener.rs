//! Opens listening sockets.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use socket2::{Domain, Protocol, Socket, Type};

/// The error for an address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct ListenError {
    /// The address.
    pub address: SocketAddr,
    /// The error of the system.
    pub source: io::Error,
}

/// Listens on `address`, with a queue of `backlog` connections that are not accepted yet.
///
/// # Errors
/// If the address is in use, does not belong to this machine, or may not be bound.
pub fn listen(address: SocketAddr, backlog: u32) -> Result<TcpListener, ListenError> {
    let open = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // Lets a restarted node bind its address at once. An address on which another process listens is still refused.
        socket.set_reuse_address(true)?;
        // Accepted connections inherit this option.
        socket.set_tcp_nodelay(true)?;
        socket.bind(&address.into())?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        Ok(TcpListener::from(socket))
    };
    open().map_err(|source| ListenError { address, source })
}
