//! One accepted event.

use std::sync::Arc;

use shared::{
    client_type::{ClientType, ClientTypes},
    discord::Header,
    guild::GuildId,
    session_id::SessionId,
};
use smallvec::SmallVec;

use super::Position;

/// An event as the log has it. Who receives it was decided when it was appended and is never decided again.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Where it stands in the log of its application.
    pub position: Position,
    /// The application whose log it stands in.
    pub application: Arc<str>,
    /// The event's name, `t` on the wire.
    pub name: Arc<str>,
    /// Who receives it.
    pub audience: Audience,
    /// The session that sent it and never gets it back.
    pub author: Option<SessionId>,
    /// Who of Discord's protocol receives it; none where nobody does.
    pub discord: Option<Arc<Header>>,
    /// The event's data as its sender wrote it: one JSON object.
    pub d: Arc<str>,
}

/// Who receives an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// Every session of these types.
    Types(ClientTypes),
    /// Those who had reported a guild. Should all of them end before they get the event, the next one to report it does.
    Reporters {
        /// The guild.
        guild: GuildId,
        /// They.
        sessions: SmallVec<[SessionId; 2]>,
        /// The types that may have it.
        of: ClientTypes,
    },
    /// One session, chosen among those of these types. Should it end before it gets the event, another one does, or the
    /// next one to come.
    One {
        /// The chosen one.
        session: SessionId,
        /// The types to choose another one from.
        of: ClientTypes,
    },
}

impl Entry {
    /// What the entry weighs while it waits, in bytes.
    pub fn weight(&self) -> usize {
        Self::weight_of(&self.name, &self.d)
    }

    /// What an entry of this name and data will weigh, in bytes.
    pub const fn weight_of(name: &str, d: &str) -> usize {
        size_of::<Self>() + name.len() + d.len()
    }

    /// Whether a session that joined at `since` is to receive it.
    pub fn admits(&self, id: SessionId, kind: ClientType, since: Position) -> bool {
        let addressed = match &self.audience {
            Audience::Types(kinds) => kinds.contains(kind),
            Audience::Reporters { sessions, .. } => sessions.contains(&id),
            Audience::One { session, .. } => *session == id,
        };
        addressed && self.position.is_after(since) && self.author != Some(id)
    }
}
