//! Session counts of the node, readable from any thread.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use serde::Serialize;
use shared::{
    client_type::{ClientType, ClientTypes},
    v1::payload::GuildCount,
};

use super::SessionKind;
use crate::backplane::{Audience, Entry};

/// The live counters, which the shards update.
#[derive(Debug, Default)]
pub struct SessionCounts {
    open: AtomicUsize,
    identified: [AtomicUsize; ClientType::ALL.len()],
    discord: AtomicUsize,
}

/// A snapshot of the counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CountsSnapshot {
    /// Sessions that have identified as bots.
    pub bot: usize,
    /// Sessions that have identified as websites.
    pub website: usize,
    /// Sessions that have identified as services.
    pub service: usize,
    /// Discord sessions.
    pub discord: usize,
    /// Sessions that have not identified.
    pub unidentified: usize,
}

impl CountsSnapshot {
    /// Returns the counts with the names that metrics use.
    pub const fn by_kind(self) -> [(&'static str, usize); 5] {
        [
            ("bot", self.bot),
            ("website", self.website),
            ("service", self.service),
            ("discord", self.discord),
            ("none", self.unidentified),
        ]
    }
}

impl SessionCounts {
    /// Returns a snapshot of the counts.
    pub fn snapshot(&self) -> CountsSnapshot {
        let of = |kind: ClientType| self.identified[kind as usize].load(Relaxed);
        let (bot, website, service) = (of(ClientType::Bot), of(ClientType::Website), of(ClientType::Service));
        let discord = self.discord.load(Relaxed);
        // Read last. If a session closes meanwhile, this can briefly be below the sum of the others.
        let open = self.open.load(Relaxed);
        CountsSnapshot {
            bot,
            website,
            service,
            discord,
            unidentified: open.saturating_sub(bot + website + service + discord),
        }
    }

    /// Returns the number of sessions, identified or not.
    pub fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// Returns whether the node has a session of a type that can receive an entry, so that the shards have to look at it
    /// now. `is_skipped` says that its v1 sessions must not receive it.
    pub(super) fn can_receive(&self, entry: &Entry, is_skipped: bool) -> bool {
        let is_here = |kind: ClientType| self.identified[kind as usize].load(Relaxed) > 0;
        let is_any_of = |types: ClientTypes| {
            ClientType::ALL
                .into_iter()
                .any(|kind| types.contains(kind) && is_here(kind))
        };
        if entry.discord.is_some() && self.discord.load(Relaxed) > 0 {
            return true;
        }
        !is_skipped
            && match &entry.audience {
                // Sessions of every type can ask for the guild counts.
                Audience::Types(types) => {
                    is_any_of(*types) || (&*entry.name == GuildCount::NAME && ClientType::ALL.into_iter().any(is_here))
                }
                Audience::Reporters { of, .. } | Audience::User { of, .. } => is_any_of(*of),
                // If the session is not there any more, the shards say so.
                Audience::One { .. } | Audience::Job(_) | Audience::Request { .. } => true,
            }
    }

    pub(super) fn opened(&self) {
        self.open.fetch_add(1, Relaxed);
    }

    pub(super) fn identified(&self, kind: SessionKind) {
        self.of(kind).fetch_add(1, Relaxed);
    }

    pub(super) fn closed(&self, kind: Option<SessionKind>) {
        if let Some(kind) = kind {
            self.of(kind).fetch_sub(1, Relaxed);
        }
        self.open.fetch_sub(1, Relaxed);
    }

    const fn of(&self, kind: SessionKind) -> &AtomicUsize {
        match kind {
            SessionKind::V1(kind) => &self.identified[kind as usize],
            SessionKind::Discord => &self.discord,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use shared::{
        discord::{Header, Target},
        guild::GuildId,
        session_id::SessionId,
    };
    use smallvec::smallvec;

    use super::*;

    fn entry(name: &str, audience: Audience) -> Entry {
        Entry {
            name: name.into(),
            ..Entry::example(audience)
        }
    }

    #[test]
    fn an_entry_can_be_received_if_a_session_of_its_types_is_here() {
        let counts = SessionCounts::default();
        let of = ClientTypes::from(ClientType::Bot);
        let guild = GuildId::from_digits("1").expect("a guild");
        let reporters = Audience::Reporters {
            guild,
            sessions: smallvec![SessionId::from_raw(1)],
            are_watchers_included: true,
            of,
        };
        let entries = [Audience::Types(of), reporters].map(|audience| entry("X", audience));
        let for_websites = entry("X", Audience::Types(ClientType::Website.into()));
        let global_counts = entry(GuildCount::NAME, Audience::Types(of));
        assert!(!entries.iter().any(|entry| counts.can_receive(entry, false)));
        counts.opened();
        counts.identified(SessionKind::V1(ClientType::Website));
        assert!(!entries.iter().any(|entry| counts.can_receive(entry, false)));
        assert!(counts.can_receive(&for_websites, false));
        assert!(counts.can_receive(&global_counts, false));
        counts.identified(SessionKind::V1(ClientType::Bot));
        assert!(entries.iter().all(|entry| counts.can_receive(entry, false)));
        assert!(!entries.iter().any(|entry| counts.can_receive(entry, true)));
    }

    #[test]
    fn a_discord_event_can_be_received_if_a_discord_session_is_here() {
        let counts = SessionCounts::default();
        let mut event = entry("X", Audience::Types(ClientTypes::NONE));
        event.discord = Some(Arc::new(Header::of("X", "{}", Target::All, None)));
        assert!(!counts.can_receive(&event, false));
        counts.identified(SessionKind::Discord);
        assert!(counts.can_receive(&event, false) && counts.can_receive(&event, true));
    }

    #[test]
    fn an_event_for_one_session_is_looked_at_in_any_case() {
        let counts = SessionCounts::default();
        let for_one = Audience::One {
            session: SessionId::from_raw(1),
            of: ClientType::Bot.into(),
        };
        assert!(counts.can_receive(&entry("X", for_one), false));
    }
}
