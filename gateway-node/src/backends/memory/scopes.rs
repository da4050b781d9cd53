//! How many sessions of an application watch each guild, belong to each user, and have a ticket.

use std::hash::Hash;

use rustc_hash::FxHashMap;
use shared::{
    client_type::{ClientType, ClientTypes},
    guild::GuildId,
    user::UserId,
};

/// The number of sessions of each type.
type ByType = [usize; ClientType::ALL.len()];

/// The sessions that watch guilds or belong to users, counted by type.
#[derive(Debug, Default)]
pub(super) struct ScopeCounts {
    guilds: FxHashMap<GuildId, ByType>,
    users: FxHashMap<UserId, ByType>,
    /// Sessions that have a ticket.
    tickets: ByType,
}

impl ScopeCounts {
    /// Counts a session that watches a guild.
    pub(super) fn watch(&mut self, guild: GuildId, kind: ClientType) {
        self.guilds.entry(guild).or_default()[kind as usize] += 1;
    }

    /// Takes back one [`watch`](Self::watch).
    pub(super) fn unwatch(&mut self, guild: GuildId, kind: ClientType) {
        take(&mut self.guilds, &guild, kind);
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

    /// Whether a session of these types watches the guild, besides one of the type `but`.
    pub(super) fn is_watched(&self, guild: GuildId, kinds: ClientTypes, but: Option<ClientType>) -> bool {
        self.guilds
            .get(&guild)
            .is_some_and(|counts| has_any(counts, kinds, but))
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
        let (website, service) = (ClientType::Website, ClientType::Service);
        counts.watch(guild, website);
        assert!(counts.is_watched(guild, website.into(), None));
        assert!(!counts.is_watched(guild, website.into(), Some(website)));
        assert!(!counts.is_watched(guild, service.into(), None));
        counts.watch(guild, service);
        assert!(counts.is_watched(guild, ClientTypes::ALL, Some(website)));
        counts.unwatch(guild, website);
        counts.unwatch(guild, service);
        assert!(counts.guilds.is_empty());
    }
}
