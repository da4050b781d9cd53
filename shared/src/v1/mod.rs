//! Gateway protocol, version 1: the payloads in both directions.
//!
//! Bytes become an [`Envelope`], an envelope becomes a command or a [`Rejection`], and [`payload`] writes the answers.
//! The node carries out the commands.

mod command;
mod envelope;
mod error_code;
mod guild_ids;
mod identify;
mod nonce;
mod opcode;
pub mod payload;
mod query;
mod receipt;
mod refusal;
mod rejection;
mod reply_failure;
mod report;
mod rights;
mod scope;
mod shard;

pub use command::{AfterIdentify, BeforeIdentify, CommandContext, Verdict, after_identify, before_identify};
pub use envelope::Envelope;
pub use error_code::ErrorCode;
pub use identify::{Identify, PresentedSecret};
pub use nonce::Nonce;
pub use opcode::{Opcode, Side};
pub use query::{Encoding, Query};
pub use receipt::{NoReceipt, Receipt};
pub use refusal::{Refusal, RefusalCode};
pub use rejection::Rejection;
pub use reply_failure::ReplyFailure;
pub use report::{Report, ReportedGuilds};
pub use rights::foreign_guilds;
pub use scope::{MOST_JOBS, Scope, is_position};
pub use shard::Shard;

/// The name of the event with which a client identifies.
pub const IDENTIFY: &str = "identify";
/// The name of the event with which a bot reports its guilds.
pub const SEND_SERVERS: &str = "send_servers";
/// The name of the event with which a website or service names the guilds that it watches.
pub const WATCH_GUILDS: &str = "watch_guilds";
/// The name of the event with which the session of a ticket presents a new one.
pub const RENEW: &str = "renew";
/// The name of the event that announces the end of a ticket's session.
pub const SESSION_EXPIRING: &str = "session_expiring";
/// The name of the event that ends catching up.
pub const CAUGHT_UP: &str = "caught_up";
/// The name of the event that takes its place if the log no longer has everything that the client missed.
pub const EVENTS_LOST: &str = "events_lost";
/// The name of the event with which a client answers a request, and of the one with which the requester gets the reply.
pub const REPLY: &str = "reply";
/// The name of the event with which a client answers a request with an error.
pub const REPLY_ERROR: &str = "reply_error";
/// The name of the event that tells a requester that it gets no reply.
pub const REPLY_FAILED: &str = "reply_failed";
/// The name of the event with which a worker acknowledges a job.
pub const ACK: &str = "ack";
/// The name of the event with which a worker gives a job back.
pub const NACK: &str = "nack";
/// The name of the answer to a packet that had its effect.
pub const EVENT_ACCEPTED: &str = "event_accepted";
/// The name of the answer to a packet that had no effect.
pub const EVENT_REFUSED: &str = "event_refused";
/// The names that the protocol gives to events of its own, besides those that end in
/// [`CONNECT_SUCCESS_SUFFIX`](payload::CONNECT_SUCCESS_SUFFIX). No application event may have one of them.
pub const RESERVED_EVENTS: [&str; 15] = [
    IDENTIFY,
    SEND_SERVERS,
    payload::GuildCount::NAME,
    EVENT_ACCEPTED,
    EVENT_REFUSED,
    WATCH_GUILDS,
    RENEW,
    SESSION_EXPIRING,
    CAUGHT_UP,
    EVENTS_LOST,
    REPLY,
    REPLY_ERROR,
    REPLY_FAILED,
    ACK,
    NACK,
];
