//! One client's session: an actor that carries out what a protocol's state machine decides.
//!
//! A protocol (`v1`, `discord`) is told what happened and answers with [`Step`]s; it knows no socket, no actor and no lock, so it
//! is tested as plain code. The [`Session`] actor owns the timer, asks the keyring, the registry and the backplane,
//! and puts frames into its outbox. A protocol is added by implementing [`Protocol`].

mod actor;
mod discord;
mod protocol;
#[cfg(test)]
mod tests;
mod turns;
mod v1;

pub use self::{
    actor::{Services, Session},
    discord::{Discord, MemberLists, Rules as DiscordRules},
    protocol::{Asked, Ending, Protocol, Sources, Step, Steps},
    turns::{Turn, Turns},
    v1::{Join, Rules, Unwelcome, V1, Welcome},
};
