//! The connections to the server, for commands and for channels: connecting, checking, reconnecting.

mod message_filter;
mod open_connection;
pub(in crate::backends::redis) mod problem;
pub(in crate::backends::redis) mod redis_connection;
pub(in crate::backends::redis) mod server;
mod server_info;
mod stream;
pub(in crate::backends::redis) mod supervisor;

use std::time::Duration;

use crate::backoff::Backoff;

/// Creates the pauses between attempts to reconnect, which double from 50 ms to one second. Each is shortened by a random
/// part, so that the nodes do not reconnect at the same time.
pub(in crate::backends::redis) const fn reconnect_backoff() -> Backoff {
    Backoff::new(Duration::from_millis(50), Duration::from_secs(1), |ceiling| ceiling / 2)
}
