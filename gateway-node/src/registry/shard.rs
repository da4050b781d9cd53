//! The registry's part on one worker: its sessions, and the loop that delivers to them.

use std::{cell::RefCell, rc::Rc, sync::Arc, sync::PoisonError, time::SystemTime};

use actix::{Actor, Recipient};
use rustc_hash::{FxHashMap, FxHashSet};
use shared::session_id::SessionId;
use smallvec::SmallVec;
use tokio::time::Instant;

use super::{Farewell, Kind, Order, Registry, Seat, actor::ShardActor};
use crate::{
    auth::{Key, Keyring},
    backplane::{Audience, Backplane},
    encode::encoded_event::Prepared,
    fanout::{
        discord_batch::Bundle,
        member::{Profile, Rooms},
        subscriber_groups::Stage,
        v1_batch::Parcel,
    },
};

/// How many sessions are given an event before the worker turns to their sockets, and to everything else it does.
const STRETCH: usize = 256;

/// One worker's share of the registry. Clones are the same shard and never leave its thread.
#[derive(Clone)]
pub struct Shard {
    pub(super) inner: Rc<Inner>,
}

pub(super) struct Inner {
    pub(super) index: usize,
    pub(super) registry: Registry,
    pub(super) backplane: Arc<dyn Backplane>,
    pub(super) keyring: Keyring,
    pub(super) state: RefCell<State>,
}

#[derive(Default)]
pub(super) struct State {
    /// Every session on this worker, identified or not.
    pub(super) seats: Vec<Option<Occupant>>,
    pub(super) free: Vec<usize>,
    pub(super) rooms: FxHashMap<Arc<str>, Rooms>,
    /// Sessions that ended, and the end of the feed at that time: an entry for one of them alone that stands before it
    /// needs another receiver.
    pub(super) departed: Vec<(SessionId, u64)>,
    /// Sessions that receive nothing more and have not left yet: an entry for one of them alone needs another receiver.
    pub(super) severed: FxHashSet<SessionId>,
    /// Every entry of the feed before this number has been delivered here.
    pub(super) delivered: u64,
    /// Set once everybody has been told to leave: who comes now is told at once.
    pub(super) farewell: Option<Farewell>,
}

impl State {
    /// Whether a session was here that gets nothing any more.
    fn has_lost(&self, id: SessionId) -> bool {
        self.severed.contains(&id) || self.departed.iter().any(|(departed, _)| *departed == id)
    }
}

pub(super) struct Occupant {
    pub(super) orders: Recipient<Order>,
    pub(super) identity: Option<Identity>,
}

pub(super) struct Identity {
    pub(super) application: Arc<str>,
    pub(super) id: SessionId,
    pub(super) kind: Kind,
    /// Which owner of a session this is; 0 where it can have one alone.
    pub(super) generation: u64,
    pub(super) key: Arc<Key>,
}

impl Shard {
    /// Starts the shard of this worker, the `index`th.
    pub fn start(index: usize, registry: Registry, backplane: Arc<dyn Backplane>, keyring: Keyring) -> Self {
        let inner = Inner {
            index,
            registry,
            backplane,
            keyring,
            state: RefCell::default(),
        };
        let shard = Self { inner: Rc::new(inner) };
        let actor = ShardActor::new(shard.clone()).start();
        let mut shards = shard
            .inner
            .registry
            .inner
            .shards
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        shards.push(actor);
        drop(shards);
        shard
    }

    /// Seats a session that has just opened and hears orders at `orders`.
    pub fn open(&self, orders: Recipient<Order>) -> Seat {
        let mut state = self.inner.state.borrow_mut();
        if let Some(farewell) = state.farewell {
            // Its mailbox is empty.
            let _ = orders.try_send(Order::Leave(farewell));
        }
        let occupant = Some(Occupant { orders, identity: None });
        let place = if let Some(place) = state.free.pop() {
            state.seats[place] = occupant;
            place
        } else {
            state.seats.push(occupant);
            state.seats.len() - 1
        };
        self.inner.registry.census().opened();
        Seat::new(self.clone(), place)
    }

    /// Hands entries to the sessions that they are for, in order.
    pub(super) async fn deliver(&self, batch: &[Arc<Prepared>]) {
        let mut rest = batch;
        while let Some(first) = rest.first() {
            let together = rest.iter().take_while(|entry| entry.is_broadcast_with(first)).count();
            let (now, later) = rest.split_at(together.max(1));
            self.begin(now);
            if together == 0 {
                self.deliver_to_few(first);
            } else {
                self.broadcast(now).await;
            }
            self.dispatch(now).await;
            self.finish(now);
            rest = later;
        }
    }

    /// Walks over the sessions of version 1 of one application once with several entries, so that they leave in one
    /// write each.
    async fn broadcast(&self, entries: &[Arc<Prepared>]) {
        let walk = self.rooms_of(&entries[0], |rooms| rooms.v1.begin_walk());
        for Stage { group, common, end } in walk {
            let parcel = Parcel::new(entries.iter().map(AsRef::as_ref), common);
            if parcel.is_empty() {
                continue;
            }
            for from in (0..end).step_by(STRETCH) {
                let deliveries = self.rooms_of(&entries[0], |rooms| {
                    let now = Instant::now();
                    let members = rooms.v1.stretch(group, from, end.min(from + STRETCH));
                    members.map(|member| parcel.give(member, now)).sum()
                });
                self.inner.registry.inner.metrics.deliveries.inc_by(deliveries);
                tokio::task::yield_now().await;
            }
        }
        self.rooms_of(&entries[0], |rooms| rooms.v1.end_walk());
    }

    /// The same over the Discord sessions.
    async fn dispatch(&self, entries: &[Arc<Prepared>]) {
        if entries.iter().all(|entry| entry.entry.discord.is_none()) {
            return;
        }
        let walk: SmallVec<[Stage<Profile>; 6]> = self.rooms_of(&entries[0], |rooms| rooms.discord.begin_walk());
        for Stage { group, common, end } in walk {
            let bundle = self.rooms_of(&entries[0], |rooms| {
                let is_here = |id| rooms.discord.get(id).is_some_and(|(of, _)| of == common);
                Bundle::new(entries, common, is_here)
            });
            let Some(bundle) = bundle else { continue };
            if let Some(only) = bundle.only() {
                let deliveries = self.rooms_of(&entries[0], |rooms| {
                    let mut whom = only.clone();
                    whom.sort_unstable();
                    whom.dedup();
                    let members = whom.iter().filter_map(|id| rooms.discord.get(*id));
                    members.map(|(_, member)| bundle.give(member, Instant::now())).sum()
                });
                self.inner.registry.inner.metrics.deliveries.inc_by(deliveries);
                continue;
            }
            for from in (0..end).step_by(STRETCH) {
                let deliveries = self.rooms_of(&entries[0], |rooms| {
                    let now = Instant::now();
                    let members = rooms.discord.stretch(group, from, end.min(from + STRETCH));
                    members.map(|member| bundle.give(member, now)).sum()
                });
                self.inner.registry.inner.metrics.deliveries.inc_by(deliveries);
                tokio::task::yield_now().await;
            }
        }
        self.rooms_of(&entries[0], |rooms| rooms.discord.end_walk());
    }

    /// Notes that some of its sessions may have got these entries from now on; also where there is no session, since
    /// whoever comes has to know.
    fn begin(&self, entries: &[Arc<Prepared>]) {
        let Some(last) = entries.last() else { return };
        let mut state = self.inner.state.borrow_mut();
        let application = &last.entry.application;
        match state.rooms.get_mut(application) {
            Some(rooms) => rooms.begun = last.number,
            None => state.rooms.entry(Arc::clone(application)).or_default().begun = last.number,
        }
    }

    /// Notes that all of its sessions have got these entries.
    fn finish(&self, entries: &[Arc<Prepared>]) {
        if let Some(last) = entries.last() {
            self.rooms_of(last, |rooms| rooms.done = Some(last.place()));
        }
    }

    /// What becomes of the rooms of an entry's application; nothing where it has no session here.
    fn rooms_of<T: Default>(&self, entry: &Prepared, act: impl FnOnce(&mut Rooms) -> T) -> T {
        let mut state = self.inner.state.borrow_mut();
        state
            .rooms
            .get_mut(&entry.entry.application)
            .map(act)
            .unwrap_or_default()
    }

    fn deliver_to_few(&self, prepared: &Prepared) {
        let now = Instant::now();
        let entry = &prepared.entry;
        let state = self.inner.state.borrow();
        let give_to = |id: SessionId| {
            let member = state.rooms.get(&entry.application).and_then(|rooms| rooms.v1.get(id));
            member.is_some_and(|(common, member)| member.give(prepared, common, now))
        };
        match &entry.audience {
            Audience::Types(_) => {}
            Audience::Reporters { sessions, .. } => {
                let count = sessions.iter().filter(|id| give_to(**id)).count();
                self.inner.registry.inner.metrics.deliveries.inc_by(count as u64);
                if count > 0 {
                    self.inner.backplane.taken(entry);
                } else if sessions.iter().any(|id| state.has_lost(*id)) {
                    self.inner.backplane.redirect(entry);
                }
            }
            Audience::One { session, .. } => {
                if give_to(*session) {
                    self.inner.registry.inner.metrics.deliveries.inc();
                    self.inner.backplane.taken(entry);
                } else if state.has_lost(*session) {
                    self.inner.backplane.redirect(entry);
                }
            }
        }
    }

    /// Stops all deliveries to the sessions of an application that receive now: what is for those of version 1 alone goes to
    /// others. Returns who they are.
    pub(super) fn sever(&self, application: &Arc<str>) -> FxHashSet<SessionId> {
        let (members, subscribers) = {
            let state = &mut *self.inner.state.borrow_mut();
            let Some(rooms) = state.rooms.get_mut(application) else {
                return FxHashSet::default();
            };
            let members: FxHashSet<_> = std::mem::take(&mut rooms.v1).ids().collect();
            let subscribers: FxHashSet<_> = std::mem::take(&mut rooms.discord).ids().collect();
            state.severed.extend(members.iter().chain(&subscribers));
            (members, subscribers)
        };
        for id in &members {
            self.inner.backplane.leave(application, *id);
        }
        members.into_iter().chain(subscribers).collect()
    }

    /// Forgets who left before what has now been delivered.
    pub(super) fn forget_departed(&self, delivered: u64) {
        let mut state = self.inner.state.borrow_mut();
        state.delivered = delivered;
        state.departed.retain(|(_, end)| *end > delivered);
    }

    /// Tells those to leave whose key is not good any more.
    pub(super) fn recheck_keys(&self, now: SystemTime) {
        let state = self.inner.state.borrow();
        for occupant in state.seats.iter().flatten() {
            let revoked = occupant
                .identity
                .as_ref()
                .is_some_and(|identity| !self.inner.keyring.is_good(&identity.key, identity.kind.of_key(), now));
            if revoked {
                // A full mailbox holds an order to leave already.
                let _ = occupant.orders.try_send(Order::Leave(Farewell::KeyRevoked));
            }
        }
    }
}
