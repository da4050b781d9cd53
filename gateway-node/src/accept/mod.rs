//! The way from an accepted connection to a session: which clients may connect and which may open a WebSocket.
//!
//! The cheap checks come here, before a session exists: limits on connections and attempts, the path, the origin, the
//! handshake. A refused request gets an HTTP response.
//!
//! Read in this order: `limit` (counts every connection) → `peek` (reads its first bytes) → `upgrade` (opens a
//! WebSocket) or `http_connection` (anything else; `checked_io` refuses requests that a proxy could read differently).

mod address;
mod browsers;
mod checked_io;
mod http_connection;
mod limit;
mod peek;
mod request_scanner;
mod upgrade;

pub use self::{
    address::{client_address, is_proxy},
    browsers::{AllowedReaders, BrowserPolicy, Foreign},
    checked_io::CheckedIo,
    http_connection::{HttpConnection, HttpIo, HttpLimits, RequestGuard},
    limit::{Accept, ConnectionError, Reception},
    peek::{HEAD_TIMEOUT, Peek},
    upgrade::{Purpose, REFUSALS, Upgrader, serve},
};

/// The errors of clients of plain HTTP and of TLS, as the metrics name them.
pub const PROBLEMS: [&str; 5] = [
    "malformed request",
    "slow request head",
    "slow request",
    "slow tls handshake",
    "malformed tls handshake",
];
