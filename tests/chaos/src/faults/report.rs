//! The results of all runs.

use std::fmt;

use gateway_harness::ToolReport;
use serde::Serialize;

use crate::checker::FaultVerdict;

/// The columns of a result line, after fault and seed.
const COLUMNS: [&str; 15] = [
    "accepted",
    "deliveries",
    "lost",
    "doubled",
    "reordered",
    "unauthorised",
    "uncertain",
    "gone",
    "silent",
    "jumps",
    "op 9",
    "resumed",
    "caught up",
    "told loss",
    "gap ms",
];

/// The result of one run.
#[derive(Debug, Serialize)]
pub struct FaultRow {
    /// The name of the fault.
    pub fault: String,
    /// The seed of the run; it decides the schedule.
    pub seed: u64,
    /// The checker's verdict.
    pub verdict: FaultVerdict,
    /// How often a Discord session was resumed.
    pub resumed: u64,
    /// How often a website that had reconnected got everything that it had missed.
    pub caught_up: u64,
    /// How often it was told that events are lost.
    pub told_loss: u64,
    /// The longest time in which a client received nothing while events were sent, in milliseconds.
    pub longest_gap_ms: u64,
    /// What failed apart from the verdict, such as a client that did not reconnect.
    pub failures: Vec<String>,
    /// What was done, and when.
    pub past: Vec<String>,
    /// The log of each node.
    #[serde(skip)]
    pub logs: Vec<String>,
}

impl FaultRow {
    /// Whether every promise was kept.
    pub fn is_clean(&self) -> bool {
        self.verdict.is_clean() && self.failures.is_empty()
    }

    /// Returns the header line.
    pub(super) fn header() -> String {
        let names = COLUMNS.map(|name| format!("  {name:>6}")).concat();
        format!("{:<24}{:>6}{names}", "fault", "seed")
    }

    /// Returns the result line, aligned with [`Self::header`].
    pub(super) fn line(&self) -> String {
        let verdict = &self.verdict;
        let numbers = [
            verdict.accepted,
            verdict.deliveries,
            verdict.lost,
            verdict.doubled,
            verdict.reordered,
            verdict.unauthorised,
            verdict.uncertain,
            verdict.gone,
            verdict.silent,
            verdict.jumps,
            verdict.invalid,
            self.resumed,
            self.caught_up,
            self.told_loss,
            self.longest_gap_ms,
        ];
        let cells = numbers
            .iter()
            .zip(COLUMNS)
            .map(|(number, name)| format!("  {number:>width$}", width = name.len().max(6)));
        let failed = if self.failures.is_empty() { "" } else { "  FAILED" };
        format!(
            "{:<24}{:>6}{}{failed}",
            self.fault,
            self.seed,
            cells.collect::<String>()
        )
    }

    /// Describes a run that is not clean: its failures, problems and actions.
    fn details(&self) -> String {
        let mut text = format!("{} with seed {}", self.fault, self.seed);
        for line in self.failures.iter().chain(&self.verdict.problems).chain(&self.past) {
            text.push_str("\n  ");
            text.push_str(line);
        }
        text
    }
}

impl fmt::Display for FaultRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}\n{}", Self::header(), self.line(), self.details())
    }
}

/// The results of all runs.
#[derive(Debug, Serialize)]
pub struct FaultReport {
    /// One row for each run.
    pub rows: Vec<FaultRow>,
}

impl ToolReport for FaultReport {
    fn failures(&self) -> Vec<String> {
        let unclean = self.rows.iter().filter(|row| !row.is_clean());
        unclean.map(FaultRow::details).collect()
    }
}

impl fmt::Display for FaultReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clean = self.rows.iter().filter(|row| row.is_clean()).count();
        write!(f, "{clean} of {} runs are clean", self.rows.len())
    }
}
