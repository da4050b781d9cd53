//! The sessions of one application and protocol on one worker, grouped for delivery.

use std::hash::Hash;

use rustc_hash::FxHashMap;
use shared::session_id::SessionId;
use smallvec::SmallVec;

/// A member of a group, identified by its session id.
pub(crate) trait GroupMember {
    fn id(&self) -> SessionId;
}

/// Members in groups, each group a dense array, and each member found by its id. What the members of a group have in
/// common (`C`) decides which events and which frames they receive. An event is delivered by iterating over the groups
/// that receive it, and no other session is touched.
///
/// A member that leaves during an iteration leaves a hole, so that no other member moves to an index that has already
/// been passed. At other times the last member of the group takes its index.
pub(crate) struct SubscriberGroups<C, M> {
    groups: Vec<Group<C, M>>,
    by_key: FxHashMap<C, u32>,
    /// Empty groups, to be reused.
    free: Vec<u32>,
    by_id: FxHashMap<SessionId, MemberIndex>,
    in_pass: bool,
}

struct Group<C, M> {
    key: C,
    members: Vec<Option<M>>,
}

#[derive(Clone, Copy)]
struct MemberIndex {
    group: u32,
    index: u32,
}

/// One group's part of an iteration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GroupRange<C> {
    pub(crate) group: usize,
    pub(crate) key: C,
    /// The length of the group when the iteration began. Members after it joined later than the entries being
    /// delivered.
    pub(crate) end: usize,
}

impl<C, M> Default for SubscriberGroups<C, M> {
    fn default() -> Self {
        Self {
            groups: Vec::new(),
            by_key: FxHashMap::default(),
            free: Vec::new(),
            by_id: FxHashMap::default(),
            in_pass: false,
        }
    }
}

impl<C: Copy + Eq + Hash, M: GroupMember> SubscriberGroups<C, M> {
    pub(crate) fn add(&mut self, key: C, member: M) {
        let group = self.group_of(key);
        let members = &mut self.groups[group].members;
        self.by_id.insert(member.id(), place(group, members.len()));
        members.push(Some(member));
    }

    fn group_of(&mut self, key: C) -> usize {
        if let Some(known) = self.by_key.get(&key) {
            return *known as usize;
        }
        let members = Vec::new();
        let group = if let Some(free) = self.free.pop() {
            self.groups[free as usize] = Group { key, members };
            free as usize
        } else {
            self.groups.push(Group { key, members });
            self.groups.len() - 1
        };
        self.by_key.insert(key, narrow(group));
        group
    }

    pub(crate) fn remove(&mut self, id: SessionId) -> Option<M> {
        let MemberIndex { group, index } = self.by_id.remove(&id)?;
        let (group, index) = (group as usize, index as usize);
        if self.in_pass {
            self.groups[group].members[index].take()
        } else {
            let gone = self.fill(group, index);
            self.retire(group);
            gone
        }
    }

    /// Returns the ids of all members.
    pub(crate) fn ids(&self) -> impl Iterator<Item = SessionId> {
        self.by_id.keys().copied()
    }

    pub(crate) fn get(&self, id: SessionId) -> Option<(C, &M)> {
        let MemberIndex { group, index } = *self.by_id.get(&id)?;
        let group = &self.groups[group as usize];
        Some((group.key, group.members[index as usize].as_ref()?))
    }

    /// Begins an iteration over all current members. Empty groups are left out, so that no event is encoded for them.
    pub(crate) fn begin_pass(&mut self) -> SmallVec<[GroupRange<C>; 6]> {
        self.in_pass = true;
        let range = |(group, it): (usize, &Group<C, M>)| GroupRange {
            group,
            key: it.key,
            end: it.members.len(),
        };
        let ranges = self.groups.iter().enumerate().map(range);
        ranges.filter(|range| range.end > 0).collect()
    }

    /// Returns the members of one chunk of an iteration.
    pub(crate) fn chunk(&self, group: usize, from: usize, to: usize) -> impl Iterator<Item = &M> {
        let members = &self.groups[group].members;
        members.get(from..to).unwrap_or_default().iter().flatten()
    }

    /// Ends an iteration and closes the holes that it left.
    pub(crate) fn end_pass(&mut self) {
        self.in_pass = false;
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

    /// Removes the member at `index`, moves the last member of the group there, and returns the removed one.
    fn fill(&mut self, group: usize, index: usize) -> Option<M> {
        let members = &mut self.groups[group].members;
        let gone = members.swap_remove(index);
        if let Some(Some(moved)) = members.get(index) {
            self.by_id.insert(moved.id(), place(group, index));
        }
        gone
    }

    /// Makes the group available for reuse if it is empty.
    fn retire(&mut self, group: usize) {
        let Group { key, members } = &mut self.groups[group];
        if members.is_empty() {
            *members = Vec::new();
            self.by_key.remove(key);
            self.free.push(narrow(group));
        }
    }
}

fn place(group: usize, index: usize) -> MemberIndex {
    MemberIndex {
        group: narrow(group),
        index: narrow(index),
    }
}

/// A worker cannot have more sessions than file descriptors, whose numbers have 31 bits.
fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTS: &str = "bots";
    const WEBSITES: &str = "websites";

    struct TestMember(u64);

    impl GroupMember for TestMember {
        fn id(&self) -> SessionId {
            SessionId::from_raw(self.0)
        }
    }

    fn ids(groups: &SubscriberGroups<&str, TestMember>, group: usize, from: usize, to: usize) -> Vec<u64> {
        groups.chunk(group, from, to).map(|member| member.0).collect()
    }

    #[test]
    fn an_iteration_visits_every_remaining_member_once() {
        let mut groups = SubscriberGroups::default();
        for id in 0..6 {
            groups.add(BOTS, TestMember(id));
        }
        let end = groups.begin_pass()[0].end;
        assert_eq!(ids(&groups, 0, 0, 3), [0, 1, 2]);
        // Of two members that leave, one has been visited and one has not; another joins. None is visited twice or
        // missed.
        groups.remove(SessionId::from_raw(1));
        groups.remove(SessionId::from_raw(4));
        groups.add(BOTS, TestMember(6));
        assert_eq!(ids(&groups, 0, 3, end), [3, 5]);
        groups.end_pass();
        for id in [0, 2, 3, 5, 6] {
            assert_eq!(groups.get(SessionId::from_raw(id)).unwrap().1.0, id);
            groups.remove(SessionId::from_raw(id));
        }
        assert!(groups.by_id.is_empty() && groups.groups[0].members.is_empty());
        assert_eq!((groups.free.len(), groups.by_key.len()), (1, 0));
        groups.add(WEBSITES, TestMember(1));
        assert_eq!((groups.groups.len(), groups.begin_pass()[0].key), (1, WEBSITES));
    }

    #[test]
    fn members_are_grouped_by_their_key() {
        let mut groups = SubscriberGroups::default();
        for id in 0..6 {
            groups.add(if id % 2 == 0 { BOTS } else { WEBSITES }, TestMember(id));
        }
        let ranges = groups.begin_pass();
        let found: Vec<_> = ranges
            .iter()
            .map(|range| (range.key, ids(&groups, range.group, 0, range.end)))
            .collect();
        assert_eq!(found, [(BOTS, vec![0, 2, 4]), (WEBSITES, vec![1, 3, 5])]);
        groups.end_pass();
        groups.remove(SessionId::from_raw(1));
        assert_eq!(groups.get(SessionId::from_raw(5)).unwrap().0, WEBSITES);
        assert_eq!(ids(&groups, 1, 0, 2), [5, 3]);
        for id in [3, 5] {
            groups.remove(SessionId::from_raw(id));
        }
        let left: Vec<_> = groups.begin_pass().iter().map(|range| range.key).collect();
        assert_eq!(left, [BOTS]);
    }
}
