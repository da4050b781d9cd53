//! What a registry tells its shards, and a shard its sessions.

use std::{sync::Arc, time::Duration};

use actix::Message;
use shared::session_id::SessionId;

use crate::cluster::Owner;

/// What a session is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub enum Order {
    /// Say why and close.
    Leave(Farewell),
    /// Do what an administrator wants to see a client cope with.
    Disturb(Disturbance),
}

/// What an administrator can do to one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disturbance {
    /// Close it with this code.
    Close(u16),
    /// Cut it without a word.
    Cut,
    /// Say that the session is invalid (op 9), and whether it may be resumed. Discord sessions alone know that.
    Invalidate {
        /// Whether it may be resumed.
        is_resumable: bool,
    },
    /// Forget the session: its connection lives on, and when that has ended it cannot be resumed.
    Forget,
    /// Answer no heartbeat for so long.
    Deafen(Duration),
}

/// Why the node ends a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    /// The node is about to stop; another one takes the client.
    Restarting,
    /// The session's key was revoked or has expired.
    KeyRevoked,
    /// An administrator ended it.
    Kicked,
    /// The node cannot deliver an event that it should have had.
    Missed,
    /// The session goes on over another connection.
    Superseded,
    /// The client should reconnect and resume.
    Reconnect,
}

/// What a shard is told to do.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) enum ShardOrder {
    /// Tell every session to leave, each at a random moment within `spread`.
    Farewell { farewell: Farewell, spread: Duration },
    /// Tell those to leave whose key is no longer good.
    RecheckKeys,
    /// Tell those to leave who miss events of this application, each at a random moment within `spread`.
    Missed {
        application: Arc<str>,
        spread: Duration,
        /// Or for Discord sessions alone.
        is_for_all: bool,
    },
    /// Tell earlier owners of this session to let go of it.
    Superseded(Owner),
}

/// Give one session an order, if it is here. Answers whether it is.
#[derive(Debug, Message)]
#[rtype(result = "bool")]
pub(super) struct Tell {
    pub(super) application: Arc<str>,
    pub(super) id: SessionId,
    pub(super) order: Order,
}
