//! The Discord protocol, versions 6 to 10: its payloads, and which sessions receive an event.
//!
//! Read in this order: `query` (the URL) → `opcode`, `command` (client payloads) → `intents`, `gate`, `header`,
//! `filter` (who receives an event) → `guild_change` (how an event changes a guild) → `data` (what `d` may be) →
//! `content` (message content that is withheld) → `payload`, `dispatch` (gateway payloads) → `close` (how a connection
//! ends).

pub mod close;
mod command;
mod content;
mod data;
mod dispatch;
mod filter;
mod guild_change;
mod header;
mod identify;
mod intent_table;
mod intents;
mod opcode;
pub mod payload;
mod presence;
mod query;
mod request;
mod shard;
mod version;
mod voice;

pub use self::{
    command::{Command, opcode_of},
    content::without_content,
    data::{DataError, check_data},
    dispatch::{Dispatch, Number},
    filter::{Content, Filter},
    guild_change::GuildChange,
    header::{Header, Target, TargetError},
    identify::{Identify, Resume},
    intents::Intents,
    opcode::Opcode,
    presence::{Presence, Status},
    query::{Encoding, Query, Transport},
    request::{RequestMembers, UserIds},
    shard::Shard,
    version::Version,
    voice::VoiceState,
};

use serde_json::Value;

/// Parses a snowflake: a string of digits, or an integer.
pub fn snowflake(value: &Value) -> Option<u64> {
    match value {
        Value::String(digits) => crate::guild::GuildId::from_digits(digits).map(crate::guild::GuildId::get),
        Value::Number(number) => number.as_u64(),
        _ => None,
    }
}
