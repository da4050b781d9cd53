//! Who is in a room, and what those have in common who get the same bytes.

use shared::{client_type::ClientType, discord::Filter, session_id::SessionId, v1::Encoding};

use tokio::time::Instant;

use super::subscriber_groups::{GroupMember, SubscriberGroups};
use crate::{
    backplane::Position,
    encode::{
        dispatch_encoder::{DispatchEncoder, LogCursor, WireFormat},
        encoded_event::EncodedEvent,
    },
    transport::{Batch, Outbox},
};

/// What the way from an entry to a socket needs of a session of version 1.
pub(crate) struct V1Member {
    pub(crate) id: SessionId,
    /// It receives the entries after this position.
    pub(crate) since: Position,
    pub(crate) outbox: Outbox,
}

/// What the members of a group of version 1 have in common: who they are decides what they get, and the encoding in
/// which frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct V1GroupKey {
    pub(crate) kind: ClientType,
    pub(crate) encoding: Encoding,
}

/// The same of a Discord session.
pub(crate) struct DiscordMember {
    pub(crate) id: SessionId,
    /// Which owner of the session it is: for a while two of them can be on one worker.
    pub(crate) fencing_token: u64,
    /// It receives the entries after the one of this number.
    pub(crate) since: u64,
    pub(crate) encoder: DispatchEncoder,
    pub(crate) outbox: Outbox,
}

/// What the members of a group of Discord sessions have in common: which events they receive, and how these are written.
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
    /// The number of the last entry that some of them may have got.
    pub(crate) started: u64,
    /// The last entry that all of them have got or did not want.
    pub(crate) finished: Option<LogCursor>,
}

impl ApplicationSubscribers {
    /// The subscriber of this session, if it is still this owner of it.
    pub(crate) fn discord_member(&self, id: SessionId, fencing_token: u64) -> Option<&DiscordMember> {
        let (_, discord_member) = self.discord.get(id)?;
        (discord_member.fencing_token == fencing_token).then_some(discord_member)
    }

    /// Stops deliveries to this owner of a session.
    pub(crate) fn unsubscribe(&mut self, id: SessionId, fencing_token: u64) {
        if self.discord_member(id, fencing_token).is_some() {
            self.discord.remove(id);
        }
    }
}

impl V1Member {
    /// Gives the session an entry, if it is for it. Returns whether it is.
    pub(crate) fn deliver_to(&self, entry: &EncodedEvent, key: V1GroupKey, now: Instant) -> bool {
        let admitted = entry.entry.admits(self.id, key.kind, self.since);
        if admitted {
            // What does not fit evicts the session; its driver sees to that.
            self.outbox
                .deliver(&Batch::from(entry.frame(key.encoding).clone()), now);
        }
        admitted
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
