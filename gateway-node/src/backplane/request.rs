//! Requests: events that one session gets and replies to.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use shared::{
    guild::GuildId,
    session_id::SessionId,
    user::UserId,
    v1::{Receipt, ReplyFailure},
};

/// What makes an event a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Names the delivery of the request.
    pub receipt: Receipt,
    /// The node that waits for the reply.
    pub reply_to: ReplyAddress,
    /// How long the requester waits for it.
    pub timeout: Duration,
}

/// The one receiver of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestTarget {
    /// This session.
    Session(SessionId),
    /// One of the chosen node's sessions that watch this guild, but none of a ticket.
    Watcher(GuildId),
    /// One of the chosen node's sessions of this user.
    User(UserId),
}

/// The outcome of a request: `d` of the reply, or why there is none.
pub type Reply = Result<Arc<str>, ReplyFailure>;

/// Where a node gets the replies to the requests of its clients. Different for each process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyAddress(u64);

impl ReplyAddress {
    /// Creates an address from its number.
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }
}

impl fmt::Display for ReplyAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The text is not an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an address for replies")]
pub struct NoAddress;

impl FromStr for ReplyAddress {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        u64::from_str_radix(text, 16).map(Self).map_err(|_| NoAddress)
    }
}
