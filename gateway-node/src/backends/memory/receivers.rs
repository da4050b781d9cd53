//! Chooses the receivers of events.

use shared::{client_type::ClientTypes, guild::GuildId, routing::Delivery, session_id::SessionId, user::UserId};
use smallvec::SmallVec;

use super::application::{MemberState, MemoryApplication};
use crate::backplane::{Audience, Entry, Publication, Request, RequestTarget};

impl MemoryApplication {
    /// Chooses the session that gets a request. Returns `None` if there is none.
    fn request_audience(&mut self, event: &Publication, request: &Request) -> Option<Audience> {
        let target = match &event.delivery {
            Delivery::All => return None,
            Delivery::Any => RequestTarget::Session(self.rotation.next(event.receivers, event.author)?),
            Delivery::User(user) => {
                let is_there = self.has_session_of(user, event);
                is_there.then(|| RequestTarget::User(user.clone()))?
            }
            Delivery::Guild(guild) => {
                let reporters = self.reporters.get(guild).into_iter().flatten().copied();
                let bots: SmallVec<[_; 2]> = reporters
                    .filter(|id| Some(*id) != event.author && self.is_any_of(*id, event.receivers))
                    .collect();
                let watchers = self.scopes.watchers(*guild, event.receivers) - self.own_watch(*guild, event);
                if bots.is_empty() && watchers == 0 {
                    return None;
                }
                // Multiples of the golden ratio are spread evenly, whichever requests go elsewhere.
                let spread = self.requests_given.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let chosen = (u128::from(spread) * (bots.len() + watchers) as u128) >> 64;
                if chosen < bots.len() as u128 {
                    let last_request = |id: &SessionId| self.members.get(id).map_or(0, |member| member.last_request);
                    RequestTarget::Session(bots.into_iter().min_by_key(last_request)?)
                } else {
                    RequestTarget::Watcher(*guild)
                }
            }
        };
        self.requests_given += 1;
        if let RequestTarget::Session(id) = &target
            && let Some(member) = self.members.get_mut(id)
        {
            member.last_request = self.requests_given;
        }
        Some(Audience::Request {
            target,
            of: event.receivers,
            request: Box::new(request.clone()),
        })
    }

    /// Returns 1 if the author is one of the sessions without a ticket that watch the guild and may receive the event.
    fn own_watch(&self, guild: GuildId, event: &Publication) -> usize {
        let author = event.author.and_then(|id| self.members.get(&id));
        let author = author.filter(|author| author.ticket.is_none() && event.receivers.contains(author.kind));
        usize::from(author.is_some_and(|author| author.watches(guild)))
    }

    /// Chooses the receivers of an event. Returns `None` if it is for one session or for a guild, and has no receiver.
    pub(super) fn audience(&mut self, event: &Publication) -> Option<Audience> {
        if let Some(request) = &event.request {
            return self.request_audience(event, request);
        }
        match &event.delivery {
            Delivery::User(user) => Some(Audience::User {
                user: user.clone(),
                of: event.receivers,
            }),
            Delivery::All => Some(Audience::Types(event.receivers)),
            Delivery::Any => {
                let session = self.rotation.next(event.receivers, event.author)?;
                Some(Audience::One {
                    session,
                    of: event.receivers,
                })
            }
            Delivery::Guild(guild) => {
                let guild = *guild;
                let reporters = self.reporters.get(&guild).into_iter().flatten();
                let receivers: SmallVec<_> = reporters
                    .copied()
                    .filter(|id| Some(*id) != event.author && self.is_any_of(*id, event.receivers))
                    .collect();
                (!receivers.is_empty() || self.is_watched(guild, event)).then_some(Audience::Reporters {
                    guild,
                    sessions: receivers,
                    are_watchers_included: true,
                    of: event.receivers,
                })
            }
        }
    }

    /// Whether a session other than the author has a ticket and may receive the broadcast.
    pub(super) fn has_ticket(&self, event: &Publication) -> bool {
        let author = event.author.and_then(|id| self.members.get(&id));
        let author = author.filter(|author| author.ticket.is_some());
        self.scopes
            .has_ticket(event.receivers, author.map(|author| author.kind))
    }

    /// Whether the user has a session other than the author that may receive the event.
    pub(super) fn has_session_of(&self, user: &UserId, event: &Publication) -> bool {
        let author = event.author.and_then(|id| self.members.get(&id));
        let author = author.filter(|author| {
            author
                .ticket
                .as_ref()
                .is_some_and(|ticket| ticket.user.as_ref() == Some(user))
        });
        self.scopes
            .has_session_of(user, event.receivers, author.map(|author| author.kind))
    }

    /// Whether a session other than the author watches the guild and may receive the event.
    fn is_watched(&self, guild: GuildId, event: &Publication) -> bool {
        let author = event.author.and_then(|id| self.members.get(&id));
        let author = author.filter(|author| author.watches(guild));
        self.scopes
            .is_watched(guild, event.receivers, author.map(MemberState::watcher))
    }

    /// Whether no session receives an entry, nor will one later.
    pub(super) fn is_unheard(&self, entry: &Entry) -> bool {
        let has_no_receiver = match &entry.audience {
            // An event that waits has no types.
            Audience::Types(kinds) => {
                let is_for_tickets = entry.to_tickets && self.scopes.has_ticket(*kinds, None);
                *kinds != ClientTypes::NONE && self.rotation.count(*kinds) == 0 && !is_for_tickets
            }
            Audience::Reporters { guild, sessions, .. } => {
                sessions.is_empty() && !self.scopes.is_watched(*guild, ClientTypes::ALL, None)
            }
            Audience::User { user, .. } => !self.scopes.has_session_of(user, ClientTypes::ALL, None),
            Audience::One { .. } | Audience::Request { .. } | Audience::Job(_) => false,
        };
        entry.discord.is_none() && has_no_receiver
    }

    fn is_any_of(&self, id: SessionId, kinds: ClientTypes) -> bool {
        self.members.get(&id).is_some_and(|member| kinds.contains(member.kind))
    }
}
