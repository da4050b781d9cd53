//! Streams of bytes to the server: TCP, TLS over TCP, or a Unix socket.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::future::select_ok;
use redis::ConnectionAddr;
use rustls::{ClientConfig, pki_types::ServerName};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream, lookup_host},
};
use tokio_rustls::TlsConnector;

/// A connected stream of any kind.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects to an address. `tls` is called if the address asks for TLS.
///
/// # Errors
/// When the server cannot be reached, or when it has a certificate that `tls` does not trust.
pub(super) async fn connect(
    address: &ConnectionAddr,
    tls: impl FnOnce() -> io::Result<Arc<ClientConfig>>,
) -> io::Result<Box<dyn Stream>> {
    match address {
        ConnectionAddr::Tcp(host, port) => Ok(Box::new(connect_tcp(host, *port).await?)),
        ConnectionAddr::TcpTls { insecure: true, .. } => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "its certificate is always checked: use redis.ca instead of #insecure",
        )),
        ConnectionAddr::TcpTls { host, port, .. } => {
            let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
            let connector = TlsConnector::from(tls()?);
            let tcp = connect_tcp(host, *port).await?;
            Ok(Box::new(connector.connect(name, tcp).await?))
        }
        ConnectionAddr::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Connects to that address of a host which answers first.
async fn connect_tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut attempts: Vec<_> = lookup_host((host, port))
        .await?
        .map(|address: SocketAddr| Box::pin(TcpStream::connect(address)))
        .collect();
    let stream = match attempts.pop() {
        None => return Err(io::Error::other(format!("{host} has no address"))),
        Some(only) if attempts.is_empty() => only.await?,
        Some(last) => {
            attempts.push(last);
            select_ok(attempts).await?.0
        }
    };
    stream.set_nodelay(true)?;
    detect_dead_peer(&stream)?;
    Ok(stream)
}

/// Sets TCP keepalive and a timeout for unacknowledged data, so that a dead peer is detected.
fn detect_dead_peer(stream: &TcpStream) -> io::Result<()> {
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(5))
        .with_interval(Duration::from_secs(2))
        .with_retries(3);
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(Duration::from_secs(10)))?;
    Ok(())
}
