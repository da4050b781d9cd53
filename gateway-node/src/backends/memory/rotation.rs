//! Round-robin over the sessions of client types.

use rustc_hash::FxHashMap;
use shared::{
    client_type::{ClientType, ClientTypes},
    session_id::SessionId,
};

/// The ready sessions of each type, for events that go to one of them.
#[derive(Debug, Default)]
pub(super) struct Rotation {
    kinds: [Ring; ClientType::ALL.len()],
    turn: usize,
}

/// Sessions in no particular order, with constant-time insertion and removal.
#[derive(Debug, Default)]
struct Ring {
    ids: Vec<SessionId>,
    places: FxHashMap<SessionId, usize>,
}

impl Rotation {
    pub(super) fn add(&mut self, kind: ClientType, id: SessionId) {
        let ring = &mut self.kinds[kind as usize];
        ring.places.insert(id, ring.ids.len());
        ring.ids.push(id);
    }

    pub(super) fn remove(&mut self, kind: ClientType, id: SessionId) {
        let ring = &mut self.kinds[kind as usize];
        if let Some(place) = ring.places.remove(&id) {
            ring.ids.swap_remove(place);
            if let Some(moved) = ring.ids.get(place) {
                ring.places.insert(*moved, place);
            }
        }
    }

    /// The number of sessions of these types.
    pub(super) fn count(&self, kinds: ClientTypes) -> usize {
        self.rings(kinds).map(|ring| ring.ids.len()).sum()
    }

    /// The next session of these types that is not `author`.
    pub(super) fn next(&mut self, kinds: ClientTypes, author: Option<SessionId>) -> Option<SessionId> {
        let count = self.count(kinds);
        // At most one of the candidates is the author.
        for _ in 0..count.min(2) {
            self.turn = (self.turn + 1) % count;
            let mut place = self.turn;
            for ring in self.rings(kinds) {
                match ring.ids.get(place) {
                    Some(id) if Some(*id) == author => break,
                    Some(id) => return Some(*id),
                    None => place -= ring.ids.len(),
                }
            }
        }
        None
    }

    fn rings(&self, kinds: ClientTypes) -> impl Iterator<Item = &Ring> {
        ClientType::ALL
            .into_iter()
            .filter(move |kind| kinds.contains(*kind))
            .map(|kind| &self.kinds[kind as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(id: u64) -> SessionId {
        SessionId::from_raw(id)
    }

    #[test]
    fn turns_are_even_and_skip_the_author() {
        let mut rotation = Rotation::default();
        for raw in 1..=3 {
            rotation.add(ClientType::Bot, id(raw));
        }
        rotation.add(ClientType::Service, id(4));
        let kinds: ClientTypes = [ClientType::Bot, ClientType::Service].into_iter().collect();
        let mut counts = [0; 5];
        for _ in 0..400 {
            counts[usize::try_from(rotation.next(kinds, None).unwrap().get()).unwrap()] += 1;
        }
        assert_eq!(counts, [0, 100, 100, 100, 100]);
        for _ in 0..10 {
            assert_ne!(rotation.next(kinds, Some(id(2))), Some(id(2)));
        }
    }

    #[test]
    fn the_author_alone_is_never_chosen() {
        let mut rotation = Rotation::default();
        rotation.add(ClientType::Bot, id(1));
        assert_eq!(rotation.next(ClientType::Bot.into(), Some(id(1))), None);
        assert_eq!(rotation.next(ClientType::Website.into(), None), None);
        rotation.remove(ClientType::Bot, id(1));
        assert_eq!(rotation.next(ClientType::Bot.into(), None), None);
    }

    #[test]
    fn removing_keeps_the_others_findable() {
        let mut rotation = Rotation::default();
        for raw in 0..10 {
            rotation.add(ClientType::Bot, id(raw));
        }
        for raw in [0, 9, 4] {
            rotation.remove(ClientType::Bot, id(raw));
        }
        for raw in [8, 1, 2, 3, 5, 6] {
            rotation.remove(ClientType::Bot, id(raw));
        }
        assert_eq!(rotation.next(ClientType::Bot.into(), None), Some(id(7)));
    }
}
