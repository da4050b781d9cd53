//! The sessions of one application on one worker, in the shape that delivering needs.

use std::rc::Rc;

use rustc_hash::FxHashMap;
use shared::{client_type::ClientType, session_id::SessionId, v1::Encoding};

use crate::{cluster::Position, transport::Outbox};

/// What the way from an entry to a socket needs of a session.
pub(super) struct Member {
    pub(super) id: SessionId,
    pub(super) kind: ClientType,
    pub(super) encoding: Encoding,
    /// It receives the entries after this position.
    pub(super) since: Position,
    pub(super) outbox: Outbox,
}

/// Members side by side, each found by its id.
///
/// While a walk is under way a leaving member leaves a hole behind, so that nobody is moved to where the walk has
/// already been; otherwise the last one takes its place.
#[derive(Default)]
pub(super) struct Room {
    places: Vec<Option<Rc<Member>>>,
    by_id: FxHashMap<SessionId, usize>,
    is_walked: bool,
}

impl Room {
    pub(super) fn add(&mut self, member: Member) {
        self.by_id.insert(member.id, self.places.len());
        self.places.push(Some(Rc::new(member)));
    }

    pub(super) fn remove(&mut self, id: SessionId) {
        let Some(place) = self.by_id.remove(&id) else { return };
        if self.is_walked {
            self.places[place] = None;
        } else {
            self.places.swap_remove(place);
            self.note_place(place);
        }
    }

    pub(super) fn get(&self, id: SessionId) -> Option<&Rc<Member>> {
        self.places[*self.by_id.get(&id)?].as_ref()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Begins a walk over everybody who is here now.
    pub(super) fn begin_walk(&mut self) -> usize {
        self.is_walked = true;
        self.places.len()
    }

    /// The members of one stretch of a walk.
    pub(super) fn stretch(&self, from: usize, to: usize) -> impl Iterator<Item = &Rc<Member>> {
        self.places.get(from..to).unwrap_or_default().iter().flatten()
    }

    /// Ends a walk and closes the holes that it left.
    pub(super) fn end_walk(&mut self) {
        self.is_walked = false;
        let mut place = 0;
        while place < self.places.len() {
            if self.places[place].is_none() {
                self.places.swap_remove(place);
                self.note_place(place);
            } else {
                place += 1;
            }
        }
    }

    fn note_place(&mut self, place: usize) {
        if let Some(Some(member)) = self.places.get(place) {
            self.by_id.insert(member.id, place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Epoch;

    fn member(id: u64) -> Member {
        Member {
            id: SessionId::from_raw(id),
            kind: ClientType::Bot,
            encoding: Encoding::Text,
            since: Position {
                offset: 0,
                epoch: Epoch::from_raw(1),
            },
            outbox: Outbox::new(1),
        }
    }

    fn ids(room: &Room, from: usize, to: usize) -> Vec<u64> {
        room.stretch(from, to).map(|member| member.id.get()).collect()
    }

    #[test]
    fn a_walk_meets_everybody_who_stays_exactly_once() {
        let mut room = Room::default();
        for id in 0..6 {
            room.add(member(id));
        }
        let end = room.begin_walk();
        assert_eq!(ids(&room, 0, 3), [0, 1, 2]);
        // One that was met and one that was not leave, and one arrives: nobody is met twice and nobody is missed.
        room.remove(SessionId::from_raw(1));
        room.remove(SessionId::from_raw(4));
        room.add(member(6));
        assert_eq!(ids(&room, 3, end), [3, 5]);
        room.end_walk();
        for id in [0, 2, 3, 5, 6] {
            assert_eq!(room.get(SessionId::from_raw(id)).unwrap().id.get(), id);
            room.remove(SessionId::from_raw(id));
        }
        assert!(room.is_empty() && room.places.is_empty());
    }
}
