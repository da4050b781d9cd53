//! Protocol versions 6 to 10 from outside: a protocol client, and bots on unmodified libraries.
//!
//! [`DiscordClient`] parses more strictly than any library. [`Resumer`] keeps a session while nodes come and go.
//! [`Bot`] shows that a library works with the gateway. [`TestGuild`] makes the guilds and their events. Nothing here
//! knows how the node works.

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

/// All intents.
pub const ALL_INTENTS: u64 = 53_608_447;
