//! A session's registration with its shard.

use std::{cell::Cell, sync::Arc};

use shared::{
    client_type::ClientType,
    discord::Filter,
    guild::GuildId,
    session_id::SessionId,
    v1::{Encoding, Receipt, ReplyFailure},
};

use tokio::{sync::oneshot, time::Instant};

use super::{
    RegistryShard, SessionKind,
    shard::{Identity, SessionEntry},
};
use crate::{
    auth::{Key, SessionTicket},
    backplane::{Owner, Position},
    encode::{DispatchEncoder, LogCursor},
    fanout::{
        member::{ApplicationSubscribers, DiscordGroupKey, DiscordMember, Replayed, V1GroupKey, V1Member},
        receipts::OpenRequest,
    },
    transport::Outbox,
};

/// What a v1 session registers with once it has identified.
#[derive(Debug, Clone)]
pub struct Registration {
    /// Its id.
    pub id: SessionId,
    /// Its client type.
    pub kind: ClientType,
    /// The key it identified with. The session receives the events of the key's application.
    pub key: Arc<Key>,
    /// How its events are encoded.
    pub encoding: Encoding,
    /// Whether it receives the guild counts although it is no bot.
    pub counts: bool,
    /// The guilds that it watches, or that a bot which has caught up will report: ascending, without duplicates.
    pub guilds: Vec<GuildId>,
    /// Whether it is told the positions of its events. It receives nothing before it subscribes.
    pub has_positions: bool,
    /// Its ticket, if it identified with one.
    pub ticket: Option<Arc<SessionTicket>>,
    /// The end of the log when it joined.
    pub since: Position,
}

/// What a v1 session that catches up subscribes with.
#[derive(Debug, Clone)]
pub struct V1Subscription {
    /// What it registered with.
    pub registration: Registration,
    /// The cursor of the last entry that the session received or filtered out.
    pub since: LogCursor,
    /// What a bot has received by catching up, if it has guilds.
    pub replayed: Option<Box<Replayed>>,
}

/// What a Discord session subscribes with.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// Which events it receives.
    pub filter: Filter,
    /// The cursor of the last entry that the session received or filtered out.
    pub since: LogCursor,
    /// Encodes and numbers its dispatches.
    pub encoder: DispatchEncoder,
}

/// A session's registration with its shard. Dropping it unregisters the session; there is no other way.
pub struct SessionHandle {
    shard: RegistryShard,
    index: usize,
}

impl SessionHandle {
    pub(super) const fn new(shard: RegistryShard, index: usize) -> Self {
        Self { shard, index }
    }

    /// Registers a v1 session as a receiver of the entries after `registration.since`. A session that is told its
    /// positions receives nothing before it subscribes.
    pub fn identify(&self, registration: Registration, outbox: Outbox) {
        self.set_identity(Identity {
            application: Arc::clone(registration.key.application()),
            id: registration.id,
            kind: SessionKind::V1(registration.kind),
            fencing_token: 0,
            key: Arc::clone(&registration.key),
            ticket: registration.ticket.clone(),
        });
        if !registration.has_positions {
            let since = LogCursor {
                number: 0,
                position: registration.since,
            };
            self.add(registration, since, None, outbox);
        }
    }

    /// Registers a v1 session that catches up as a receiver. Returns `false` if its shard is already past the session's
    /// cursor: then the session has to read on first.
    pub fn subscribe_v1(&self, subscription: V1Subscription, outbox: Outbox) -> bool {
        let V1Subscription {
            registration,
            since,
            replayed,
        } = subscription;
        let is_past = self.with_identity(|subscribers, _, _| subscribers.started > since.number);
        if is_past != Some(false) {
            return false;
        }
        self.add(registration, since, replayed, outbox);
        true
    }

    fn add(&self, registration: Registration, since: LogCursor, replayed: Option<Box<Replayed>>, outbox: Outbox) {
        let Registration {
            id,
            kind,
            key,
            encoding,
            counts,
            guilds,
            has_positions,
            ticket,
            ..
        } = registration;
        let group_key = V1GroupKey {
            kind,
            encoding,
            counts,
            has_tickets: ticket.is_some(),
            has_positions,
        };
        let member = V1Member {
            id,
            since: Cell::new(since),
            outbox,
            replayed,
        };
        let user = ticket.as_ref().and_then(|ticket| ticket.rights.user.clone());
        self.with_identity(|subscribers, _, _| {
            subscribers.v1.add(group_key, member);
            // It receives nothing up to `since` anyway.
            subscribers.scopes.add(id, guilds);
            if let Some(user) = user {
                subscribers.scopes.add_user(id, user);
            }
        });
        if ticket.is_none() {
            // Sessions of a ticket never receive an event for one session of several.
            self.shard.inner.backplane.ready(key.application(), id);
        }
    }

    /// Replaces the guilds that a v1 session watches, which must be ascending and without duplicates, from the entries
    /// after `at` on. Returns the position at which that takes effect: `at` or a later one. Returns `None` if the session
    /// has not identified.
    pub fn watch(&self, guilds: Vec<GuildId>, at: Position) -> Option<Position> {
        self.with_identity(|subscribers, id, _| {
            let reached = subscribers.finished.map(|cursor| cursor.position);
            subscribers.scopes.watch(id, guilds, at, reached)
        })
    }

    /// Replaces the ticket of a session.
    pub fn renew(&self, ticket: Arc<SessionTicket>) {
        let mut state = self.shard.inner.state.borrow_mut();
        if let Some(Some(SessionEntry {
            identity: Some(identity),
            ..
        })) = state.sessions.get_mut(self.index)
        {
            identity.ticket = Some(ticket);
        }
    }

    /// Records which Discord session this is. It receives nothing until it subscribes.
    pub fn attach(&self, owner: &Owner, key: Arc<Key>) {
        self.set_identity(Identity {
            application: Arc::clone(&owner.application),
            id: owner.id,
            kind: SessionKind::Discord,
            fencing_token: owner.fencing_token,
            key,
            ticket: None,
        });
    }

    /// Registers a Discord session as a receiver. Returns `false` if its shard is already past the session's cursor:
    /// then the session has to read on first.
    pub fn subscribe(&self, subscription: Subscription, outbox: Outbox) -> bool {
        let Subscription { filter, since, encoder } = subscription;
        self.with_identity(|subscribers, id, fencing_token| {
            if subscribers.started > since.number {
                return false;
            }
            // The member may be an earlier owner that does not know yet that it was superseded.
            subscribers.discord.remove(id);
            encoder.continue_at(encoder.s(), Some(since));
            let key = DiscordGroupKey {
                filter,
                wire_format: encoder.wire_format(),
            };
            let discord_member = DiscordMember {
                id,
                fencing_token,
                since: since.number,
                encoder,
                outbox,
            };
            subscribers.discord.add(key, discord_member);
            true
        })
        .unwrap_or(false)
    }

    /// Stops deliveries to a Discord session.
    pub fn unsubscribe(&self) {
        self.with_identity(ApplicationSubscribers::unsubscribe);
    }

    /// Returns the log cursor of a subscribed Discord session: it has received or filtered out every entry up to there.
    /// Returns `None` once the session is severed, because later entries may not continue what it has.
    pub fn cursor(&self) -> Option<LogCursor> {
        if self.is_severed() {
            return None;
        }
        self.with_identity(|subscribers, id, fencing_token| {
            let own = subscribers
                .discord_member(id, fencing_token)
                .and_then(|it| it.encoder.cursor());
            [own, subscribers.finished]
                .into_iter()
                .flatten()
                .max_by_key(|index| index.number)
        })
        .flatten()
    }

    /// Returns the log cursor of a v1 session that receives events: every entry up to there was sent to it, or is not for
    /// it. Returns `None` if it receives nothing yet, or nothing more.
    pub fn v1_cursor(&self) -> Option<LogCursor> {
        self.with_identity(|subscribers, id, _| {
            subscribers.v1.get(id)?;
            subscribers.v1_cursor(id)
        })
        .flatten()
    }

    /// Returns a wait until everything up to a position has been delivered to a v1 session, or `None` if it has been. The
    /// receiver fails then; it never gets a value.
    pub fn reach(&self, position: Position) -> Option<oneshot::Receiver<()>> {
        let delivery_queue = &self.shard.inner.registry.inner.delivery_queue;
        self.with_identity(|subscribers, id, _| subscribers.reach(id, position, delivery_queue))
            .flatten()
    }

    /// Takes a request that this v1 session has received, to answer it. Returns `None` if it has not received it, has
    /// answered it already, or is too late.
    pub fn take_request(&self, receipt: Receipt, now: Instant) -> Option<OpenRequest> {
        self.with_identity(|subscribers, id, _| subscribers.receipts.take(receipt, id, now))
            .flatten()
    }

    fn is_severed(&self) -> bool {
        let state = self.shard.inner.state.borrow();
        let session = state.sessions.get(self.index).and_then(Option::as_ref);
        let identity = session.and_then(|session| session.identity.as_ref());
        identity.is_some_and(|identity| state.severed.contains(&identity.id))
    }

    fn set_identity(&self, identity: Identity) {
        let inner = &self.shard.inner;
        let (counts, kind) = (inner.registry.counts(), identity.kind);
        let mut guard = inner.state.borrow_mut();
        let state = &mut *guard;
        let Some(Some(session)) = state.sessions.get_mut(self.index) else {
            return;
        };
        match session.identity.replace(identity) {
            // The connection switched to another session: its kind and the counts stay the same.
            Some(before) => drop(state.severed.remove(&before.id)),
            None => counts.identified(kind),
        }
        drop(guard);
        // It may be the first session that can receive what is in the queue.
        inner.registry.inner.delivery_queue.announce();
    }

    fn with_identity<T>(&self, act: impl FnOnce(&mut ApplicationSubscribers, SessionId, u64) -> T) -> Option<T> {
        let state = &mut *self.shard.inner.state.borrow_mut();
        let identity = state.sessions.get(self.index)?.as_ref()?.identity.as_ref()?;
        let subscribers = state.subscribers.entry(Arc::clone(&identity.application)).or_default();
        Some(act(subscribers, identity.id, identity.fencing_token))
    }
}

impl Drop for SessionHandle {
    fn drop(&mut self) {
        let inner = &self.shard.inner;
        let session = {
            let mut state = inner.state.borrow_mut();
            state.free.push(self.index);
            state.sessions[self.index].take()
        };
        let identity = session.and_then(|session| session.identity);
        inner
            .registry
            .counts()
            .closed(identity.as_ref().map(|identity| identity.kind));
        let Some(Identity {
            application,
            id,
            kind,
            fencing_token,
            ..
        }) = identity
        else {
            return;
        };
        let unanswered = {
            let mut state = inner.state.borrow_mut();
            let subscribers = state.subscribers.entry(Arc::clone(&application)).or_default();
            match kind {
                SessionKind::V1(_) => {
                    subscribers.v1.remove(id);
                    subscribers.scopes.remove(id);
                    subscribers.receipts.end(id)
                }
                // Whether the session stays resumable is decided elsewhere.
                SessionKind::Discord => {
                    subscribers.unsubscribe(id, fencing_token);
                    state.severed.remove(&id);
                    return;
                }
            }
        };
        for request in unanswered {
            let gone = Err(ReplyFailure::Gone);
            inner
                .backplane
                .reply(request.reply_to, request.receipt, gone, request.until);
        }
        inner.backplane.leave(&application, id);
        // From here on nothing is addressed to it, and everything that already is comes before the end of the queue.
        let end = inner.registry.inner.delivery_queue.end();
        let mut state = inner.state.borrow_mut();
        state.severed.remove(&id);
        if end > state.delivered {
            state.departed.push((id, end));
            // It may have been the last session that could receive what is in the queue.
            inner.registry.inner.delivery_queue.announce();
        }
    }
}
