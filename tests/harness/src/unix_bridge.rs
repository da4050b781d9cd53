//! A TCP port in front of a Unix socket, for clients that only know addresses and ports.

use std::{net::SocketAddr, path::PathBuf};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, UnixStream},
    task::AbortHandle,
};

/// A bridge, which ends when it is dropped. Connections that it has made stay.
#[derive(Debug)]
pub(crate) struct UnixBridge {
    address: SocketAddr,
    accepting: AbortHandle,
}

impl UnixBridge {
    /// Listens on a port of its own. Each connection to it makes one to the socket at `path`.
    pub(crate) async fn start(path: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("the address of a listener");
        let accepting = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let path = path.clone();
                tokio::spawn(async move {
                    // Dropping the client closes its connection, as the node would.
                    if let Ok(mut node) = UnixStream::connect(path).await {
                        let _ = copy_bidirectional(&mut client, &mut node).await;
                    }
                });
            }
        });
        Self {
            address,
            accepting: accepting.abort_handle(),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for UnixBridge {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
