//! The destination of an event.

use std::{sync::Arc, time::Duration};

use super::JobDefinition;
use crate::{client_type::ClientTypes, guild::GuildId, user::UserId};

/// The destination of an event that the table accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route<'t> {
    /// The event's name, shared with the table.
    pub name: &'t Arc<str>,
    /// The v1 client types that receive it.
    pub receivers: ClientTypes,
    /// Whether sessions of the Discord protocol receive it.
    pub to_discord: bool,
    /// Which of those sessions get it.
    pub delivery: Delivery,
    /// Whether the event is refused if none of those sessions is live.
    pub require_receiver: bool,
    /// Whether sessions of a ticket receive a broadcast.
    pub to_tickets: bool,
    /// How long the sender waits for a reply. `None` if the event is no request.
    pub reply_timeout: Option<Duration>,
    /// How the event is delivered until it is acknowledged. `None` if it is no job.
    pub job: Option<JobDefinition>,
}

/// Which sessions of the receiving types get an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// Every live session.
    All,
    /// Exactly one live session in the cluster.
    Any,
    /// The sessions that reported or watch this guild.
    Guild(GuildId),
    /// The sessions whose ticket names this user.
    User(UserId),
}
