//! Ports for servers that cannot be asked which one they have taken.

use tokio::net::TcpListener;

use super::deadline::eventually;

/// Ports that no connection and no listener on port 0 is given by Linux, so that a server finds its own again after it
/// was away.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A port that nobody listens on.
pub(crate) async fn free_port() -> u16 {
    eventually("a free port", async || {
        let port = fastrand::u16(PORTS);
        TcpListener::bind(("127.0.0.1", port)).await.ok().map(|_| port)
    })
    .await
}
