//! The sessions of one application on one worker, in the shape that delivering needs.

use rustc_hash::FxHashMap;
use shared::{client_type::ClientType, session_id::SessionId, v1::Encoding};
use smallvec::SmallVec;

use crate::{cluster::Position, transport::Outbox};

/// What the way from an entry to a socket needs of a session.
pub(super) struct Member {
    pub(super) id: SessionId,
    /// It receives the entries after this position.
    pub(super) since: Position,
    pub(super) outbox: Outbox,
}

/// What the members of a group have in common: who they are decides what they get, and the encoding in which frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Common {
    pub(super) kind: ClientType,
    pub(super) encoding: Encoding,
}

/// Members side by side in groups, each found by its id. An event for one type is a walk over the groups of that type and
/// touches nobody else.
///
/// While a walk is under way a leaving member leaves a hole behind, so that nobody is moved to where the walk has
/// already been; otherwise the last one of its group takes its place.
#[derive(Default)]
pub(super) struct Room {
    groups: Vec<Group>,
    by_id: FxHashMap<SessionId, Place>,
    is_walked: bool,
}

struct Group {
    common: Common,
    members: Vec<Option<Member>>,
}

#[derive(Clone, Copy)]
struct Place {
    group: u32,
    index: u32,
}

/// One group's part of a walk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stage {
    pub(super) group: usize,
    pub(super) common: Common,
    /// How many places there were when the walk began: who comes later joined after what the walk brings.
    pub(super) end: usize,
}

impl Room {
    pub(super) fn add(&mut self, common: Common, member: Member) {
        let known = self.groups.iter().position(|group| group.common == common);
        let group = known.unwrap_or_else(|| {
            let members = Vec::new();
            self.groups.push(Group { common, members });
            self.groups.len() - 1
        });
        let members = &mut self.groups[group].members;
        self.by_id.insert(member.id, place(group, members.len()));
        members.push(Some(member));
    }

    pub(super) fn remove(&mut self, id: SessionId) {
        let Some(Place { group, index }) = self.by_id.remove(&id) else {
            return;
        };
        let (group, index) = (group as usize, index as usize);
        if self.is_walked {
            self.groups[group].members[index] = None;
        } else {
            self.fill(group, index);
        }
    }

    pub(super) fn get(&self, id: SessionId) -> Option<(Common, &Member)> {
        let Place { group, index } = *self.by_id.get(&id)?;
        let group = &self.groups[group as usize];
        Some((group.common, group.members[index as usize].as_ref()?))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Begins a walk over everybody who is here now. Groups that everybody has left are no part of it: nothing is framed
    /// for nobody.
    pub(super) fn begin_walk(&mut self) -> SmallVec<[Stage; 6]> {
        self.is_walked = true;
        let stage = |(group, it): (usize, &Group)| Stage {
            group,
            common: it.common,
            end: it.members.len(),
        };
        let stages = self.groups.iter().enumerate().map(stage);
        stages.filter(|stage| stage.end > 0).collect()
    }

    /// The members of one stretch of a walk.
    pub(super) fn stretch(&self, group: usize, from: usize, to: usize) -> impl Iterator<Item = &Member> {
        let members = &self.groups[group].members;
        members.get(from..to).unwrap_or_default().iter().flatten()
    }

    /// Ends a walk and closes the holes that it left.
    pub(super) fn end_walk(&mut self) {
        self.is_walked = false;
        for group in 0..self.groups.len() {
            let mut index = 0;
            while let Some(member) = self.groups[group].members.get(index) {
                if member.is_none() {
                    self.fill(group, index);
                } else {
                    index += 1;
                }
            }
        }
    }

    /// Puts the last member of a group into this place.
    fn fill(&mut self, group: usize, index: usize) {
        let members = &mut self.groups[group].members;
        members.swap_remove(index);
        if let Some(Some(moved)) = members.get(index) {
            self.by_id.insert(moved.id, place(group, index));
        }
    }
}

fn place(group: usize, index: usize) -> Place {
    // A worker has no more sessions than descriptors, which are counted in 31 bits.
    let narrow = |number| u32::try_from(number).unwrap_or(u32::MAX);
    Place {
        group: narrow(group),
        index: narrow(index),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Epoch;

    const BOTS: Common = Common {
        kind: ClientType::Bot,
        encoding: Encoding::Text,
    };
    const WEBSITES: Common = Common {
        kind: ClientType::Website,
        encoding: Encoding::Zlib,
    };

    fn member(id: u64) -> Member {
        Member {
            id: SessionId::from_raw(id),
            since: Position {
                offset: 0,
                epoch: Epoch::from_raw(1),
            },
            outbox: Outbox::new(1),
        }
    }

    fn ids(room: &Room, group: usize, from: usize, to: usize) -> Vec<u64> {
        room.stretch(group, from, to).map(|member| member.id.get()).collect()
    }

    #[test]
    fn a_walk_meets_everybody_who_stays_exactly_once() {
        let mut room = Room::default();
        for id in 0..6 {
            room.add(BOTS, member(id));
        }
        let end = room.begin_walk()[0].end;
        assert_eq!(ids(&room, 0, 0, 3), [0, 1, 2]);
        // One that was met and one that was not leave, and one arrives: nobody is met twice and nobody is missed.
        room.remove(SessionId::from_raw(1));
        room.remove(SessionId::from_raw(4));
        room.add(BOTS, member(6));
        assert_eq!(ids(&room, 0, 3, end), [3, 5]);
        room.end_walk();
        for id in [0, 2, 3, 5, 6] {
            assert_eq!(room.get(SessionId::from_raw(id)).unwrap().1.id.get(), id);
            room.remove(SessionId::from_raw(id));
        }
        assert!(room.is_empty() && room.groups[0].members.is_empty());
    }

    #[test]
    fn a_group_holds_those_alone_who_have_everything_in_common() {
        let mut room = Room::default();
        for id in 0..6 {
            room.add(if id % 2 == 0 { BOTS } else { WEBSITES }, member(id));
        }
        let stages = room.begin_walk();
        let found: Vec<_> = stages
            .iter()
            .map(|stage| (stage.common, ids(&room, stage.group, 0, stage.end)))
            .collect();
        assert_eq!(found, [(BOTS, vec![0, 2, 4]), (WEBSITES, vec![1, 3, 5])]);
        room.end_walk();
        room.remove(SessionId::from_raw(1));
        assert_eq!(room.get(SessionId::from_raw(5)).unwrap().0, WEBSITES);
        assert_eq!(ids(&room, 1, 0, 2), [5, 3]);
        for id in [3, 5] {
            room.remove(SessionId::from_raw(id));
        }
        let left: Vec<_> = room.begin_walk().iter().map(|stage| stage.common).collect();
        assert_eq!(left, [BOTS]);
    }
}
