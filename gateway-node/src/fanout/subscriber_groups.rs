//! The sessions of one application and one protocol on one worker, in the shape that delivering needs.

use std::hash::Hash;

use rustc_hash::FxHashMap;
use shared::session_id::SessionId;
use smallvec::SmallVec;

/// Somebody who is found by an id.
pub(crate) trait Member {
    fn id(&self) -> SessionId;
}

/// Members side by side in groups, each found by its id. What the members of a group have in common (`C`) decides what they
/// get and in which frame, so an event is a walk over the groups that get it and touches nobody else.
///
/// While a walk is under way a leaving member leaves a hole behind, so that nobody is moved to where the walk has
/// already been; otherwise the last one of its group takes its place.
pub(crate) struct Room<C, M> {
    groups: Vec<Group<C, M>>,
    by_common: FxHashMap<C, u32>,
    /// Groups that everybody has left, for others.
    free: Vec<u32>,
    by_id: FxHashMap<SessionId, Place>,
    is_walked: bool,
}

struct Group<C, M> {
    common: C,
    members: Vec<Option<M>>,
}

#[derive(Clone, Copy)]
struct Place {
    group: u32,
    index: u32,
}

/// One group's part of a walk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stage<C> {
    pub(crate) group: usize,
    pub(crate) common: C,
    /// How many places there were when the walk began: who comes later joined after what the walk brings.
    pub(crate) end: usize,
}

impl<C, M> Default for Room<C, M> {
    fn default() -> Self {
        Self {
            groups: Vec::new(),
            by_common: FxHashMap::default(),
            free: Vec::new(),
            by_id: FxHashMap::default(),
            is_walked: false,
        }
    }
}

impl<C: Copy + Eq + Hash, M: Member> Room<C, M> {
    pub(crate) fn add(&mut self, common: C, member: M) {
        let group = self.group_of(common);
        let members = &mut self.groups[group].members;
        self.by_id.insert(member.id(), place(group, members.len()));
        members.push(Some(member));
    }

    fn group_of(&mut self, common: C) -> usize {
        if let Some(known) = self.by_common.get(&common) {
            return *known as usize;
        }
        let members = Vec::new();
        let group = if let Some(free) = self.free.pop() {
            self.groups[free as usize] = Group { common, members };
            free as usize
        } else {
            self.groups.push(Group { common, members });
            self.groups.len() - 1
        };
        self.by_common.insert(common, narrow(group));
        group
    }

    pub(crate) fn remove(&mut self, id: SessionId) -> Option<M> {
        let Place { group, index } = self.by_id.remove(&id)?;
        let (group, index) = (group as usize, index as usize);
        if self.is_walked {
            self.groups[group].members[index].take()
        } else {
            let gone = self.fill(group, index);
            self.retire(group);
            gone
        }
    }

    /// The ids of all members.
    pub(crate) fn ids(&self) -> impl Iterator<Item = SessionId> {
        self.by_id.keys().copied()
    }

    pub(crate) fn get(&self, id: SessionId) -> Option<(C, &M)> {
        let Place { group, index } = *self.by_id.get(&id)?;
        let group = &self.groups[group as usize];
        Some((group.common, group.members[index as usize].as_ref()?))
    }

    /// Begins a walk over everybody who is here now. Groups that everybody has left are no part of it: nothing is framed
    /// for nobody.
    pub(crate) fn begin_walk(&mut self) -> SmallVec<[Stage<C>; 6]> {
        self.is_walked = true;
        let stage = |(group, it): (usize, &Group<C, M>)| Stage {
            group,
            common: it.common,
            end: it.members.len(),
        };
        let stages = self.groups.iter().enumerate().map(stage);
        stages.filter(|stage| stage.end > 0).collect()
    }

    /// The members of one stretch of a walk.
    pub(crate) fn stretch(&self, group: usize, from: usize, to: usize) -> impl Iterator<Item = &M> {
        let members = &self.groups[group].members;
        members.get(from..to).unwrap_or_default().iter().flatten()
    }

    /// Ends a walk and closes the holes that it left.
    pub(crate) fn end_walk(&mut self) {
        self.is_walked = false;
        for group in 0..self.groups.len() {
            let mut index = 0;
            let had_any = !self.groups[group].members.is_empty();
            while let Some(member) = self.groups[group].members.get(index) {
                if member.is_none() {
                    self.fill(group, index);
                } else {
                    index += 1;
                }
            }
            if had_any {
                self.retire(group);
            }
        }
    }

    /// Puts the last member of a group into this place, whose member is returned.
    fn fill(&mut self, group: usize, index: usize) -> Option<M> {
        let members = &mut self.groups[group].members;
        let gone = members.swap_remove(index);
        if let Some(Some(moved)) = members.get(index) {
            self.by_id.insert(moved.id(), place(group, index));
        }
        gone
    }

    /// Lets others have a group that everybody has left.
    fn retire(&mut self, group: usize) {
        let Group { common, members } = &mut self.groups[group];
        if members.is_empty() {
            *members = Vec::new();
            self.by_common.remove(common);
            self.free.push(narrow(group));
        }
    }
}

fn place(group: usize, index: usize) -> Place {
    Place {
        group: narrow(group),
        index: narrow(index),
    }
}

/// A worker has no more sessions than descriptors, which are counted in 31 bits.
fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTS: &str = "bots";
    const WEBSITES: &str = "websites";

    struct Guest(u64);

    impl Member for Guest {
        fn id(&self) -> SessionId {
            SessionId::from_raw(self.0)
        }
    }

    fn ids(room: &Room<&str, Guest>, group: usize, from: usize, to: usize) -> Vec<u64> {
        room.stretch(group, from, to).map(|guest| guest.0).collect()
    }

    #[test]
    fn a_walk_meets_everybody_who_stays_exactly_once() {
        let mut room = Room::default();
        for id in 0..6 {
            room.add(BOTS, Guest(id));
        }
        let end = room.begin_walk()[0].end;
        assert_eq!(ids(&room, 0, 0, 3), [0, 1, 2]);
        // One that was met and one that was not leave, and one arrives: nobody is met twice and nobody is missed.
        room.remove(SessionId::from_raw(1));
        room.remove(SessionId::from_raw(4));
        room.add(BOTS, Guest(6));
        assert_eq!(ids(&room, 0, 3, end), [3, 5]);
        room.end_walk();
        for id in [0, 2, 3, 5, 6] {
            assert_eq!(room.get(SessionId::from_raw(id)).unwrap().1.0, id);
            room.remove(SessionId::from_raw(id));
        }
        assert!(room.by_id.is_empty() && room.groups[0].members.is_empty());
        assert_eq!((room.free.len(), room.by_common.len()), (1, 0));
        room.add(WEBSITES, Guest(1));
        assert_eq!((room.groups.len(), room.begin_walk()[0].common), (1, WEBSITES));
    }

    #[test]
    fn a_group_holds_those_alone_who_have_everything_in_common() {
        let mut room = Room::default();
        for id in 0..6 {
            room.add(if id % 2 == 0 { BOTS } else { WEBSITES }, Guest(id));
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
