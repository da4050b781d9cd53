//! Who is in a room, and what those have in common who get the same bytes.

use shared::{client_type::ClientType, discord::Filter, session_id::SessionId, v1::Encoding};

use super::{
    line::{Coding, Line},
    room::{Member, Room},
};
use crate::{cluster::Position, transport::Outbox};

/// What the way from an entry to a socket needs of a session of version 1.
pub(super) struct Guest {
    pub(super) id: SessionId,
    /// It receives the entries after this position.
    pub(super) since: Position,
    pub(super) outbox: Outbox,
}

/// What the members of a group of version 1 have in common: who they are decides what they get, and the encoding in
/// which frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Common {
    pub(super) kind: ClientType,
    pub(super) encoding: Encoding,
}

/// The same of a Discord session.
pub(super) struct Subscriber {
    pub(super) id: SessionId,
    /// Which owner of the session it is: for a while two of them can be on one worker.
    pub(super) generation: u64,
    /// It receives the entries after the one of this number.
    pub(super) since: u64,
    pub(super) line: Line,
    pub(super) outbox: Outbox,
}

/// What the members of a group of Discord sessions have in common: which events they receive, and how these are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Profile {
    pub(super) filter: Filter,
    pub(super) coding: Coding,
}

/// The sessions of one application on one worker.
#[derive(Default)]
pub(super) struct Rooms {
    pub(super) v1: Room<Common, Guest>,
    pub(super) discord: Room<Profile, Subscriber>,
    /// The number of the last entry that some of them may have got.
    pub(super) begun: u64,
    /// The last entry that all of them have got or did not want.
    pub(super) done: Option<super::line::Place>,
}

impl Rooms {
    /// The subscriber of this session, if it is still this owner of it.
    pub(super) fn subscriber(&self, id: SessionId, generation: u64) -> Option<&Subscriber> {
        let (_, subscriber) = self.discord.get(id)?;
        (subscriber.generation == generation).then_some(subscriber)
    }

    /// Stops deliveries to this owner of a session.
    pub(super) fn unsubscribe(&mut self, id: SessionId, generation: u64) {
        if self.subscriber(id, generation).is_some() {
            self.discord.remove(id);
        }
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
