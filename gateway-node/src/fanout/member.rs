//! Who is in a room, and what those have in common who get the same bytes.

use shared::{client_type::ClientType, discord::Filter, session_id::SessionId, v1::Encoding};

use tokio::time::Instant;

use super::subscriber_groups::{Member, Room};
use crate::{
    backplane::Position,
    encode::{
        dispatch_encoder::{Coding, Line, Place},
        encoded_event::Prepared,
    },
    transport::{Batch, Outbox},
};

/// What the way from an entry to a socket needs of a session of version 1.
pub(crate) struct Guest {
    pub(crate) id: SessionId,
    /// It receives the entries after this position.
    pub(crate) since: Position,
    pub(crate) outbox: Outbox,
}

/// What the members of a group of version 1 have in common: who they are decides what they get, and the encoding in
/// which frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Common {
    pub(crate) kind: ClientType,
    pub(crate) encoding: Encoding,
}

/// The same of a Discord session.
pub(crate) struct Subscriber {
    pub(crate) id: SessionId,
    /// Which owner of the session it is: for a while two of them can be on one worker.
    pub(crate) generation: u64,
    /// It receives the entries after the one of this number.
    pub(crate) since: u64,
    pub(crate) line: Line,
    pub(crate) outbox: Outbox,
}

/// What the members of a group of Discord sessions have in common: which events they receive, and how these are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Profile {
    pub(crate) filter: Filter,
    pub(crate) coding: Coding,
}

/// The sessions of one application on one worker.
#[derive(Default)]
pub(crate) struct Rooms {
    pub(crate) v1: Room<Common, Guest>,
    pub(crate) discord: Room<Profile, Subscriber>,
    /// The number of the last entry that some of them may have got.
    pub(crate) begun: u64,
    /// The last entry that all of them have got or did not want.
    pub(crate) done: Option<Place>,
}

impl Rooms {
    /// The subscriber of this session, if it is still this owner of it.
    pub(crate) fn subscriber(&self, id: SessionId, generation: u64) -> Option<&Subscriber> {
        let (_, subscriber) = self.discord.get(id)?;
        (subscriber.generation == generation).then_some(subscriber)
    }

    /// Stops deliveries to this owner of a session.
    pub(crate) fn unsubscribe(&mut self, id: SessionId, generation: u64) {
        if self.subscriber(id, generation).is_some() {
            self.discord.remove(id);
        }
    }
}

impl Guest {
    /// Gives the session an entry, if it is for it. Returns whether it is.
    pub(crate) fn give(&self, entry: &Prepared, common: Common, now: Instant) -> bool {
        let admitted = entry.entry.admits(self.id, common.kind, self.since);
        if admitted {
            // What does not fit evicts the session; its driver sees to that.
            self.outbox
                .deliver(&Batch::from(entry.frame(common.encoding).clone()), now);
        }
        admitted
    }
}

impl Member for Guest {
    fn id(&self) -> SessionId {
        self.id
    }
}

impl Member for Subscriber {
    fn id(&self) -> SessionId {
        self.id
    }
}
