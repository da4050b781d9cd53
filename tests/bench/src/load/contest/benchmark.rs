//! A benchmark and its report: the table of results, and the failures of contestants that lost or reordered events.

use std::fmt;

use anyhow::Result;
use gateway_harness::ToolReport;
use serde::Serialize;

use super::{
    super::cores::on_a_thread, ContestOptions, ContestServer, ContestTable, Contestant, FigureSpread, Sample,
    rounds::ContestRounds, table::Figure,
};

/// What a comparison tool measures and how it is reported.
pub(in super::super) struct Benchmark {
    /// A short title of the table. The number of rounds is appended.
    pub(in super::super) title: String,
    /// Maximum number of simultaneous clients.
    pub(in super::super) clients: u32,
    /// The columns of the table. For the first one, the ratio to each reference is printed as well.
    pub(in super::super) figures: &'static [Figure],
    pub(in super::super) references: &'static [Contestant],
    /// Figures that must be zero for every contestant.
    pub(in super::super) must_be_zero: &'static [&'static str],
}

impl Benchmark {
    /// Calls `measure` for every contestant in every round.
    pub(in super::super) fn run(
        self,
        options: &ContestOptions,
        measure: impl Fn(&ContestServer) -> Result<Sample> + Send,
    ) -> Result<ContestReport> {
        on_a_thread(|| {
            let ContestOptions {
                contestants, rounds, ..
            } = options;
            let setup = options.setup(self.clients)?;
            let measured = ContestRounds::run(&setup, contestants, *rounds, measure)?;
            Ok(ContestReport::new(&self, *rounds, &measured))
        })
    }
}

/// The result of a comparison tool. Its `Display` is a table.
#[derive(Debug, Serialize)]
pub struct ContestReport {
    table: ContestTable,
    failures: Vec<String>,
}

impl ContestReport {
    fn new(benchmark: &Benchmark, count: u32, rounds: &ContestRounds) -> Self {
        let mut failures = Vec::new();
        for contestant in rounds.contestants() {
            for figure in benchmark.must_be_zero {
                let count = rounds.total(contestant, figure);
                if count > 0.0 {
                    failures.push(format!("{contestant}: {count} deliveries {figure}"));
                }
            }
        }
        let title = format!("{}; median (least-most) of {count} rounds", benchmark.title);
        Self {
            table: ContestTable::new(title, rounds, benchmark.figures, benchmark.references),
            failures,
        }
    }

    /// Returns the spread of one figure of a contestant.
    pub(in super::super) fn spread(&self, contestant: Contestant, figure: &str) -> Option<FigureSpread> {
        self.table.spread(contestant, figure)
    }
}

impl ToolReport for ContestReport {
    fn failures(&self) -> Vec<String> {
        self.failures.clone()
    }
}

impl fmt::Display for ContestReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.table.fmt(f)
    }
}
