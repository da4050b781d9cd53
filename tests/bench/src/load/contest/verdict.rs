//! What a tool that compares prints: its table, and what no contender may do.

use std::fmt;

use anyhow::Result;
use gateway_harness::Outcome;
use serde::Serialize;

use super::{
    super::cores::on_a_thread, Contender, ContestOptions, Sample, Server, Spread, Table, rounds::Rounds, table::Figure,
};

/// What is measured, and what is made of it.
pub(in super::super) struct Discipline {
    /// What it is, in a few words; the table says how many rounds there were.
    pub(in super::super) title: String,
    /// Clients that there are at a time.
    pub(in super::super) clients: u32,
    /// The columns; the first is divided by that of the references too.
    pub(in super::super) figures: &'static [Figure],
    pub(in super::super) references: &'static [Contender],
    /// Figures that have to be zero.
    pub(in super::super) never: &'static [&'static str],
}

impl Discipline {
    /// Has `measure` look at every contender in turn.
    pub(in super::super) fn hold(
        self,
        options: &ContestOptions,
        measure: impl Fn(&Server) -> Result<Sample> + Send,
    ) -> Result<Verdict> {
        on_a_thread(|| {
            let ContestOptions { contenders, rounds, .. } = options;
            let setting = options.setting(self.clients)?;
            let measured = Rounds::run(&setting, contenders, *rounds, measure)?;
            Ok(Verdict::new(&self, *rounds, &measured))
        })
    }
}

/// The result of a tool that compares. Its `Display` is a table.
#[derive(Debug, Serialize)]
pub struct Verdict {
    table: Table,
    failures: Vec<String>,
}

impl Verdict {
    fn new(discipline: &Discipline, count: u32, rounds: &Rounds) -> Self {
        let mut failures = Vec::new();
        for contender in rounds.contenders() {
            for figure in discipline.never {
                let count = rounds.total(contender, figure);
                if count > 0.0 {
                    failures.push(format!("{contender}: {count} deliveries {figure}"));
                }
            }
        }
        let title = format!("{}; median (least-most) of {count} rounds", discipline.title);
        Self {
            table: Table::new(title, rounds, discipline.figures, discipline.references),
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
