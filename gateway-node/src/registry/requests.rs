//! Delivers requests: each to one session of the node.
//!
//! A request for a session goes to it on the shard that has it. For one of several sessions every shard says how many it
//! has, and the last one to say so chooses among all of them. If there is none, the requester is told at once.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use shared::{session_id::SessionId, v1::ReplyFailure};
use tokio::time::Instant;

use super::{RegistryShard, command::GiveRequest};
use crate::{
    backplane::{Audience, Request, RequestTarget},
    encode::encoded_event::{EncodedEvent, FoundReceivers},
    fanout::{
        member::{ApplicationSubscribers, V1GroupKey, V1Member},
        receipts::OpenRequest,
    },
};

impl RegistryShard {
    /// Looks for the receiver of an event that is a request.
    pub(super) fn look_for_receiver(&self, event: &Arc<EncodedEvent>) {
        let (Some(request), false) = (event.entry.request(), event.is_skipped) else {
            return;
        };
        let is_chosen = matches!(
            event.entry.audience,
            Audience::Request {
                target: RequestTarget::Session(_),
                ..
            }
        );
        let receivers = if is_chosen {
            usize::from(self.give(event, request, 0))
        } else {
            self.with_subscribers(event, |subscribers| candidates(subscribers, event).count())
        };
        let index = self.inner.index;
        let registry = &self.inner.registry.inner;
        let Some(found) = event.look(index, receivers, registry.delivery_queue.readers()) else {
            return;
        };
        match choose(&found, registry.requests_given.fetch_add(1, Relaxed)) {
            None => self.give_up(request),
            Some(_) if is_chosen => {}
            Some((shard, place)) if shard == index => self.give_request(event, place),
            Some((shard, place)) => {
                let actor = registry.shards.lock().get(&shard).cloned();
                let event = Arc::clone(event);
                if actor.is_none_or(|actor| actor.try_send(GiveRequest { event, place }).is_err()) {
                    self.give_up(request);
                }
            }
        }
    }

    /// Gives a request to the session at `place` among those that can have it, or to another one of this shard.
    pub(super) fn give_request(&self, event: &EncodedEvent, place: usize) {
        if let Some(request) = event.entry.request()
            && !self.give(event, request, place)
        {
            self.give_up(request);
        }
    }

    fn give(&self, event: &EncodedEvent, request: &Request, place: usize) -> bool {
        let now = Instant::now();
        let until = now + request.timeout;
        let is_given = self.with_subscribers(event, |subscribers| {
            let ids: Vec<_> = candidates(subscribers, event).map(|(_, member)| member.id).collect();
            let (before, rest) = ids.split_at(place % ids.len().max(1));
            let mut receivers = rest.iter().chain(before);
            receivers.any(|id| is_taken(subscribers, *id, event, request, now, until))
        });
        if is_given {
            self.inner.count(1);
        }
        is_given
    }

    /// Tells the requester that the session which was chosen has ended, or cannot take the request.
    fn give_up(&self, request: &Request) {
        let until = Instant::now() + request.timeout;
        let gone = Err(ReplyFailure::Gone);
        self.inner
            .backplane
            .reply(request.reply_to, request.receipt, gone, until);
    }
}

/// Returns the sessions of a shard that can have a request.
fn candidates<'a>(
    subscribers: &'a ApplicationSubscribers,
    event: &'a EncodedEvent,
) -> impl Iterator<Item = (V1GroupKey, &'a V1Member)> {
    let ApplicationSubscribers { v1, scopes, .. } = subscribers;
    let none: &[SessionId] = &[];
    let (ids, of, may_have_ticket) = match &event.entry.audience {
        Audience::Request { target, of, .. } => match target {
            RequestTarget::Session(session) => (std::slice::from_ref(session), Some(*of), false),
            RequestTarget::Watcher(guild) => (scopes.watchers(*guild), Some(*of), false),
            RequestTarget::User(user) => (scopes.sessions_of(user), Some(*of), true),
        },
        _ => (none, None, false),
    };
    let members = ids.iter().filter_map(|id| v1.get(*id));
    members.filter(move |(key, member)| {
        of.is_some_and(|of| of.contains(key.kind))
            && (may_have_ticket || !key.has_tickets)
            && event.entry.author != Some(member.id)
            && member.is_before(event.cursor())
    })
}

/// Gives a session a request, if it can take another one.
fn is_taken(
    subscribers: &mut ApplicationSubscribers,
    id: SessionId,
    event: &EncodedEvent,
    request: &Request,
    now: Instant,
    until: Instant,
) -> bool {
    let ApplicationSubscribers { v1, receipts, .. } = subscribers;
    let Some((key, member)) = v1.get(id) else { return false };
    if !receipts.has_room(id, now) || !member.deliver_request(event, key, now, until) {
        return false;
    }
    receipts.insert(OpenRequest {
        receipt: request.receipt,
        session: id,
        name: Arc::clone(&event.entry.name),
        reply_to: request.reply_to,
        until,
    });
    true
}

/// Chooses a shard and a place among its receivers, evenly over all receivers if `number` grows by one each time. Returns
/// `None` if there are none.
fn choose(found: &FoundReceivers, number: u64) -> Option<(usize, usize)> {
    let total: usize = found.iter().map(|(_, receivers)| receivers).sum();
    // Multiples of the golden ratio are spread evenly, whichever requests go elsewhere.
    let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut place = usize::try_from((u128::from(spread) * total as u128) >> 64).ok()?;
    for (shard, receivers) in found {
        if place < *receivers {
            return Some((*shard, place));
        }
        place -= receivers;
    }
    None
}

#[cfg(test)]
mod tests {
    use smallvec::smallvec;

    use super::*;

    #[test]
    fn every_receiver_of_every_shard_is_chosen_equally_often() {
        assert_eq!(choose(&FoundReceivers::new(), 7), None);
        let found: FoundReceivers = smallvec![(3, 1), (0, 4), (1, 2)];
        let mut counts = std::collections::BTreeMap::new();
        for number in 0..7000 {
            *counts.entry(choose(&found, number).unwrap()).or_insert(0) += 1;
        }
        let places: Vec<_> = counts.keys().copied().collect();
        assert_eq!(places, [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (3, 0)]);
        assert!(counts.values().all(|count| (990..=1010).contains(count)), "{counts:?}");
    }
}
