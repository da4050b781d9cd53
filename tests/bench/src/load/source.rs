//! Many sockets to one address: raises the descriptor limit and spreads clients over source addresses.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use mio::net::TcpStream;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};

/// Clients per source address: fewer than a node admits from one address, and fewer than there are ephemeral ports.
const PER_ADDRESS: usize = 500;

/// Descriptors reserved for everything that is not a client.
const OTHERS: u64 = 64;

/// Raises the descriptor limit to the hard limit. Fails if that is too low for `clients` sockets.
pub(super) fn raise_descriptor_limit(clients: u32) -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    let needed = u64::from(clients) + OTHERS;
    ensure!(
        needed <= hard,
        "{clients} clients need {needed} descriptors, and the hard limit is {hard}"
    );
    Ok(())
}

/// Starts to connect client `number`. `receive_buffer` overrides the system's `SO_RCVBUF`.
pub(super) fn connect(number: usize, address: SocketAddr, receive_buffer: Option<usize>) -> Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    if let Some(bytes) = receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    let host = u8::try_from(2 + number / PER_ADDRESS % 250)?;
    let source = SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 0));
    socket
        .bind(&source.into())
        .with_context(|| format!("binding to {source}"))?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(nix::libc::EINPROGRESS) => {
            return Err(error).with_context(|| format!("connecting client {number}"));
        }
        _ => {}
    }
    Ok(TcpStream::from_std(socket.into()))
}
