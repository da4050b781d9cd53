//! Where one event goes.

use std::sync::Arc;

use crate::{client_type::ClientTypes, guild::GuildId};

/// Where an event that was accepted for routing goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route<'t> {
    /// The event's name, shared with the table.
    pub name: &'t Arc<str>,
    /// The v1 types that receive it.
    pub receivers: ClientTypes,
    /// Whether Discord-shaped sessions receive it.
    pub to_discord: bool,
    /// Which sessions of those types.
    pub delivery: Delivery,
}

/// Which of the receivers get one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Every live session.
    All,
    /// Exactly one live session in the cluster.
    Any,
    /// The sessions that reported this guild.
    Guild(GuildId),
}
