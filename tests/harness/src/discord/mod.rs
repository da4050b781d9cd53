//! Protocol versions 6 to 10 from outside: a client of the wire, and bots on libraries that nobody changed.
//!
//! [`DiscordClient`] reads more strictly than any library does; [`Resumer`] keeps a session while nodes come and go; [`Bot`]
//! shows that a library is content. [`Guild`] is what they speak of. Nothing here knows how the node works.

mod bot;
mod client;
mod guild;
mod payload;
mod resumer;
mod unpacker;

pub use self::{
    bot::{Bot, BotOptions, Library},
    client::DiscordClient,
    guild::{TestGuild, private_message},
    payload::GatewayPayload,
    resumer::{Resumer, ResumerConnection, ResumerEvent},
};

/// Every intent there is.
pub const ALL_INTENTS: u64 = 53_608_447;
