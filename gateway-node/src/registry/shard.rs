//! One worker's part of the registry: its sessions, and delivery to them.

use std::{cell::RefCell, hash::Hash, rc::Rc, sync::Arc, time::SystemTime};

use actix::{Actor, Recipient};
use rustc_hash::{FxHashMap, FxHashSet};
use shared::session_id::SessionId;
use tokio::time::Instant;

use super::{EndReason, Registry, SessionCommand, SessionHandle, SessionKind, SessionMessage, actor::ShardActor};
use crate::{
    auth::{Key, Keyring, SessionTicket},
    backplane::{Audience, Backplane, Entry},
    encode::encoded_event::EncodedEvent,
    fanout::{
        discord_batch::DiscordBatch,
        group_batch::GroupBatch,
        member::{ApplicationSubscribers, DiscordGroupKey, DiscordMember, V1Member},
        scopes::Scopes,
        subscriber_groups::{GroupMember, GroupRange, SubscriberGroups},
        v1_batch::V1Batch,
    },
    metrics::WorkerMetrics,
    transport::count_direct_writes,
};

/// How many sessions are given an event before the worker yields to their sockets and its other tasks.
const CHUNK: usize = 256;

/// One worker's part of the registry. Clones share it and never leave its thread.
#[derive(Clone)]
pub struct RegistryShard {
    pub(super) inner: Rc<ShardInner>,
}

pub(super) struct ShardInner {
    pub(super) index: usize,
    pub(super) registry: Registry,
    pub(super) backplane: Arc<dyn Backplane>,
    pub(super) keyring: Keyring,
    pub(super) metrics: Arc<WorkerMetrics>,
    pub(super) state: RefCell<ShardState>,
}

impl ShardInner {
    /// Counts deliveries, and what was written for them.
    pub(super) fn count(&self, deliveries: u64) {
        self.metrics.deliveries.add(deliveries);
        count_direct_writes(&self.metrics);
    }
}

/// Writes a log line for an entry of a trace that this worker has delivered, together with others or alone. `deliveries`
/// counts all of them.
fn log_delivered(entry: &Entry, entries: usize, deliveries: u64) {
    if let Some(trace) = &entry.trace {
        log::debug!(
            event:% = entry.name, application:% = entry.application, position:% = entry.position, entries, deliveries,
            traceparent:% = trace;
            "event delivered"
        );
    }
}

#[derive(Default)]
pub(super) struct ShardState {
    /// Every session on this worker, identified or not, by its index.
    pub(super) sessions: Vec<Option<SessionEntry>>,
    pub(super) free: Vec<usize>,
    pub(super) subscribers: FxHashMap<Arc<str>, ApplicationSubscribers>,
    /// Sessions that ended, each with the end of the queue at that time. An entry before it that is for such a session
    /// alone needs another receiver.
    pub(super) departed: Vec<(SessionId, u64)>,
    /// Sessions that receive nothing more but have not left yet. An entry for such a session alone needs another
    /// receiver.
    pub(super) severed: FxHashSet<SessionId>,
    /// All queue items before this number have been delivered here.
    pub(super) delivered: u64,
    /// Set once all sessions have been told to leave. Sessions that open afterwards are told immediately.
    pub(super) end_reason: Option<EndReason>,
}

impl ShardState {
    /// Returns whether the session was on this shard but receives nothing any more.
    fn has_lost(&self, id: SessionId) -> bool {
        self.severed.contains(&id) || self.departed.iter().any(|(departed, _)| *departed == id)
    }
}

pub(super) struct SessionEntry {
    pub(super) commands: Recipient<SessionMessage>,
    pub(super) identity: Option<Identity>,
}

pub(super) struct Identity {
    pub(super) application: Arc<str>,
    pub(super) id: SessionId,
    pub(super) kind: SessionKind,
    /// The fencing token of the session's owner; 0 for v1 sessions, which only ever have one owner.
    pub(super) fencing_token: u64,
    pub(super) key: Arc<Key>,
    /// The ticket of a session that identified with one. `key` is the one that issued it.
    pub(super) ticket: Option<Arc<SessionTicket>>,
}

impl RegistryShard {
    /// Starts the shard of worker `index`.
    pub fn start(index: usize, registry: Registry, backplane: Arc<dyn Backplane>, keyring: Keyring) -> Self {
        let inner = ShardInner {
            index,
            metrics: registry.inner.metrics.worker(),
            registry,
            backplane,
            keyring,
            state: RefCell::default(),
        };
        let shard = Self { inner: Rc::new(inner) };
        let actor = ShardActor::new(shard.clone()).start();
        let mut shards = shard.inner.registry.inner.shards.lock();
        shards.insert(index, actor);
        drop(shards);
        shard
    }

    /// Registers a session that has just opened. `orders` receives its commands.
    pub fn open(&self, commands: Recipient<SessionMessage>) -> SessionHandle {
        let mut state = self.inner.state.borrow_mut();
        if let Some(end_reason) = state.end_reason {
            // A new session's mailbox is empty.
            let _ = commands.try_send(SessionMessage::Command(SessionCommand::Leave(end_reason)));
        }
        let session = Some(SessionEntry {
            commands,
            identity: None,
        });
        let index = if let Some(index) = state.free.pop() {
            state.sessions[index] = session;
            index
        } else {
            state.sessions.push(session);
            state.sessions.len() - 1
        };
        self.inner.registry.counts().opened();
        SessionHandle::new(self.clone(), index)
    }

    /// Delivers entries to the sessions that receive them, in order.
    pub(super) async fn deliver(&self, batch: &[Arc<EncodedEvent>]) {
        let mut rest = batch;
        while let Some(first) = rest.first() {
            let before = self.inner.metrics.deliveries.get();
            let together = rest.iter().take_while(|entry| entry.is_broadcast_with(first)).count();
            let (now, later) = rest.split_at(together.max(1));
            self.begin(now);
            if together == 0 {
                self.deliver_to_few(first);
                self.deliver_to_scope(first).await;
                self.look_for_receiver(first);
            } else {
                self.pass(
                    now,
                    |subscribers| &mut subscribers.v1,
                    |_, range| V1Batch::new(now, range.key),
                )
                .await;
            }
            if now.iter().any(|entry| entry.entry.discord.is_some()) {
                let encode = |groups: &SubscriberGroups<DiscordGroupKey, DiscordMember>, range| {
                    let GroupRange { key, end, .. } = range;
                    let is_here = |id| groups.get(id).is_some_and(|(of, _)| of == key);
                    DiscordBatch::new(now, key, end, is_here)
                };
                self.pass(now, |subscribers| &mut subscribers.discord, encode).await;
            }
            self.finish(now);
            let deliveries = self.inner.metrics.deliveries.get() - before;
            if deliveries > 0 {
                let end = Instant::now();
                for event in now {
                    let took = end.saturating_duration_since(event.entry.accepted);
                    self.inner.metrics.delivery.observe(took);
                    log_delivered(&event.entry, now.len(), deliveries);
                }
            }
            rest = later;
        }
    }

    /// Delivers entries in a single pass over groups of one application, so that they leave in one write per session.
    /// `groups` picks the groups of a protocol; `encode` makes what a group gets, or `None` if no entry is for it.
    async fn pass<K, M, B>(
        &self,
        entries: &[Arc<EncodedEvent>],
        groups: fn(&mut ApplicationSubscribers) -> &mut SubscriberGroups<K, M>,
        encode: impl Fn(&SubscriberGroups<K, M>, GroupRange<K>) -> Option<B>,
    ) where
        K: Copy + Eq + Hash,
        M: GroupMember,
        B: GroupBatch<Member = M>,
    {
        let ranges = self.with_groups(&entries[0], groups, SubscriberGroups::begin_pass);
        for range in ranges {
            let Some(batch) = self.with_groups(&entries[0], groups, |groups| encode(groups, range)) else {
                continue;
            };
            if let Some(only) = batch.only() {
                let deliveries = self.with_groups(&entries[0], groups, |groups| {
                    let now = Instant::now();
                    let members = only.iter().filter_map(|id| groups.get(*id));
                    members.map(|(_, member)| batch.deliver_to(member, now)).sum()
                });
                self.inner.count(deliveries);
                continue;
            }
            let GroupRange { group, end, .. } = range;
            for from in (0..end).step_by(CHUNK) {
                let deliveries = self.with_groups(&entries[0], groups, |groups| {
                    let now = Instant::now();
                    let members = groups.chunk(group, from, end.min(from + CHUNK));
                    members.map(|member| batch.deliver_to(member, now)).sum()
                });
                self.inner.count(deliveries);
                tokio::task::yield_now().await;
            }
        }
        self.with_groups(&entries[0], groups, SubscriberGroups::end_pass);
    }

    fn with_groups<K, M, T: Default>(
        &self,
        entry: &EncodedEvent,
        groups: fn(&mut ApplicationSubscribers) -> &mut SubscriberGroups<K, M>,
        act: impl FnOnce(&mut SubscriberGroups<K, M>) -> T,
    ) -> T {
        self.with_subscribers(entry, |subscribers| act(groups(subscribers)))
    }

    /// Records that delivery of these entries has begun. This is recorded even without sessions, because a session that
    /// subscribes later compares its cursor with it.
    fn begin(&self, entries: &[Arc<EncodedEvent>]) {
        let Some(last) = entries.last() else { return };
        let mut state = self.inner.state.borrow_mut();
        let application = &last.entry.application;
        match state.subscribers.get_mut(application) {
            Some(subscribers) => {
                subscribers.started = last.number;
                subscribers.scopes.reach(last.entry.position);
            }
            None => state.subscribers.entry(Arc::clone(application)).or_default().started = last.number,
        }
    }

    /// Records that these entries have been delivered to all sessions that receive them.
    fn finish(&self, entries: &[Arc<EncodedEvent>]) {
        if let Some(last) = entries.last() {
            self.with_subscribers(last, |subscribers| subscribers.finish(last.cursor()));
        }
    }

    /// Calls `act` with the groups of an entry's application. Returns the default if the application has no session
    /// here.
    pub(super) fn with_subscribers<T: Default>(
        &self,
        entry: &EncodedEvent,
        act: impl FnOnce(&mut ApplicationSubscribers) -> T,
    ) -> T {
        let mut state = self.inner.state.borrow_mut();
        state
            .subscribers
            .get_mut(&entry.entry.application)
            .map(act)
            .unwrap_or_default()
    }

    fn deliver_to_few(&self, event: &EncodedEvent) {
        if event.is_skipped {
            return;
        }
        let now = Instant::now();
        let entry = &event.entry;
        let state = self.inner.state.borrow();
        let give_to = |id: SessionId| {
            let member = state
                .subscribers
                .get(&entry.application)
                .and_then(|subscribers| subscribers.v1.get(id));
            member.is_some_and(|(key, member)| member.deliver_to(event, key, now))
        };
        match &entry.audience {
            Audience::Types(_) | Audience::User { .. } | Audience::Request { .. } => {}
            // If the session ends before it has the job, the job goes to another worker.
            Audience::Job(job) => {
                self.inner.count(u64::from(give_to(job.session)));
            }
            Audience::Reporters { sessions, .. } => {
                let count = sessions.iter().filter(|id| give_to(**id)).count();
                self.inner.count(count as u64);
                if count > 0 {
                    self.inner.backplane.ack(entry);
                } else if sessions.iter().any(|id| state.has_lost(*id)) {
                    self.inner.backplane.redeliver(entry);
                }
            }
            Audience::One { session, .. } => {
                if give_to(*session) {
                    self.inner.count(1);
                    self.inner.backplane.ack(entry);
                } else if state.has_lost(*session) {
                    self.inner.backplane.redeliver(entry);
                }
            }
        }
    }

    /// Delivers an event of a guild to the sessions that watch it, or an event of a user to the user's sessions.
    async fn deliver_to_scope(&self, event: &EncodedEvent) {
        if event.is_skipped {
            return;
        }
        let (of, guild, user, listed) = match &event.entry.audience {
            Audience::Reporters {
                guild,
                sessions,
                are_watchers_included: true,
                of,
            } => (*of, Some(*guild), None, &sessions[..]),
            Audience::User { user, of } => (*of, None, Some(user), &[][..]),
            _ => return,
        };
        // A bot that has caught up watches its guilds until its report is applied.
        let is_listed = |member: &V1Member| !listed.is_empty() && listed.contains(&member.id);
        let deliver_to = |subscribers: &ApplicationSubscribers, ids: &[SessionId]| -> u64 {
            let now = Instant::now();
            let members = ids.iter().filter_map(|id| subscribers.v1.get(*id));
            let members = members.filter(|(key, member)| of.contains(key.kind) && !is_listed(member));
            members
                .map(|(key, member)| u64::from(member.deliver_addressed(event, key, now)))
                .sum()
        };
        // Sessions come and go while the worker yields between two chunks of a long list.
        let long_list = self.with_subscribers(event, |subscribers| {
            let scopes = &subscribers.scopes;
            let sessions = match (guild, user) {
                (Some(guild), _) => scopes.watchers(guild),
                (None, user) => user.map_or(&[][..], |user| scopes.sessions_of(user)),
            };
            if sessions.len() > CHUNK {
                return sessions.to_vec();
            }
            self.inner.count(deliver_to(subscribers, sessions));
            Vec::new()
        });
        for chunk in long_list.chunks(CHUNK) {
            self.inner
                .count(self.with_subscribers(event, |subscribers| deliver_to(subscribers, chunk)));
            tokio::task::yield_now().await;
        }
    }

    /// Stops all deliveries to the current sessions of an application. Entries that are for one of its v1 sessions
    /// alone go to other sessions. Returns the ids of the severed sessions.
    pub(super) fn sever(&self, application: &Arc<str>) -> FxHashSet<SessionId> {
        let (members, subscribers) = {
            let state = &mut *self.inner.state.borrow_mut();
            let Some(subscribers) = state.subscribers.get_mut(application) else {
                return FxHashSet::default();
            };
            let members: FxHashSet<_> = std::mem::take(&mut subscribers.v1).ids().collect();
            subscribers.scopes = Scopes::default();
            let subscribers: FxHashSet<_> = std::mem::take(&mut subscribers.discord).ids().collect();
            state.severed.extend(members.iter().chain(&subscribers));
            (members, subscribers)
        };
        for id in &members {
            self.inner.backplane.leave(application, *id);
        }
        members.into_iter().chain(subscribers).collect()
    }

    /// Forgets ended sessions once everything before their end has been delivered.
    pub(super) fn forget_departed(&self, delivered: u64) {
        let mut state = self.inner.state.borrow_mut();
        state.delivered = delivered;
        state.departed.retain(|(_, end)| *end > delivered);
    }

    /// Tells sessions to leave whose key is no longer valid.
    pub(super) fn recheck_keys(&self, now: SystemTime) {
        let state = self.inner.state.borrow();
        for session in state.sessions.iter().flatten() {
            let keyring = &self.inner.keyring;
            let is_good = |identity: &Identity| match &identity.ticket {
                Some(ticket) => keyring.is_ticket_good(ticket, now),
                None => keyring.is_good(&identity.key, identity.kind.of_key(), now),
            };
            if let Some(identity) = session.identity.as_ref().filter(|identity| !is_good(identity)) {
                let reason = if identity.key.has_expired(now) {
                    EndReason::KeyExpired
                } else {
                    EndReason::KeyRevoked
                };
                // A full mailbox already holds a command to leave.
                let leave = SessionMessage::Command(SessionCommand::Leave(reason));
                let _ = session.commands.try_send(leave);
            }
        }
    }
}
