//! Every id that was issued, and by which node.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    fmt,
};

use serde::Serialize;

use super::trouble::Trouble;

/// How many duplicates are kept for the report; all are counted.
const KEPT: usize = 20;

/// One issuance of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Issuance {
    /// The index of the node that issued it.
    pub node: u16,
    /// The run of that node, counted from 1.
    #[serde(rename = "life")]
    pub run: u16,
    /// When it was issued, in milliseconds since the beginning.
    pub at_ms: u32,
}

impl fmt::Display for Issuance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, run, at_ms } = self;
        write!(f, "by node-{node} in its life {run} at {at_ms} ms")
    }
}

/// An id that was issued twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Duplicate {
    /// The id.
    pub id: u64,
    /// The first issuance.
    pub first: Issuance,
    /// The later issuance.
    pub again: Issuance,
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

/// The ids that one node issued.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct NodeIds {
    pub(super) ids: u64,
    /// When the node issued its last id, in milliseconds since the beginning.
    pub(super) last_ms: u32,
    /// The longest time between two ids of the node, in milliseconds.
    pub(super) longest_silence_ms: u32,
}

/// Everything that was issued and done in a run.
#[derive(Debug)]
pub(super) struct IdLedger {
    known: HashMap<u64, Issuance>,
    pub(super) nodes: Vec<NodeIds>,
    pub(super) duplicates: u64,
    /// The first duplicates.
    pub(super) kept: Vec<Duplicate>,
    /// Connections that brought no id, by reason.
    pub(super) refusals: BTreeMap<String, u64>,
    /// How often each trouble has occurred.
    pub(super) troubles: BTreeMap<Trouble, u64>,
    /// What was done, and when.
    pub(super) past: Vec<String>,
}

impl IdLedger {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            known: HashMap::new(),
            nodes: vec![NodeIds::default(); nodes],
            duplicates: 0,
            kept: Vec::new(),
            refusals: BTreeMap::new(),
            troubles: BTreeMap::new(),
            past: Vec::new(),
        }
    }

    /// Returns the number of different ids so far.
    pub(super) fn ids(&self) -> usize {
        self.known.len()
    }

    /// Records an id that a node issued.
    pub(super) fn add_id(&mut self, id: u64, issuance: Issuance) {
        let node = &mut self.nodes[usize::from(issuance.node)];
        node.ids += 1;
        let silence = issuance.at_ms.saturating_sub(node.last_ms);
        node.longest_silence_ms = node.longest_silence_ms.max(silence);
        node.last_ms = issuance.at_ms;
        match self.known.entry(id) {
            Entry::Vacant(place) => {
                place.insert(issuance);
            }
            Entry::Occupied(known) => {
                self.duplicates += 1;
                if self.kept.len() < KEPT {
                    self.kept.push(Duplicate {
                        id,
                        first: *known.get(),
                        again: issuance,
                    });
                }
            }
        }
    }

    /// Records a connection that brought no id.
    pub(super) fn add_refusal(&mut self, why: String) {
        *self.refusals.entry(why).or_default() += 1;
    }

    /// Counts a trouble, once it is over.
    pub(super) fn add_trouble(&mut self, trouble: Trouble) {
        *self.troubles.entry(trouble).or_default() += 1;
    }

    /// Returns how often a trouble has occurred.
    pub(super) fn times(&self, trouble: Trouble) -> u64 {
        self.troubles.get(&trouble).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuance(node: u16, at_ms: u32) -> Issuance {
        Issuance { node, run: 1, at_ms }
    }

    #[test]
    fn a_duplicate_id_names_both_nodes() {
        let mut ledger = IdLedger::new(2);
        let id = 77 << 22 | 3 << 12 | 9;
        ledger.add_id(id, issuance(0, 10));
        ledger.add_id(id + 1, issuance(1, 20));
        assert_eq!((ledger.ids(), ledger.duplicates), (2, 0));
        ledger.add_id(id, issuance(1, 30));
        assert_eq!((ledger.ids(), ledger.duplicates), (2, 1));
        let [duplicate] = &ledger.kept[..] else {
            panic!("{:?}", ledger.kept)
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
    fn every_repetition_of_an_id_is_counted() {
        let mut ledger = IdLedger::new(1);
        for at_ms in 0..100 {
            ledger.add_id(5, issuance(0, at_ms));
        }
        assert_eq!((ledger.ids(), ledger.duplicates, ledger.kept.len()), (1, 99, KEPT));
    }

    #[test]
    fn the_longest_silence_is_kept_for_each_node() {
        let mut ledger = IdLedger::new(2);
        for (node, at_ms) in [(0, 10), (1, 50), (0, 100), (0, 110), (1, 120)] {
            ledger.add_id(u64::from(at_ms), issuance(node, at_ms));
        }
        let silences: Vec<_> = ledger.nodes.iter().map(|node| node.longest_silence_ms).collect();
        assert_eq!(silences, [90, 70]);
    }
}
