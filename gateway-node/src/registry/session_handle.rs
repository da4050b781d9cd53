//! A session's place in the registry.

use std::sync::Arc;

use shared::{client_type::ClientType, discord::Filter, session_id::SessionId, v1::Encoding};

use super::{Kind, Shard, shard::Identity};
use crate::{
    auth::Key,
    backplane::{Owner, Position},
    encode::dispatch_encoder::{Line, Place},
    fanout::member::{Common, Guest, Profile, Rooms, Subscriber},
    transport::Outbox,
};

/// What a session of version 1 registers with once it has identified.
#[derive(Debug)]
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
}

/// What a Discord session has its shard deliver.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// Which events it receives.
    pub filter: Filter,
    /// The number of the last entry that it has got or did not want.
    pub since: Place,
    /// What its dispatches are written through.
    pub line: Line,
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

    /// Makes a session of version 1 a receiver.
    pub fn identify(&self, registration: Registration, outbox: Outbox) {
        let Registration {
            id,
            kind,
            key,
            encoding,
            since,
        } = registration;
        let inner = &self.shard.inner;
        let application = Arc::clone(key.application());
        {
            let mut state = inner.state.borrow_mut();
            let rooms = state.rooms.entry(Arc::clone(&application)).or_default();
            rooms.v1.add(Common { kind, encoding }, Guest { id, since, outbox });
        }
        inner.backplane.enter(&application, id);
        self.sit(Identity {
            application,
            id,
            kind: Kind::V1(kind),
            generation: 0,
            key,
        });
    }

    /// Says which Discord session this is; it receives nothing yet.
    pub fn attach(&self, owner: &Owner, key: Arc<Key>) {
        self.sit(Identity {
            application: Arc::clone(&owner.application),
            id: owner.id,
            kind: Kind::Discord,
            generation: owner.generation,
            key,
        });
    }

    /// Makes a Discord session a receiver. False where its shard has come further than the session by now: then it has to
    /// read on first.
    pub fn subscribe(&self, subscription: Subscription, outbox: Outbox) -> bool {
        let Subscription { filter, since, line } = subscription;
        self.with_identity(|rooms, id, generation| {
            if rooms.begun > since.number {
                return false;
            }
            // An earlier owner that has not heard of this one yet.
            rooms.discord.remove(id);
            line.go_on(line.s(), Some(since));
            let profile = Profile {
                filter,
                coding: line.coding(),
            };
            let subscriber = Subscriber {
                id,
                generation,
                since: since.number,
                line,
                outbox,
            };
            rooms.discord.add(profile, subscriber);
            true
        })
        .unwrap_or(false)
    }

    /// Stops the deliveries to a Discord session.
    pub fn unsubscribe(&self) {
        self.with_identity(Rooms::unsubscribe);
    }

    /// Where a Discord session is that receives: every entry up to there it has got or did not want. None once it was severed:
    /// what came later is not known to continue what it has.
    pub fn place(&self) -> Option<Place> {
        if self.is_severed() {
            return None;
        }
        self.with_identity(|rooms, id, generation| {
            let own = rooms.subscriber(id, generation).and_then(|it| it.line.place());
            [own, rooms.done].into_iter().flatten().max_by_key(|place| place.number)
        })
        .flatten()
    }

    fn is_severed(&self) -> bool {
        let state = self.shard.inner.state.borrow();
        let occupant = state.seats.get(self.place).and_then(Option::as_ref);
        let identity = occupant.and_then(|occupant| occupant.identity.as_ref());
        identity.is_some_and(|identity| state.severed.contains(&identity.id))
    }

    fn sit(&self, identity: Identity) {
        let inner = &self.shard.inner;
        let (census, kind) = (inner.registry.census(), identity.kind);
        let state = &mut *inner.state.borrow_mut();
        let Some(Some(occupant)) = state.seats.get_mut(self.place) else {
            return;
        };
        match occupant.identity.replace(identity) {
            // A connection that goes from one session to another stays what it is.
            Some(before) => drop(state.severed.remove(&before.id)),
            None => census.identified(kind),
        }
    }

    fn with_identity<T>(&self, act: impl FnOnce(&mut Rooms, SessionId, u64) -> T) -> Option<T> {
        let state = &mut *self.shard.inner.state.borrow_mut();
        let identity = state.seats.get(self.place)?.as_ref()?.identity.as_ref()?;
        let rooms = state.rooms.entry(Arc::clone(&identity.application)).or_default();
        Some(act(rooms, identity.id, identity.generation))
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
        let Some(Identity {
            application,
            id,
            kind,
            generation,
            ..
        }) = identity
        else {
            return;
        };
        {
            let mut state = inner.state.borrow_mut();
            let rooms = state.rooms.entry(Arc::clone(&application)).or_default();
            match kind {
                Kind::V1(_) => drop(rooms.v1.remove(id)),
                // Whether it can be resumed is not decided here.
                Kind::Discord => {
                    rooms.unsubscribe(id, generation);
                    state.severed.remove(&id);
                    return;
                }
            }
        }
        inner.backplane.leave(&application, id);
        // From here on nothing is addressed to it; what already is stands before the end of the feed.
        let end = inner.registry.inner.feed.end();
        let mut state = inner.state.borrow_mut();
        state.severed.remove(&id);
        if end > state.delivered {
            state.departed.push((id, end));
        }
    }
}
