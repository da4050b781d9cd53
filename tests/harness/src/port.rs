//! Ports for servers that cannot report which port they bound.

use tokio::net::TcpListener;

use super::deadline::eventually;

/// Ports outside Linux's ephemeral range: no connection and no listener on port 0 gets one, so a restarted server finds
/// its port free.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Returns a port on which nothing listens.
pub(crate) async fn free_port() -> u16 {
    eventually("a free port", async || {
        let port = fastrand::u16(PORTS);
        TcpListener::bind(("127.0.0.1", port)).await.ok().map(|_| port)
    })
    .await
}
