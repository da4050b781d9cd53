//! A session's place in the registry.

use std::sync::Arc;

use shared::{client_type::ClientType, session_id::SessionId, v1::Encoding};

use super::{
    Shard,
    room::{Common, Member},
    shard::Identity,
};
use crate::{auth::Key, cluster::Position, transport::Outbox};

/// What a session registers with once it has identified.
pub struct Registration {
    /// Its id.
    pub id: SessionId,
    /// What it is.
    pub kind: ClientType,
    /// The key that it showed; it belongs to the application that the session gets events of.
    pub key: Arc<Key>,
    /// How its events are encoded.
    pub encoding: Encoding,
    /// The end of the log when it joined.
    pub since: Position,
    /// Where its events go.
    pub outbox: Outbox,
}

/// A session's place in the shard, given up when it is dropped: the one way in which a session ends.
pub struct Seat {
    shard: Shard,
    place: usize,
}

impl Seat {
    pub(super) const fn new(shard: Shard, place: usize) -> Self {
        Self { shard, place }
    }

    /// Makes the session a receiver.
    pub fn identify(&self, registration: Registration) {
        let Registration {
            id,
            kind,
            key,
            encoding,
            since,
            outbox,
        } = registration;
        let inner = &self.shard.inner;
        let mut state = inner.state.borrow_mut();
        let application = Arc::clone(key.application());
        let room = state.rooms.entry(Arc::clone(&application)).or_default();
        room.add(Common { kind, encoding }, Member { id, since, outbox });
        if let Some(Some(occupant)) = state.seats.get_mut(self.place) {
            occupant.identity = Some(Identity {
                application: Arc::clone(&application),
                id,
                kind,
                key,
            });
        }
        inner.registry.census().identified(kind);
        inner.backplane.enter(&application, id);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let inner = &self.shard.inner;
        let occupant = {
            let mut state = inner.state.borrow_mut();
            state.free.push(self.place);
            state.seats[self.place].take()
        };
        let identity = occupant.and_then(|occupant| occupant.identity);
        inner
            .registry
            .census()
            .closed(identity.as_ref().map(|identity| identity.kind));
        let Some(Identity { application, id, .. }) = identity else {
            return;
        };
        {
            let mut state = inner.state.borrow_mut();
            if let Some(room) = state.rooms.get_mut(&application) {
                room.remove(id);
            }
        }
        inner.backplane.leave(&application, id);
        // From here on nothing is addressed to it; what already is stands before the end of the feed.
        let end = inner.registry.inner.feed.end();
        let mut state = inner.state.borrow_mut();
        if end > state.delivered {
            state.departed.push((id, end));
        }
    }
}
