//! Which v1 sessions of an application watch which guilds or belong to which users, on one worker.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;
use shared::{guild::GuildId, session_id::SessionId, user::UserId};

use crate::backplane::Position;

/// The watched guilds of an application's sessions on one worker, found by guild and by session.
///
/// A change takes effect at a position of the log: entries up to it go by the old list, entries after it by the new one.
/// A change whose position the worker has not reached yet waits.
#[derive(Debug, Default)]
pub(crate) struct Scopes {
    by_guild: FxHashMap<GuildId, Vec<SessionId>>,
    by_session: FxHashMap<SessionId, Vec<Watched>>,
    /// Changes that have not taken effect, in the order of their positions.
    waiting: VecDeque<ScopeChange>,
    by_user: FxHashMap<UserId, Vec<SessionId>>,
    users: FxHashMap<SessionId, UserId>,
}

/// A guild that a session watches.
#[derive(Debug, Clone, Copy)]
struct Watched {
    guild: GuildId,
    /// The index of the session among those that watch the guild.
    index: usize,
}

#[derive(Debug)]
struct ScopeChange {
    at: Position,
    session: SessionId,
    guilds: Vec<GuildId>,
}

impl Scopes {
    /// Adds a session that watches these guilds, which must be ascending and without duplicates.
    pub(crate) fn add(&mut self, session: SessionId, guilds: Vec<GuildId>) {
        self.replace(session, guilds);
    }

    /// Replaces the guilds that a session watches, which must be ascending and without duplicates, from the entries after
    /// `at` on. `reached` is the last entry that the worker has delivered. Returns the position at which the change takes
    /// effect: `at` or a later one.
    pub(crate) fn watch(
        &mut self,
        session: SessionId,
        guilds: Vec<GuildId>,
        at: Position,
        reached: Option<Position>,
    ) -> Position {
        let passed = reached.filter(|reached| reached.epoch == at.epoch && reached.offset >= at.offset);
        match passed {
            Some(reached) if self.waiting.is_empty() => {
                self.replace(session, guilds);
                reached
            }
            _ => {
                let at = passed.unwrap_or(at);
                let is_later = |change: &ScopeChange| change.at.epoch == at.epoch && change.at.offset > at.offset;
                let later = self.waiting.iter().rev().take_while(|change| is_later(change)).count();
                let place = self.waiting.len() - later;
                self.waiting.insert(place, ScopeChange { at, session, guilds });
                at
            }
        }
    }

    /// Makes the changes take effect that come before the entry at this position.
    pub(crate) fn reach(&mut self, entry: Position) {
        while self.waiting.front().is_some_and(|change| entry.is_after(change.at)) {
            if let Some(change) = self.waiting.pop_front() {
                self.replace(change.session, change.guilds);
            }
        }
    }

    /// Adds a session of a user.
    pub(crate) fn add_user(&mut self, session: SessionId, user: UserId) {
        self.by_user.entry(user.clone()).or_default().push(session);
        self.users.insert(session, user);
    }

    /// Returns the sessions of a user.
    pub(crate) fn sessions_of(&self, user: &UserId) -> &[SessionId] {
        self.by_user.get(user).map_or(&[], Vec::as_slice)
    }

    /// Removes a session.
    pub(crate) fn remove(&mut self, session: SessionId) {
        if let Some(user) = self.users.remove(&session)
            && let Some(sessions) = self.by_user.get_mut(&user)
        {
            // A user has few sessions.
            sessions.retain(|known| *known != session);
            if sessions.is_empty() {
                self.by_user.remove(&user);
            }
        }
        if self.by_session.contains_key(&session) {
            self.replace(session, Vec::new());
        }
        self.waiting.retain(|change| change.session != session);
    }

    /// Returns the sessions that watch a guild.
    pub(crate) fn watchers(&self, guild: GuildId) -> &[SessionId] {
        self.by_guild.get(&guild).map_or(&[], Vec::as_slice)
    }

    fn replace(&mut self, session: SessionId, guilds: Vec<GuildId>) {
        for Watched { guild, index } in self.by_session.remove(&session).unwrap_or_default() {
            self.unlist(guild, index);
        }
        if guilds.is_empty() {
            return;
        }
        let watched = guilds.into_iter().map(|guild| {
            let sessions = self.by_guild.entry(guild).or_default();
            sessions.push(session);
            let index = sessions.len() - 1;
            Watched { guild, index }
        });
        let watched = watched.collect();
        self.by_session.insert(session, watched);
    }

    /// Removes the session at `index` from those that watch a guild. The last of them takes its index.
    fn unlist(&mut self, guild: GuildId, index: usize) {
        let Some(sessions) = self.by_guild.get_mut(&guild) else {
            return;
        };
        sessions.swap_remove(index);
        let moved = sessions.get(index).copied();
        if sessions.is_empty() {
            self.by_guild.remove(&guild);
        }
        let Some(watched) = moved.and_then(|moved| self.by_session.get_mut(&moved)) else {
            return;
        };
        if let Ok(place) = watched.binary_search_by_key(&guild, |watched| watched.guild) {
            watched[place].index = index;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::backplane::Epoch;

    fn at(offset: u64) -> Position {
        let epoch = Epoch::from_raw(1);
        Position { offset, epoch }
    }

    fn id(raw: u64) -> SessionId {
        SessionId::from_raw(raw)
    }

    fn guilds(raw: &[u64]) -> Vec<GuildId> {
        raw.iter().copied().map(GuildId::from_raw).collect()
    }

    fn watchers(scopes: &Scopes, guild: u64) -> Vec<u64> {
        let mut ids: Vec<_> = scopes
            .watchers(GuildId::from_raw(guild))
            .iter()
            .map(|id| id.get())
            .collect();
        ids.sort_unstable();
        ids
    }

    #[test]
    fn a_change_takes_effect_after_its_position() {
        let mut scopes = Scopes::default();
        assert_eq!(scopes.watch(id(1), guilds(&[5]), at(3), Some(at(4))), at(4));
        assert_eq!(watchers(&scopes, 5), [1]);
        // The worker has not come that far.
        assert_eq!(scopes.watch(id(1), guilds(&[6]), at(7), Some(at(4))), at(7));
        scopes.reach(at(7));
        assert_eq!((watchers(&scopes, 5), watchers(&scopes, 6)), (vec![1], vec![]));
        scopes.reach(at(8));
        assert_eq!((watchers(&scopes, 5), watchers(&scopes, 6)), (vec![], vec![1]));
        assert_eq!(scopes.watch(id(2), guilds(&[6]), at(8), None), at(8));
        // Later changes do not overtake it.
        assert_eq!(scopes.watch(id(2), guilds(&[]), at(8), Some(at(9))), at(9));
        scopes.reach(at(10));
        assert_eq!(watchers(&scopes, 6), [1]);
    }

    #[test]
    fn changes_take_effect_in_the_order_of_their_positions() {
        let mut scopes = Scopes::default();
        assert_eq!(scopes.watch(id(1), guilds(&[5]), at(9), Some(at(4))), at(9));
        assert_eq!(scopes.watch(id(2), guilds(&[5]), at(7), Some(at(4))), at(7));
        // The worker is past the position already.
        assert_eq!(scopes.watch(id(3), guilds(&[5]), at(3), Some(at(4))), at(4));
        scopes.reach(at(5));
        assert_eq!(watchers(&scopes, 5), [3]);
        scopes.reach(at(8));
        assert_eq!(watchers(&scopes, 5), [2, 3]);
        scopes.reach(at(10));
        assert_eq!(watchers(&scopes, 5), [1, 2, 3]);
    }

    #[test]
    fn a_new_epoch_comes_after_every_waiting_change() {
        let mut scopes = Scopes::default();
        scopes.watch(id(1), guilds(&[5]), at(7), None);
        let epoch = Epoch::from_raw(2);
        scopes.reach(Position { offset: 1, epoch });
        assert_eq!(watchers(&scopes, 5), [1]);
    }

    #[test]
    fn a_user_can_have_several_sessions() {
        let (mut scopes, user) = (Scopes::default(), UserId::new("7").unwrap());
        for session in [1, 2] {
            scopes.add_user(id(session), user.clone());
        }
        assert_eq!(scopes.sessions_of(&user), [id(1), id(2)]);
        scopes.remove(id(1));
        assert_eq!(scopes.sessions_of(&user), [id(2)]);
        scopes.remove(id(2));
        assert!(scopes.by_user.is_empty() && scopes.users.is_empty());
    }

    #[test]
    fn a_session_that_ended_watches_nothing() {
        let mut scopes = Scopes::default();
        for session in 1..=3 {
            scopes.watch(id(session), guilds(&[5, 6]), at(1), Some(at(1)));
        }
        scopes.watch(id(2), guilds(&[7]), at(9), Some(at(1)));
        scopes.remove(id(2));
        scopes.reach(at(10));
        assert_eq!((watchers(&scopes, 5), watchers(&scopes, 7)), (vec![1, 3], vec![]));
        for session in [1, 3] {
            scopes.remove(id(session));
        }
        assert!(scopes.by_guild.is_empty() && scopes.by_session.is_empty());
    }

    proptest! {
        #[test]
        fn both_indexes_agree(changes in prop::collection::vec((0..6_u64, prop::collection::btree_set(0..5_u64, 0..4)), 0..40)) {
            let mut scopes = Scopes::default();
            let mut model = BTreeMap::<u64, BTreeSet<u64>>::new();
            for (session, watched) in changes {
                scopes.watch(id(session), watched.iter().copied().map(GuildId::from_raw).collect(), at(1), Some(at(1)));
                model.insert(session, watched);
                for guild in 0..5 {
                    let expected: Vec<_> = model.iter().filter(|(_, of)| of.contains(&guild)).map(|(id, _)| *id).collect();
                    prop_assert_eq!(watchers(&scopes, guild), expected);
                }
            }
        }
    }
}
