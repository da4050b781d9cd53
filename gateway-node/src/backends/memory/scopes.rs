//! How many sessions of an application watch each guild, belong to each user, and have a ticket.

use std::hash::Hash;

use rustc_hash::FxHashMap;
use shared::{
    client_type::{ClientType, ClientTypes},
    guild::GuildId,
    user::UserId,
};

/// What a watching session is counted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Watcher {
    /// Its client type.
    pub(super) kind: ClientType,
    /// Whether it has a ticket. Requests for a guild never go to it.
    pub(super) has_ticket: bool,
}

/// The number of sessions of each type.
type ByType = [usize; ClientType::ALL.len()];

/// The sessions that watch guilds or belong to users, counted by type.
#[derive(Debug, Default)]
pub(super) struct ScopeCounts {
    guilds: FxHashMap<GuildId, GuildWatchers>,
    users: FxHashMap<UserId, ByType>,
    /// Sessions that have a ticket.
    tickets: ByType,
}

/// The sessions that watch one guild.
#[derive(Debug, Default, PartialEq, Eq)]
struct GuildWatchers {
    with_key: ByType,
    with_ticket: ByType,
}

impl GuildWatchers {
    const fn count(&mut self, watcher: Watcher) -> &mut usize {
        let counts = if watcher.has_ticket {
            &mut self.with_ticket
        } else {
            &mut self.with_key
        };
        &mut counts[watcher.kind as usize]
    }
}

impl ScopeCounts {
    /// Counts a session that watches a guild.
    pub(super) fn watch(&mut self, guild: GuildId, watcher: Watcher) {
        *self.guilds.entry(guild).or_default().count(watcher) += 1;
    }

    /// Takes back one [`watch`](Self::watch).
    pub(super) fn unwatch(&mut self, guild: GuildId, watcher: Watcher) {
        if let Some(watchers) = self.guilds.get_mut(&guild) {
            *watchers.count(watcher) -= 1;
            if *watchers == GuildWatchers::default() {
                self.guilds.remove(&guild);
            }
        }
    }

    /// Returns how many sessions of these types, without a ticket, watch a guild.
    pub(super) fn watchers(&self, guild: GuildId, kinds: ClientTypes) -> usize {
        let counts = self.guilds.get(&guild).map(|watchers| watchers.with_key);
        let counts = counts.unwrap_or_default();
        ClientType::ALL
            .into_iter()
            .filter(|kind| kinds.contains(*kind))
            .map(|kind| counts[kind as usize])
            .sum()
    }

    /// Counts a session that has a ticket, which may name a user.
    pub(super) fn enter(&mut self, user: Option<&UserId>, kind: ClientType) {
        self.tickets[kind as usize] += 1;
        if let Some(user) = user {
            self.users.entry(user.clone()).or_default()[kind as usize] += 1;
        }
    }

    /// Takes back one [`enter`](Self::enter).
    pub(super) fn leave(&mut self, user: Option<&UserId>, kind: ClientType) {
        self.tickets[kind as usize] -= 1;
        if let Some(user) = user {
            take(&mut self.users, user, kind);
        }
    }

    /// Whether there is a session of these types with a ticket, besides one of the type `but`.
    pub(super) fn has_ticket(&self, kinds: ClientTypes, but: Option<ClientType>) -> bool {
        has_any(&self.tickets, kinds, but)
    }

    /// Whether a session of these types watches the guild, besides `but`.
    pub(super) fn is_watched(&self, guild: GuildId, kinds: ClientTypes, but: Option<Watcher>) -> bool {
        let but_of = |has_ticket| but.filter(|but| but.has_ticket == has_ticket).map(|but| but.kind);
        self.guilds.get(&guild).is_some_and(|watchers| {
            has_any(&watchers.with_key, kinds, but_of(false)) || has_any(&watchers.with_ticket, kinds, but_of(true))
        })
    }

    /// Whether the user has a session of these types, besides one of the type `but`.
    pub(super) fn has_session_of(&self, user: &UserId, kinds: ClientTypes, but: Option<ClientType>) -> bool {
        self.users.get(user).is_some_and(|counts| has_any(counts, kinds, but))
    }
}

fn has_any(counts: &ByType, kinds: ClientTypes, but: Option<ClientType>) -> bool {
    let others = |kind: ClientType| counts[kind as usize] - usize::from(but == Some(kind));
    ClientType::ALL
        .into_iter()
        .any(|kind| kinds.contains(kind) && others(kind) > 0)
}

fn take<K: Eq + Hash>(counts: &mut FxHashMap<K, ByType>, key: &K, kind: ClientType) {
    if let Some(count) = counts.get_mut(key) {
        count[kind as usize] -= 1;
        if *count == ByType::default() {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_session_can_be_left_out() {
        let (mut counts, guild) = (ScopeCounts::default(), GuildId::from_raw(1));
        let watcher = |kind, has_ticket| Watcher { kind, has_ticket };
        let (website, service) = (ClientType::Website, ClientType::Service);
        let (page, backend) = (watcher(website, true), watcher(service, false));
        counts.watch(guild, page);
        assert!(counts.is_watched(guild, website.into(), None));
        assert!(!counts.is_watched(guild, website.into(), Some(page)));
        assert!(!counts.is_watched(guild, service.into(), None));
        assert_eq!(counts.watchers(guild, ClientTypes::ALL), 0, "it has a ticket");
        counts.watch(guild, backend);
        assert!(counts.is_watched(guild, ClientTypes::ALL, Some(page)));
        assert_eq!(counts.watchers(guild, ClientTypes::ALL), 1);
        assert_eq!(counts.watchers(guild, website.into()), 0);
        counts.unwatch(guild, page);
        counts.unwatch(guild, backend);
        assert!(counts.guilds.is_empty());
    }
}
