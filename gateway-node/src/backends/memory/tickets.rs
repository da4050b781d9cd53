//! The tickets of a single node.

use std::{collections::VecDeque, future::ready, sync::Arc};

use parking_lot::{Mutex, MutexGuard};
use rustc_hash::FxHashMap;
use shared::{key::SecretHash, user::UserId};
use tokio::{sync::watch, time::Instant};

use crate::backplane::{IssueError, NewTicket, Pending, Revocations, Ticket, TicketLimits, Tickets, Unavailable};

/// Tickets in memory. They are lost when the node stops.
pub struct MemoryTickets {
    limits: TicketLimits,
    /// The beginning of this store's clock.
    origin: Instant,
    state: Mutex<TicketsState>,
    revocations: watch::Sender<Revocations>,
}

#[derive(Default)]
struct TicketsState {
    unused: FxHashMap<String, StoredTicket>,
    /// How many of them each application has.
    counts: FxHashMap<Arc<str>, usize>,
    /// The ids in the order in which they were issued, with taken ones.
    issued: VecDeque<(Instant, String)>,
}

struct StoredTicket {
    ticket: NewTicket,
    issued_at: u64,
    until: Instant,
}

impl MemoryTickets {
    /// Creates an empty store.
    pub fn new(limits: TicketLimits) -> Self {
        Self {
            limits,
            origin: Instant::now(),
            state: Mutex::default(),
            revocations: watch::Sender::new(Revocations::default()),
        }
    }

    /// Returns the time of the store's clock in milliseconds.
    fn now_ms(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Locks the state, without the tickets that have expired.
    fn lock(&self) -> MutexGuard<'_, TicketsState> {
        let mut state = self.state.lock();
        state.expire(Instant::now());
        state
    }

    fn issue_now(&self, ticket: NewTicket) -> Result<(), IssueError> {
        let now = Instant::now();
        let mut state = self.lock();
        let application = &ticket.record.application;
        if state.count(application) >= self.limits.unused {
            // Those that expired behind longer ones are still there.
            let oldest = state.expire_all(application, now);
            if state.count(application) >= self.limits.unused {
                return Err(IssueError::Full {
                    retry_after: oldest.unwrap_or(now).saturating_duration_since(now),
                });
            }
        }
        *state.counts.entry(Arc::clone(application)).or_default() += 1;
        let until = now + ticket.ttl;
        state.issued.push_back((until, ticket.id.clone()));
        let stored = StoredTicket {
            issued_at: self.now_ms(),
            until,
            ticket,
        };
        state.unused.insert(stored.ticket.id.clone(), stored);
        Ok(())
    }

    fn take_now(&self, id: &str, hash: SecretHash) -> Option<Ticket> {
        let mut state = self.lock();
        let stored = state.unused.get(id)?;
        if stored.ticket.hash != hash || stored.until <= Instant::now() {
            return None;
        }
        let StoredTicket { ticket, issued_at, .. } = state.remove(id)?;
        let record = ticket.record;
        if let Some(user) = &record.rights.user {
            let revoked_at = self
                .revocations
                .borrow()
                .get(&(Arc::clone(&record.issuer), user.clone()))
                .copied();
            if revoked_at.is_some_and(|revoked_at| issued_at <= revoked_at) {
                return None;
            }
        }
        Some(Ticket { record, issued_at })
    }

    fn revoke_now(&self, issuer: &Arc<str>, user: &UserId) -> bool {
        let (now, kept) = (self.now_ms(), self.limits.revocations_kept.as_millis());
        self.revocations.send_if_modified(|revocations| {
            let mut fresh = (**revocations).clone();
            fresh.retain(|_, revoked_at| u128::from(now.saturating_sub(*revoked_at)) <= kept);
            let field = (Arc::clone(issuer), user.clone());
            let has_room = fresh.len() < self.limits.unused || fresh.contains_key(&field);
            if has_room {
                fresh.insert(field, now);
                *revocations = Arc::new(fresh);
            }
            has_room
        })
    }
}

impl TicketsState {
    fn count(&self, application: &Arc<str>) -> usize {
        self.counts.get(application).copied().unwrap_or_default()
    }

    /// Removes every ticket of an application that has expired. Returns when the next one does.
    fn expire_all(&mut self, application: &Arc<str>, now: Instant) -> Option<Instant> {
        let is_theirs = |stored: &StoredTicket| stored.ticket.record.application == *application;
        let before = self.unused.len();
        self.unused.retain(|_, stored| !is_theirs(stored) || stored.until > now);
        if let Some(count) = self.counts.get_mut(application) {
            *count -= before - self.unused.len();
        }
        self.unused
            .values()
            .filter(|stored| is_theirs(stored))
            .map(|stored| stored.until)
            .min()
    }

    /// Removes the tickets that have expired, but for those that were issued after a longer one.
    fn expire(&mut self, now: Instant) {
        while self.issued.front().is_some_and(|(until, _)| *until <= now) {
            if let Some((_, id)) = self.issued.pop_front() {
                self.remove(&id);
            }
        }
    }

    fn remove(&mut self, id: &str) -> Option<StoredTicket> {
        let stored = self.unused.remove(id)?;
        let application = &stored.ticket.record.application;
        if let Some(count) = self.counts.get_mut(application) {
            *count -= 1;
        }
        Some(stored)
    }
}

impl Tickets for MemoryTickets {
    fn issue(&self, ticket: NewTicket) -> Pending<(), IssueError> {
        Box::pin(ready(self.issue_now(ticket)))
    }

    fn take(&self, id: &str, hash: SecretHash) -> Pending<Option<Ticket>, Unavailable> {
        Box::pin(ready(Ok(self.take_now(id, hash))))
    }

    fn revoke(&self, issuer: &Arc<str>, user: &UserId) -> Pending<bool, Unavailable> {
        Box::pin(ready(Ok(self.revoke_now(issuer, user))))
    }

    fn revocations(&self) -> watch::Receiver<Revocations> {
        self.revocations.subscribe()
    }
}
