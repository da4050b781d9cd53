//! Many sockets to one address: descriptors for them, and more source addresses than one.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use mio::net::TcpStream;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};

/// How many clients share a source address: below what a node lets in from one, and below the ports there are.
const PER_ADDRESS: usize = 500;

/// Descriptors that are not clients.
const OTHERS: u64 = 64;

/// Raises the limit of descriptors for so many clients.
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

/// Begins to connect the client of this number. `receive_buffer` is `SO_RCVBUF` where it is not the system's.
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
