//! The members of subscriber groups, and the keys by which they are grouped.

use shared::{client_type::ClientType, discord::Filter, session_id::SessionId, v1::Encoding};

use tokio::time::Instant;

use super::{
    scopes::Scopes,
    subscriber_groups::{GroupMember, SubscriberGroups},
};
use crate::{
    backplane::Position,
    encode::{DispatchEncoder, LogCursor, WireFormat, encoded_event::EncodedEvent},
    transport::{Batch, Outbox},
};

/// A v1 session as a member of a group.
pub(crate) struct V1Member {
    pub(crate) id: SessionId,
    /// It receives the entries after this position.
    pub(crate) since: Position,
    pub(crate) outbox: Outbox,
}

/// What the members of a v1 group have in common. The client type decides which events they receive, the encoding which
/// frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct V1GroupKey {
    pub(crate) kind: ClientType,
    pub(crate) encoding: Encoding,
    /// Whether they receive the guild counts. Bots always do.
    pub(crate) counts: bool,
    /// Whether they have tickets, and so receive only some of the broadcasts.
    pub(crate) has_tickets: bool,
}

/// A Discord session as a member of a group.
pub(crate) struct DiscordMember {
    pub(crate) id: SessionId,
    /// The fencing token of its owner. For a short time two owners of one session can be on the same worker.
    pub(crate) fencing_token: u64,
    /// It receives the entries with higher numbers than this.
    pub(crate) since: u64,
    pub(crate) encoder: DispatchEncoder,
    pub(crate) outbox: Outbox,
}

/// What the members of a Discord group have in common: which events they receive, and their wire format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct DiscordGroupKey {
    pub(crate) filter: Filter,
    pub(crate) wire_format: WireFormat,
}

/// The sessions of one application on one worker.
#[derive(Default)]
pub(crate) struct ApplicationSubscribers {
    pub(crate) v1: SubscriberGroups<V1GroupKey, V1Member>,
    pub(crate) discord: SubscriberGroups<DiscordGroupKey, DiscordMember>,
    /// Which v1 sessions watch which guilds.
    pub(crate) scopes: Scopes,
    /// The number of the last entry of which delivery has begun.
    pub(crate) started: u64,
    /// The last entry that has been delivered to all sessions that receive it.
    pub(crate) finished: Option<LogCursor>,
}

impl ApplicationSubscribers {
    /// Returns the member with this session id, if its owner has this fencing token.
    pub(crate) fn discord_member(&self, id: SessionId, fencing_token: u64) -> Option<&DiscordMember> {
        let (_, discord_member) = self.discord.get(id)?;
        (discord_member.fencing_token == fencing_token).then_some(discord_member)
    }

    /// Removes the member with this session id, if its owner has this fencing token.
    pub(crate) fn unsubscribe(&mut self, id: SessionId, fencing_token: u64) {
        if self.discord_member(id, fencing_token).is_some() {
            self.discord.remove(id);
        }
    }
}

impl V1GroupKey {
    /// Whether an entry is for all members of the group.
    pub(crate) fn gets(self, entry: &EncodedEvent) -> bool {
        let is_for_type = entry.is_for_all(self.kind) && (entry.entry.to_tickets || !self.has_tickets);
        is_for_type || (self.counts && entry.is_counts)
    }
}

impl V1Member {
    /// Sends the session an entry if it is a receiver. Returns whether it is.
    pub(crate) fn deliver_to(&self, entry: &EncodedEvent, key: V1GroupKey, now: Instant) -> bool {
        let admitted = if key.has_tickets {
            // No entry lists the session of a ticket.
            key.gets(entry)
        } else {
            entry.entry.admits(self.id, key.kind, self.since) || (key.counts && entry.is_counts)
        };
        admitted && self.deliver_addressed(entry, key, now)
    }

    /// Sends the session an entry that is for it, unless it joined later or is the author. Returns whether it is sent.
    pub(crate) fn deliver_addressed(&self, entry: &EncodedEvent, key: V1GroupKey, now: Instant) -> bool {
        let is_sent = entry.entry.position.is_after(self.since) && entry.entry.author != Some(self.id);
        if is_sent {
            // If the outbox overflows, the connection's driver evicts the session.
            self.outbox
                .deliver(&Batch::from(entry.frame(key.encoding).clone()), now);
        }
        is_sent
    }
}

impl GroupMember for V1Member {
    fn id(&self) -> SessionId {
        self.id
    }
}

impl GroupMember for DiscordMember {
    fn id(&self) -> SessionId {
        self.id
    }
}
