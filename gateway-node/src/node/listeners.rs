//! The node's listening sockets.

use std::{
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixListener,
};

use actix_server::Server;
use actix_tls::accept::max_concurrent_tls_connect;

use super::{error::NodeError, worker::WorkerConfig};
use crate::{
    config::{BindAddress, Settings, UnixMode},
    transport::{Certificate, ListenError, SocketFile, listen, listen_unix},
};

/// The public listener.
pub(super) enum PublicListener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// The sockets that accept connections.
pub(super) struct Listeners {
    pub(super) public: PublicListener,
    /// The address of the public listener.
    pub(super) address: BindAddress,
    /// The file of the public listener, if it is a Unix socket.
    pub(super) file: Option<SocketFile>,
    pub(super) admin: Option<TcpListener>,
    pub(super) echo: Option<TcpListener>,
}

impl Listeners {
    /// Binds all listeners, so that an address in use is detected before anything runs.
    pub(super) fn bind(settings: &Settings) -> Result<Self, ListenError> {
        let backlog = settings.server.backlog;
        let bind = |address: SocketAddr| listen(address, backlog);
        let (public, address, file) = match &settings.server.bind {
            BindAddress::Tcp(address) => {
                let listener = bind(*address)?;
                // Of port 0, the system has made another one.
                let address = listener.local_addr().unwrap_or(*address);
                (PublicListener::Tcp(listener), address.into(), None)
            }
            BindAddress::Unix(path) => {
                let mode = settings.server.unix_mode.map(UnixMode::bits);
                let (listener, file) = listen_unix(path, mode, backlog)?;
                (PublicListener::Unix(listener), settings.server.bind.clone(), Some(file))
            }
        };
        Ok(Self {
            public,
            address,
            file,
            admin: settings.admin.bind.map(bind).transpose()?,
            echo: settings.test.echo_bind.map(bind).transpose()?,
        })
    }

    /// Starts the workers. Each serves every listener.
    pub(super) fn serve(
        self,
        config: &WorkerConfig,
        workers: usize,
        connections: usize,
        certificate: Option<&Certificate>,
    ) -> Result<Server, NodeError> {
        let mut server = Server::build()
            .workers(workers)
            .disable_signals()
            // Connections beyond the limit are refused with a response. The server itself would leave them waiting, so
            // its own limit is set higher.
            .max_concurrent_connections(connections.saturating_add(1024));
        let public = config.clone();
        // TLS handshakes count as connections. With a limit of their own, a few slow handshakes would block the worker
        // and every listener with it.
        max_concurrent_tls_connect(usize::MAX);
        let tls = certificate.map(Certificate::server_config).transpose()?;
        server = match (self.public, tls) {
            (PublicListener::Tcp(listener), Some(tls)) => {
                server.listen("public", listener, move || public.public_tls(tls.clone()))?
            }
            (PublicListener::Tcp(listener), None) => server.listen("public", listener, move || public.public())?,
            (PublicListener::Unix(listener), _) => {
                listener.set_nonblocking(true)?;
                server.listen_uds("public", listener, move || public.public())?
            }
        };
        if let Some(listener) = self.admin {
            let admin = config.clone();
            server = server.listen("admin", listener, move || admin.admin())?;
        }
        if let Some(listener) = self.echo {
            let echo = config.clone();
            server = server.listen("echo", listener, move || echo.echo())?;
        }
        Ok(server.run())
    }
}
