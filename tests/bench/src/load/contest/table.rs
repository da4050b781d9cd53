//! The results as a table for people and as JSON.

use std::fmt;

use serde::Serialize;

use super::{
    Contestant,
    rounds::{ContestRounds, FigureSpread},
};

/// A column of the table.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Figure {
    /// The name in samples and JSON, with its unit.
    pub(in super::super) name: &'static str,
    /// The column heading.
    pub(in super::super) title: &'static str,
}

/// The results of all contestants.
#[derive(Debug, Serialize)]
pub struct ContestTable {
    title: String,
    rows: Vec<ContestRow>,
    absent: Vec<String>,
    #[serde(skip)]
    figures: Vec<Figure>,
    #[serde(skip)]
    references: Vec<Contestant>,
}

#[derive(Debug, Serialize)]
struct ContestRow {
    #[serde(rename = "contender")]
    contestant: String,
    figures: std::collections::BTreeMap<&'static str, FigureSpread>,
    /// Ratios of the first figure to that of each reference, by the reference's name.
    ratios: std::collections::BTreeMap<String, FigureSpread>,
}

impl ContestTable {
    /// Builds the table. The first figure is compared with that of each reference that took part.
    pub(super) fn new(title: String, rounds: &ContestRounds, figures: &[Figure], references: &[Contestant]) -> Self {
        let references: Vec<_> = references
            .iter()
            .copied()
            .filter(|reference| rounds.contestants().any(|contestant| contestant == *reference))
            .collect();
        let rows = rounds.contestants().map(|contestant| ContestRow {
            contestant: contestant.to_string(),
            figures: figures
                .iter()
                .filter_map(|figure| Some((figure.name, rounds.spread(contestant, figure.name)?)))
                .collect(),
            ratios: references
                .iter()
                .filter_map(|reference| {
                    let ratio = rounds.ratio(contestant, *reference, figures[0].name)?;
                    Some((reference.to_string(), ratio))
                })
                .collect(),
        });
        Self {
            title,
            rows: rows.collect(),
            absent: rounds.absent().to_vec(),
            figures: figures.to_vec(),
            references,
        }
    }

    /// Returns the spread of one figure of a contestant.
    pub(super) fn spread(&self, contestant: Contestant, figure: &str) -> Option<FigureSpread> {
        let row = self.rows.iter().find(|row| row.contestant == contestant.to_string())?;
        row.figures.get(figure).copied()
    }
}

impl fmt::Display for ContestTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAME: usize = 14;
        const CELL: usize = 21;
        writeln!(f, "{}", self.title)?;
        write!(f, "{:NAME$}", "")?;
        for figure in &self.figures {
            write!(f, "{:>CELL$}", figure.title)?;
        }
        for reference in &self.references {
            write!(f, "{:>CELL$}", format!("x {reference}"))?;
        }
        for row in &self.rows {
            write!(f, "\n{:NAME$}", row.contestant)?;
            for figure in &self.figures {
                write!(f, "{:>CELL$}", cell(row.figures.get(figure.name)))?;
            }
            for reference in &self.references {
                write!(f, "{:>CELL$}", cell(row.ratios.get(&reference.to_string())))?;
            }
        }
        for absent in &self.absent {
            write!(f, "\n{absent}")?;
        }
        writeln!(f)
    }
}

/// Formats the median with the range around it.
fn cell(spread: Option<&FigureSpread>) -> String {
    let digits = |value: f64| match value.abs() {
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    spread.map_or_else(
        || "-".to_owned(),
        |FigureSpread { min, median, max }| {
            format!(
                "{median:.*} ({min:.*}-{max:.*})",
                digits(*median),
                digits(*min),
                digits(*max)
            )
        },
    )
}
