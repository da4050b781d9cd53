//! Gateway protocol, version 1: the payloads in both directions.
//!
//! Bytes become an [`Envelope`], an envelope becomes a command or a [`Rejection`], and [`payload`] writes the answers.
//! The node carries out the commands.

mod command;
mod envelope;
mod error_code;
mod identify;
mod opcode;
pub mod payload;
mod query;
mod rejection;
mod report;
mod shard;

pub use command::{AfterIdentify, BeforeIdentify, after_identify, before_identify};
pub use envelope::Envelope;
pub use error_code::ErrorCode;
pub use identify::{Identify, PresentedSecret};
pub use opcode::{Opcode, Side};
pub use query::{Encoding, Query};
pub use rejection::Rejection;
pub use report::{MAX_GUILDS, Report, ReportedGuilds};
pub use shard::Shard;

/// The name of the event with which a client identifies.
pub const IDENTIFY: &str = "identify";
/// The name of the event with which a bot reports its guilds.
pub const SEND_SERVERS: &str = "send_servers";
