//! The node's listening sockets.

use std::net::{SocketAddr, TcpListener};

use actix_server::Server;
use actix_tls::accept::max_concurrent_tls_connect;

use super::{error::NodeError, worker::WorkerConfig};
use crate::{
    config::Settings,
    transport::{Certificate, ListenError, listen},
};

/// The sockets that accept connections.
pub(super) struct Listeners {
    pub(super) public: TcpListener,
    pub(super) admin: Option<TcpListener>,
    pub(super) echo: Option<TcpListener>,
}

impl Listeners {
    /// Binds all listeners, so that an address in use is detected before anything runs.
    pub(super) fn bind(settings: &Settings) -> Result<Self, ListenError> {
        let bind = |address: SocketAddr| listen(address, settings.server.backlog);
        Ok(Self {
            public: bind(settings.server.bind)?,
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
        server = match certificate.map(Certificate::server_config).transpose()? {
            Some(tls) => server.listen("public", self.public, move || public.public_tls(tls.clone()))?,
            None => server.listen("public", self.public, move || public.public())?,
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
