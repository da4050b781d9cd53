//! What a tool that compares prints: its table, and what no contender may do.

use std::fmt;

use serde::Serialize;

use super::{super::Outcome, Contender, Rounds, Spread, Table, table::Figure};

/// The result of a tool that compares. Its `Display` is a table.
#[derive(Debug, Serialize)]
pub struct Verdict {
    table: Table,
    failures: Vec<String>,
}

impl Verdict {
    /// A table of these figures, the first of them divided by that of `references` too. It has failed where one of the
    /// figures named `never` is not zero.
    pub(in super::super) fn new(
        title: String,
        rounds: &Rounds,
        figures: &[Figure],
        references: &[Contender],
        never: &[&str],
    ) -> Self {
        let mut failures = Vec::new();
        for contender in rounds.contenders() {
            for figure in never {
                let count = rounds.total(contender, figure);
                if count > 0.0 {
                    failures.push(format!("{contender}: {count} deliveries {figure}"));
                }
            }
        }
        Self {
            table: Table::new(title, rounds, figures, references),
            failures,
        }
    }

    /// A figure of a contender.
    pub(in super::super) fn spread(&self, contender: Contender, figure: &str) -> Option<Spread> {
        self.table.spread(contender, figure)
    }
}

impl Outcome for Verdict {
    fn failures(&self) -> Vec<String> {
        self.failures.clone()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.table.fmt(f)
    }
}
