//! The registry's part on one worker: its sessions, and the loop that delivers to them.

use std::{cell::RefCell, rc::Rc, sync::Arc, sync::PoisonError, time::Duration, time::SystemTime};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Recipient, WrapFuture};
use rustc_hash::FxHashMap;
use shared::{client_type::ClientType, session_id::SessionId, v1::Encoding};
use tokio::time::{Instant, sleep_until};

use super::{
    Farewell, Order, Registry,
    order::{Kick, ShardOrder},
    prepared::Prepared,
    room::{Member, Room},
};
use crate::{
    auth::{Key, Keyring},
    cluster::{Audience, Backplane},
    transport::Outbox,
};

/// How many sessions are given an event before the worker turns to their sockets, and to everything else it does.
const STRETCH: usize = 256;

/// How often a shard looks whether keys have expired. A session has to hear of it within a second.
const KEY_CHECK: Duration = Duration::from_millis(400);

/// One worker's share of the registry. Clones are the same shard and never leave its thread.
#[derive(Clone)]
pub struct Shard {
    inner: Rc<Inner>,
}

struct Inner {
    index: usize,
    registry: Registry,
    backplane: Arc<dyn Backplane>,
    keyring: Keyring,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    /// Every session on this worker, identified or not.
    seats: Vec<Option<Occupant>>,
    free: Vec<usize>,
    rooms: FxHashMap<Arc<str>, Room>,
    /// Sessions that ended, and the end of the feed at that time: an entry for one of them alone that stands before it
    /// needs another receiver.
    departed: Vec<(SessionId, u64)>,
    /// Every entry of the feed before this number has been delivered here.
    delivered: u64,
    /// Set once everybody has been told to leave: who comes now is told at once.
    farewell: Option<Farewell>,
}

struct Occupant {
    orders: Recipient<Order>,
    identity: Option<Identity>,
}

struct Identity {
    application: Arc<str>,
    id: SessionId,
    kind: ClientType,
    key: Arc<Key>,
}

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
    pub since: u64,
    /// Where its events go.
    pub outbox: Outbox,
}

/// A session's place in the shard, given up when it is dropped: the one way in which a session ends.
pub struct Seat {
    shard: Shard,
    place: usize,
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
        let actor = ShardActor {
            shard: shard.clone(),
            checked: SystemTime::now(),
            revision: 0,
        }
        .start();
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
        Seat {
            shard: self.clone(),
            place,
        }
    }

    /// Hands entries to the sessions that they are for, in order.
    async fn deliver(&self, batch: &[Arc<Prepared>]) {
        let mut rest = batch;
        while let Some(first) = rest.first() {
            let count = rest.iter().take_while(|entry| entry.is_broadcast_with(first)).count();
            if count == 0 {
                self.deliver_to_few(first);
                rest = &rest[1..];
            } else {
                self.broadcast(&rest[..count]).await;
                rest = &rest[count..];
            }
        }
    }

    /// Walks over the sessions of one application once with several entries, so that they leave in one write each.
    async fn broadcast(&self, entries: &[Arc<Prepared>]) {
        let application = &entries[0].entry.application;
        let Some(end) = self
            .inner
            .state
            .borrow_mut()
            .rooms
            .get_mut(application)
            .map(Room::begin_walk)
        else {
            return;
        };
        for from in (0..end).step_by(STRETCH) {
            let mut deliveries = 0;
            if let Some(room) = self.inner.state.borrow().rooms.get(application) {
                let now = Instant::now();
                for member in room.stretch(from, end.min(from + STRETCH)) {
                    deliveries += entries.iter().filter(|entry| give(entry, member, now)).count() as u64;
                }
            }
            self.inner.registry.inner.metrics.deliveries.inc_by(deliveries);
            tokio::task::yield_now().await;
        }
        let mut state = self.inner.state.borrow_mut();
        if let Some(room) = state.rooms.get_mut(application) {
            room.end_walk();
            if room.is_empty() {
                state.rooms.remove(application);
            }
        }
    }

    fn deliver_to_few(&self, prepared: &Prepared) {
        let now = Instant::now();
        let entry = &prepared.entry;
        let state = self.inner.state.borrow();
        let give_to = |id: SessionId| {
            let member = state.rooms.get(&entry.application).and_then(|room| room.get(id));
            member.is_some_and(|member| give(prepared, member, now))
        };
        match &entry.audience {
            Audience::Types(_) => {}
            Audience::Sessions(ids) => {
                let count = ids.iter().filter(|id| give_to(**id)).count();
                self.inner.registry.inner.metrics.deliveries.inc_by(count as u64);
            }
            Audience::One { session, .. } => {
                if give_to(*session) {
                    self.inner.registry.inner.metrics.deliveries.inc();
                } else if state.departed.iter().any(|(departed, _)| departed == session) {
                    self.inner.backplane.redirect(entry);
                }
            }
        }
    }

    /// Forgets who left before what has now been delivered.
    fn forget_departed(&self, delivered: u64) {
        let mut state = self.inner.state.borrow_mut();
        state.delivered = delivered;
        state.departed.retain(|(_, end)| *end > delivered);
    }

    /// Tells those to leave whose key is not good any more.
    fn recheck_keys(&self, now: SystemTime) {
        let state = self.inner.state.borrow();
        for occupant in state.seats.iter().flatten() {
            let revoked = occupant
                .identity
                .as_ref()
                .is_some_and(|identity| !self.inner.keyring.is_good(&identity.key, identity.kind, now));
            if revoked {
                // A full mailbox holds an order to leave already.
                let _ = occupant.orders.try_send(Order::Leave(Farewell::KeyRevoked));
            }
        }
    }
}

/// Puts the entry into the member's outbox if it is for it.
fn give(prepared: &Prepared, member: &Member, now: Instant) -> bool {
    let admitted = prepared.entry.admits(member.id, member.kind, member.since);
    if admitted {
        // What does not fit evicts the session; its driver sees to that.
        member.outbox.push(prepared.frame(member.encoding).clone(), now);
    }
    admitted
}

impl Seat {
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
        room.add(Member {
            id,
            kind,
            encoding,
            since,
            outbox,
        });
        if let Some(Some(occupant)) = state.seats.get_mut(self.place) {
            occupant.identity = Some(Identity {
                application,
                id,
                kind,
                key,
            });
        }
        inner.registry.census().identified(kind);
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

pub(super) struct ShardActor {
    shard: Shard,
    /// When and at which revision of the keyring keys were last looked at.
    checked: SystemTime,
    revision: u64,
}

impl Actor for ShardActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        let shard = self.shard.clone();
        let loop_guard = Vital;
        let delivering = async move {
            let _loop_guard = loop_guard;
            loop {
                let inner = &shard.inner;
                let (batch, end) =
                    std::future::poll_fn(|cx| inner.registry.inner.feed.poll_read(inner.index, cx)).await;
                shard.deliver(&batch).await;
                shard.forget_departed(end);
            }
        };
        context.spawn(delivering.into_actor(self));
        context.run_interval(KEY_CHECK, |actor, _| {
            let now = SystemTime::now();
            let keyring = &actor.shard.inner.keyring;
            let revision = keyring.revision();
            if revision != actor.revision || keyring.has_expired_between(actor.checked, now) {
                actor.shard.recheck_keys(now);
            }
            (actor.checked, actor.revision) = (now, revision);
        });
    }
}

impl Handler<ShardOrder> for ShardActor {
    type Result = ();

    fn handle(&mut self, order: ShardOrder, context: &mut Self::Context) {
        match order {
            ShardOrder::RecheckKeys => self.shard.recheck_keys(SystemTime::now()),
            ShardOrder::Farewell { farewell, spread } => {
                let mut state = self.shard.inner.state.borrow_mut();
                state.farewell = Some(farewell);
                let start = Instant::now();
                let mut plan: Vec<_> = state
                    .seats
                    .iter()
                    .flatten()
                    .map(|occupant| (start + spread.mul_f64(fastrand::f64()), occupant.orders.clone()))
                    .collect();
                plan.sort_by_key(|(when, _)| *when);
                let telling = async move {
                    for (when, orders) in plan {
                        sleep_until(when).await;
                        // One that is gone or has been told needs no telling.
                        let _ = orders.try_send(Order::Leave(farewell));
                    }
                };
                context.spawn(telling.into_actor(self).map(|(), _, _| ()));
            }
        }
    }
}

impl Handler<Kick> for ShardActor {
    type Result = bool;

    fn handle(&mut self, Kick { application, id }: Kick, _: &mut Self::Context) -> bool {
        let state = self.shard.inner.state.borrow();
        let mut identified = state
            .seats
            .iter()
            .flatten()
            .filter_map(|occupant| Some((occupant, occupant.identity.as_ref()?)));
        let found = identified.find(|(_, identity)| identity.id == id && identity.application == application);
        // A full mailbox holds an order to leave already.
        found.is_some_and(|(occupant, _)| {
            let _ = occupant.orders.try_send(Order::Leave(Farewell::Kicked));
            true
        })
    }
}

/// Ends the process when a shard dies: a node whose events reach nobody must not look alive.
struct Vital;

impl Drop for Vital {
    fn drop(&mut self) {
        if std::thread::panicking() {
            log::error!("a registry shard has panicked; the node cannot go on");
            std::process::exit(70);
        }
    }
}
