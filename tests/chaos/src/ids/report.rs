//! The result of a run.

use std::{collections::BTreeMap, fmt};

use gateway_harness::ToolReport;
use serde::Serialize;

use super::{ledger::Duplicate, trouble::Trouble};

/// The result of a run.
#[derive(Debug, Serialize)]
pub struct IdReport {
    /// The seed of the run.
    pub seed: u64,
    /// The lease of a node, in milliseconds.
    pub lease_ms: u128,
    /// The number of ids to request.
    pub wanted: usize,
    /// The number of different ids issued.
    pub ids: usize,
    /// How many ids were issued again.
    pub duplicates: u64,
    /// The first duplicates.
    pub doubled: Vec<Duplicate>,
    /// How long the run took.
    pub seconds: f64,
    /// The ids of each node.
    pub nodes: Vec<NodeRow>,
    /// How often each trouble occurred.
    pub troubles: BTreeMap<Trouble, u64>,
    /// Connections that brought no id, by reason.
    pub refusals: BTreeMap<String, u64>,
    /// What failed apart from duplicates.
    pub failures: Vec<String>,
    /// What was done, and when.
    pub past: Vec<String>,
    /// The log of each node.
    #[serde(skip)]
    pub logs: Vec<String>,
}

/// The ids of one node.
#[derive(Debug, Serialize)]
pub struct NodeRow {
    /// The node's name.
    pub node: String,
    /// How many ids it issued.
    pub ids: u64,
    /// The longest time between two of its ids, in milliseconds.
    pub longest_silence_ms: u32,
}

impl IdReport {
    /// Lists the actions, one a line.
    fn details(&self) -> String {
        self.past.iter().flat_map(|line| ["\n  ", line.as_str()]).collect()
    }
}

impl ToolReport for IdReport {
    fn failures(&self) -> Vec<String> {
        let mut failures: Vec<String> = self.doubled.iter().map(Duplicate::to_string).collect();
        failures.extend(self.failures.iter().cloned());
        if self.ids < self.wanted {
            failures.push(format!("{} ids of {}", self.ids, self.wanted));
        }
        if let Some(last) = failures.last_mut() {
            *last += &self.details();
        }
        failures
    }
}

impl fmt::Display for IdReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |f: &mut fmt::Formatter<'_>, name: &dyn fmt::Display, number: &dyn fmt::Display| {
            writeln!(f, "{name:<28}{number:>10}")
        };
        writeln!(f, "seed {}, leases of {} ms", self.seed, self.lease_ms)?;
        writeln!(f, "{:<28}{:>10}  {:>18}", "node", "ids", "longest silence ms")?;
        for NodeRow {
            node,
            ids,
            longest_silence_ms,
        } in &self.nodes
        {
            writeln!(f, "{node:<28}{ids:>10}  {longest_silence_ms:>18}")?;
        }
        line(f, &"different ids", &self.ids)?;
        line(f, &"duplicates", &self.duplicates)?;
        line(f, &"seconds", &format_args!("{:.1}", self.seconds))?;
        #[expect(clippy::cast_precision_loss, reason = "the rate needs no more precision")]
        let rate = self.ids as f64 / self.seconds;
        line(f, &"ids a second", &format_args!("{rate:.0}"))?;
        writeln!(f, "what went wrong, times")?;
        for (trouble, times) in &self.troubles {
            line(f, &format_args!("  {trouble}"), times)?;
        }
        writeln!(f, "visits without an id, times")?;
        for (why, times) in &self.refusals {
            line(f, &format_args!("  {why}"), times)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::ledger::Issuance, *};

    fn report(ids: usize, doubled: Vec<Duplicate>) -> IdReport {
        IdReport {
            seed: 1,
            lease_ms: 1500,
            wanted: 10,
            ids,
            duplicates: doubled.len() as u64,
            doubled,
            seconds: 1.0,
            nodes: Vec::new(),
            troubles: BTreeMap::new(),
            refusals: BTreeMap::new(),
            failures: Vec::new(),
            past: vec!["0 ms: something".to_owned()],
            logs: Vec::new(),
        }
    }

    #[test]
    fn duplicates_and_too_few_ids_are_failures() {
        assert_eq!(report(10, Vec::new()).failures(), [""; 0]);
        assert_eq!(report(9, Vec::new()).failures(), ["9 ids of 10\n  0 ms: something"]);
        let issuance = Issuance {
            node: 1,
            run: 2,
            at_ms: 3,
        };
        let duplicate = Duplicate {
            id: 7,
            first: issuance,
            again: issuance,
        };
        let failures = report(10, vec![duplicate]).failures();
        assert!(failures[0].starts_with("id 7 "), "{failures:?}");
    }
}
