//! The socket's side of a session: handshake, frames, and the driver that reads, polls the session actor and writes.
//!
//! Nothing here knows a gateway protocol: what arrives leaves as an [`Inbound`], what is to be sent is a frame in an
//! [`Outbox`]. No session, registry or cluster type may be named in this folder, and nothing outside it may name
//! a socket, a frame header or the context that session actors run on.
//!
//! Read in this order: `head` and `handshake` (HTTP to WebSocket) → `frame` (bytes on the wire) → `decoder` (bytes to messages)
//! → `inbox` and `outbox` (the two queues of a connection) → `connection` (the driver).

mod batch;
mod connection;
mod decoder;
mod echo;
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

use std::time::Duration;

pub(crate) use self::write_through::write_through;
pub use self::{
    batch::Batch,
    connection::Connection,
    decoder::{Decoded, Decoder, Message},
    echo::Echo,
    frame::{binary_frame, message_head, text_frame},
    handshake::{HandshakeRefusal, accept_key, lists_token, switching_protocols},
    inbox::{Inbound, Inbox},
    listener::{ListenError, listen},
    outbox::{Outbox, Push},
    outbox_pool::OutboxPool,
    prefixed_io::PrefixedIo,
    socket::{Direct, Plain, Socket},
    tls::{Certificate, Lapse, TlsError, read_certificates, read_private_key},
    upgrade_head::{HeaderBuf, UpgradeHead},
    violation::Violation,
};

/// The context that a session actor runs on.
///
/// The driver polls it inside the connection's own task, between reading and writing, so an actor can neither be
/// starved by a peer that does not read nor outlive its socket.
pub type Context<A> = actix::Context<A>;

/// What one connection may cost.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The largest message a peer may send, in bytes, over all its fragments.
    pub message_bytes: usize,
    /// The most bytes that may wait for a peer that reads slowly.
    pub outbox_bytes: usize,
    /// What may wait in all outboxes of the node together.
    pub outboxes: OutboxPool,
    /// The longest that a byte may wait for a peer that reads slowly.
    pub outbox_age: Duration,
    /// How many control frames and continuations a peer may send in a minute; the rest is read later. None for any number.
    pub frames_per_minute: Option<u32>,
    /// How long a closed connection is read from, so that its peer can learn why it was closed.
    pub linger: Duration,
}
