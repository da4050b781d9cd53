//! Every id that a node has told, and by whom.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    fmt,
};

use serde::Serialize;

use super::trouble::Trouble;

/// How many duplicates are kept to be told of; all are counted.
const KEPT: usize = 20;

/// The telling of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Telling {
    /// Which node told it.
    pub node: u16,
    /// How often that node had been started.
    pub life: u16,
    /// When, in milliseconds of the run.
    pub at_ms: u32,
}

impl fmt::Display for Telling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, life, at_ms } = self;
        write!(f, "by node-{node} in its life {life} at {at_ms} ms")
    }
}

/// An id that was told twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Duplicate {
    /// The id.
    pub id: u64,
    /// Who told it first.
    pub first: Telling,
    /// Who told it again.
    pub again: Telling,
}

impl fmt::Display for Duplicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, first, again } = self;
        let (worker, sequence) = (id >> 12 & 0x3ff, id & 0xfff);
        write!(
            f,
            "id {id} (worker {worker}, sequence {sequence}) was told {first} and {again}"
        )
    }
}

/// What a node has told.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct NodeTally {
    pub(super) ids: u64,
    /// When it told its last id, in milliseconds of the run.
    pub(super) last_ms: u32,
    /// The longest time between two ids, in milliseconds.
    pub(super) longest_silence_ms: u32,
}

/// Everything that was told and done.
#[derive(Debug)]
pub(super) struct Tally {
    known: HashMap<u64, Telling>,
    pub(super) nodes: Vec<NodeTally>,
    pub(super) duplicates: u64,
    /// The first of the duplicates.
    pub(super) kept: Vec<Duplicate>,
    /// Visits that brought no id, by the reason.
    pub(super) refusals: BTreeMap<String, u64>,
    /// How often each trouble has come.
    pub(super) troubles: BTreeMap<Trouble, u64>,
    /// What was done, and when.
    pub(super) past: Vec<String>,
}

impl Tally {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            known: HashMap::new(),
            nodes: vec![NodeTally::default(); nodes],
            duplicates: 0,
            kept: Vec::new(),
            refusals: BTreeMap::new(),
            troubles: BTreeMap::new(),
            past: Vec::new(),
        }
    }

    /// Different ids so far.
    pub(super) fn ids(&self) -> usize {
        self.known.len()
    }

    /// Takes an id that a node told.
    pub(super) fn told(&mut self, id: u64, telling: Telling) {
        let node = &mut self.nodes[usize::from(telling.node)];
        node.ids += 1;
        let silence = telling.at_ms.saturating_sub(node.last_ms);
        node.longest_silence_ms = node.longest_silence_ms.max(silence);
        node.last_ms = telling.at_ms;
        match self.known.entry(id) {
            Entry::Vacant(place) => {
                place.insert(telling);
            }
            Entry::Occupied(known) => {
                self.duplicates += 1;
                if self.kept.len() < KEPT {
                    self.kept.push(Duplicate {
                        id,
                        first: *known.get(),
                        again: telling,
                    });
                }
            }
        }
    }

    /// Takes a visit that brought no id.
    pub(super) fn refused(&mut self, why: String) {
        *self.refusals.entry(why).or_default() += 1;
    }

    /// Notes what is done now. It counts once it is over.
    pub(super) fn done(&mut self, trouble: Trouble) {
        *self.troubles.entry(trouble).or_default() += 1;
    }

    /// How often a trouble has come.
    pub(super) fn times(&self, trouble: Trouble) -> u64 {
        self.troubles.get(&trouble).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn telling(node: u16, at_ms: u32) -> Telling {
        Telling { node, life: 1, at_ms }
    }

    #[test]
    fn an_id_of_two_nodes_is_caught_with_both() {
        let mut tally = Tally::new(2);
        let id = 77 << 22 | 3 << 12 | 9;
        tally.told(id, telling(0, 10));
        tally.told(id + 1, telling(1, 20));
        assert_eq!((tally.ids(), tally.duplicates), (2, 0));
        tally.told(id, telling(1, 30));
        assert_eq!((tally.ids(), tally.duplicates), (2, 1));
        let [duplicate] = &tally.kept[..] else {
            panic!("{:?}", tally.kept)
        };
        assert_eq!(
            duplicate.to_string(),
            format!(
                "id {id} (worker 3, sequence 9) was told by node-0 in its life 1 at 10 ms \
                 and by node-1 in its life 1 at 30 ms"
            )
        );
    }

    #[test]
    fn an_id_that_one_node_tells_again_and_again_is_caught_each_time() {
        let mut tally = Tally::new(1);
        for at_ms in 0..100 {
            tally.told(5, telling(0, at_ms));
        }
        assert_eq!((tally.ids(), tally.duplicates, tally.kept.len()), (1, 99, KEPT));
    }

    #[test]
    fn the_longest_silence_of_a_node_is_its_own() {
        let mut tally = Tally::new(2);
        for (node, at_ms) in [(0, 10), (1, 50), (0, 100), (0, 110), (1, 120)] {
            tally.told(u64::from(at_ms), telling(node, at_ms));
        }
        let silences: Vec<_> = tally.nodes.iter().map(|node| node.longest_silence_ms).collect();
        assert_eq!(silences, [90, 70]);
    }
}
