//! What a session is doing, for an operator.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// What a session is doing. It has no secret: neither a key nor a ticket, but for the names of both.
///
/// Counts are of this connection. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionDetails {
    /// The address of its client.
    pub address: String,
    /// The version of its protocol: 1, or 6 to 10.
    pub version: u8,
    /// How its payloads are encoded: `json` or `etf`.
    pub encoding: Cow<'static, str>,
    /// How they are compressed: `zlib`, `zlib-stream` or `zstd-stream`.
    pub compression: Option<Cow<'static, str>>,
    /// What its client calls itself in `User-Agent`.
    pub user_agent: Option<String>,
    /// The library that a Discord client names in the properties of its Identify.
    pub library: Option<String>,
    /// The user of its ticket.
    pub user: Option<String>,
    /// When the connection was opened.
    pub connected_at: u64,
    /// When the last heartbeat came; `None` before the first.
    pub heartbeat_at: Option<u64>,
    /// The id and the count of its shard.
    pub shard: Option<[u32; 2]>,
    /// The number of guilds that it reports or watches, or that its shard has.
    pub guilds: u64,
    /// What it receives: the intents of a Discord session, and what a v1 session asked for in its scope.
    pub subscriptions: Vec<Cow<'static, str>>,
    /// The messages that came.
    pub messages_in: u64,
    /// The bytes of these messages.
    pub bytes_in: u64,
    /// The events and requests among them that it published.
    pub events_in: u64,
    /// The frames that were sent or are queued, with answers, pings and what it caught up with.
    pub frames_out: u64,
    /// The bytes of these frames.
    pub bytes_out: u64,
    /// The events among them that were delivered as they came.
    pub events_out: u64,
    /// The bytes that are queued because the client does not read them.
    pub waiting_bytes: u64,
    /// How often it was resumed.
    pub resumes: u64,
}
