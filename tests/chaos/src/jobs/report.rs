//! What became of the jobs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use gateway_harness::ToolReport;
use serde::Serialize;

use super::{FaultCounts, is_poison, ledger::LedgerState};

/// The result of a run.
#[derive(Debug, Clone, Default, Serialize)]
pub struct JobReport {
    /// The seed of the run.
    pub seed: u64,
    /// Jobs that were accepted.
    pub accepted: u64,
    /// Accepted jobs that a worker has acknowledged.
    pub acknowledged: u64,
    /// Acknowledged jobs for which Redis has confirmed it.
    pub confirmed: u64,
    /// Jobs listed as undeliverable.
    pub undeliverable: u64,
    /// Jobs that no worker would acknowledge.
    pub poison: u64,
    /// Accepted jobs that were neither acknowledged nor listed as undeliverable.
    pub lost: u64,
    /// Jobs that no worker would acknowledge and that are not listed as undeliverable.
    pub poison_not_listed: u64,
    /// Jobs still waiting or delivered at the end.
    pub open: u64,
    /// Jobs that were done by two workers, or twice by one.
    pub done_twice: u64,
    /// Jobs that were delivered more than once, other than those that no worker would acknowledge.
    pub delivered_again: u64,
    /// Jobs accepted under two ids.
    pub with_two_ids: u64,
    /// Jobs that a worker got beyond what it takes at once.
    pub over_limit: u64,
    /// Publications refused for good, by status.
    pub refused: BTreeMap<u16, u64>,
    /// Publications that were repeated because there was no answer or a temporary refusal.
    pub repeated: u64,
    /// Other events that were published meanwhile.
    pub flood: u64,
    /// Nodes that were killed.
    pub nodes_killed: u64,
    /// Times that Redis was killed and started again.
    pub redis_restarts: u64,
    /// Times that the line of a worker went dead.
    pub dead_lines: u64,
}

impl JobReport {
    pub(super) fn new(
        seed: u64,
        state: &LedgerState,
        undeliverable: &[u64],
        open: u64,
        flood: u64,
        counts: FaultCounts,
    ) -> Self {
        let undeliverable: BTreeSet<_> = undeliverable.iter().copied().collect();
        let mut report = Self {
            seed,
            undeliverable: undeliverable.len() as u64,
            open,
            over_limit: state.over_limit,
            refused: state.refused.clone(),
            repeated: state.repeated,
            flood,
            nodes_killed: counts.nodes_killed,
            redis_restarts: counts.redis_restarts,
            dead_lines: counts.dead_lines,
            ..Self::default()
        };
        for (&number, job) in &state.jobs {
            let mut ids = job.ids.clone();
            ids.dedup();
            let (is_listed, is_poison) = (undeliverable.contains(&number), is_poison(number));
            report.accepted += u64::from(!ids.is_empty());
            report.with_two_ids += u64::from(ids.len() > 1);
            report.acknowledged += u64::from(job.acks > 0);
            report.confirmed += u64::from(job.confirmed > 0);
            report.lost += u64::from(!ids.is_empty() && job.acks == 0 && !is_listed);
            report.poison += u64::from(is_poison);
            report.poison_not_listed += u64::from(is_poison && !is_listed);
            report.done_twice += u64::from(job.acks > 1);
            report.delivered_again += u64::from(!is_poison && job.deliveries > 1);
        }
        report
    }
}

impl ToolReport for JobReport {
    fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for (what, count) in [
            ("jobs were neither acknowledged nor listed as undeliverable", self.lost),
            (
                "jobs that nobody would do are not listed as undeliverable",
                self.poison_not_listed,
            ),
            ("jobs were still open at the end", self.open),
            ("jobs have two ids", self.with_two_ids),
            ("jobs came to a worker that held enough", self.over_limit),
            ("publications were refused for good", self.refused.values().sum()),
        ] {
            if count > 0 {
                failures.push(format!("{count} {what}"));
            }
        }
        if self.acknowledged * 10 < self.accepted * 9 {
            failures.push(format!(
                "only {} of {} jobs were acknowledged",
                self.acknowledged, self.accepted
            ));
        }
        failures
    }
}

impl fmt::Display for JobReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {}: {} jobs accepted ({} publications repeated), {} nodes killed, {} restarts of Redis, {} dead lines, {} \
             other events: {} acknowledged ({} confirmed), {} undeliverable, {} of which nobody would do; lost {}, done \
             twice {}, delivered again {}, over the limit {}, open {}",
            self.seed,
            self.accepted,
            self.repeated,
            self.nodes_killed,
            self.redis_restarts,
            self.dead_lines,
            self.flood,
            self.acknowledged,
            self.confirmed,
            self.undeliverable,
            self.poison,
            self.lost,
            self.done_twice,
            self.delivered_again,
            self.over_limit,
            self.open
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::{POISON, ledger::Ledger};

    const POISONED: u64 = POISON / 2;

    fn failures(undeliverable: &[u64], open: u64, fill: impl FnOnce(&Ledger)) -> Vec<String> {
        let ledger = Ledger::default();
        for number in 0..20 {
            ledger.publishing(number);
            ledger.accepted(number, &number.to_string());
            ledger.delivered(number, 1, 1);
            ledger.acknowledged(number);
        }
        fill(&ledger);
        let counts = FaultCounts::default();
        ledger
            .look(|state| JobReport::new(1, state, undeliverable, open, 0, counts))
            .failures()
    }

    #[test]
    fn every_broken_promise_is_a_failure() {
        assert!(failures(&[], 0, |_| {}).is_empty());
        assert!(failures(&[POISONED], 0, |ledger| ledger.accepted(POISONED, "a")).is_empty());
        assert!(failures(&[30], 0, |ledger| ledger.accepted(30, "a")).is_empty());
        assert_eq!(
            failures(&[], 0, |ledger| ledger.accepted(30, "a")),
            ["1 jobs were neither acknowledged nor listed as undeliverable"]
        );
        assert_eq!(
            failures(&[], 0, |ledger| {
                ledger.accepted(POISONED, "a");
                ledger.acknowledged(POISONED);
            }),
            ["1 jobs that nobody would do are not listed as undeliverable"]
        );
        assert_eq!(failures(&[], 1, |_| {}), ["1 jobs were still open at the end"]);
        assert_eq!(
            failures(&[], 0, |ledger| ledger.accepted(1, "other")),
            ["1 jobs have two ids"]
        );
        assert_eq!(
            failures(&[], 0, |ledger| ledger.delivered(1, 2, 1)),
            ["1 jobs came to a worker that held enough"]
        );
        assert_eq!(
            failures(&[], 0, |ledger| ledger.refused(429)),
            ["1 publications were refused for good"]
        );
    }
}
