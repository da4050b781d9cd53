//! WebSocket over a byte stream: handshake, frames, and the driver that reads, polls the session actor and writes.
//!
//! This module knows no gateway protocol. Messages go to the session as [`Inbound`] values, and the session puts
//! encoded frames into an [`Outbox`]. No code in this folder may name a session, registry or cluster type. No code
//! outside it may name a socket, a frame header or the context that session actors run on.
//!
//! Read in this order: `upgrade_head` and `handshake` (HTTP to WebSocket) → `frame` (bytes on the wire) → `decoder` (bytes to
//! messages) → `inbox` and `outbox` (the two queues of a connection) → `connection` (the driver).

mod batch;
mod connection;
mod decoder;
mod direct_writes;
mod echo;
mod expiring_frames;
mod frame;
mod frame_allowance;
mod handshake;
mod inbox;
mod listener;
mod outbox;
mod outbox_pool;
mod prefixed_io;
mod socket;
mod tls;
mod upgrade_head;
mod violation;
mod write_through;

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::metrics::WorkerMetrics;

pub(crate) use self::write_through::write_through;
pub use self::{
    batch::Batch,
    connection::Connection,
    decoder::{Decoded, Decoder, Message},
    direct_writes::count_direct_writes,
    echo::Echo,
    frame::{binary_frame, message_head, text_frame},
    handshake::{HandshakeRefusal, accept_key, switching_protocols},
    inbox::{Inbound, Inbox},
    listener::{ListenError, SocketFile, listen, listen_unix},
    outbox::{Outbox, Push},
    outbox_pool::OutboxPool,
    prefixed_io::PrefixedIo,
    socket::{Direct, Plain, Socket, UNIX_PEER},
    tls::{Certificate, TlsError, read_certificates, read_private_key},
    upgrade_head::{HeaderBuf, UpgradeHead, lists_token},
    violation::Violation,
};

/// The context that a session actor runs on.
///
/// The driver polls the context inside the connection's own task, between reading and writing. So a peer that does not
/// read cannot starve the actor, and the actor cannot outlive its socket.
pub type Context<A> = actix::Context<A>;

/// The limits of a connection.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The size of the largest message that a peer may send, in bytes, summed over its fragments.
    pub message_bytes: usize,
    /// The most bytes that may wait for a slow peer.
    pub outbox_bytes: usize,
    /// The limit on the bytes that wait in all outboxes of the node together.
    pub outboxes: OutboxPool,
    /// The longest time that a byte may wait for a slow peer.
    pub outbox_age: Duration,
    /// How many control frames and continuation frames a peer may send per minute. Beyond that the socket is read
    /// later. `None` for no limit.
    pub frames_per_minute: Option<u32>,
    /// How long a closed connection is still read from, so that its peer can read the close frame.
    pub linger: Duration,
    /// The counters of the worker.
    pub worker: Arc<WorkerMetrics>,
    /// A time before that of every connection.
    pub began: Instant,
}
