//! Every contender in turn, several times over, and what the medians of that are.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use super::{
    super::usage::Usage,
    ContestServer, Contestant,
    contestant::{ContestSetup, NotInstalled},
};

/// One contender in one round: each figure by its name.
pub(in super::super) type Sample = BTreeMap<&'static str, f64>;

/// What all rounds have shown.
#[derive(Debug, Default)]
pub(super) struct ContestRounds {
    /// By contender, in the order in which they were named; a sample for each round.
    samples: Vec<(Contestant, Vec<Sample>)>,
    /// Why some did not take part.
    absent: Vec<String>,
}

/// The smallest, the middle and the largest.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct FigureSpread {
    /// The smallest.
    pub min: f64,
    /// The one in the middle, or between the two in the middle.
    pub median: f64,
    /// The largest.
    pub max: f64,
}

impl FigureSpread {
    /// Of these, unless there are none.
    pub(super) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { min, median, max })
    }
}

impl ContestRounds {
    /// Has `measure` look at each contender once a round. Every other round goes through them backwards, so that no one
    /// always runs behind the same other.
    pub(super) fn run(
        setup: &ContestSetup,
        contestants: &[Contestant],
        rounds: u32,
        mut measure: impl FnMut(&ContestServer) -> Result<Sample>,
    ) -> Result<Self> {
        let mut samples: Vec<(Contestant, Vec<Sample>)> = contestants.iter().map(|it| (*it, Vec::new())).collect();
        let mut absent = Vec::new();
        for round in 0..rounds {
            let mut order: Vec<_> = samples.iter_mut().collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for (contestant, samples) in order {
                let mut server = match setup.start(*contestant) {
                    Ok(server) => server,
                    Err(error) if error.is::<NotInstalled>() => {
                        if round == 0 {
                            absent.push(error.to_string());
                        }
                        continue;
                    }
                    Err(error) => return Err(error.context(format!("starting {contestant}"))),
                };
                let sample = measure(&server).with_context(|| format!("{contestant}, round {}", round + 1));
                server.check()?;
                samples.push(sample?);
            }
        }
        samples.retain(|(_, samples)| !samples.is_empty());
        Ok(Self { samples, absent })
    }

    /// Why some did not take part, a line each.
    pub(super) fn absent(&self) -> &[String] {
        &self.absent
    }

    /// Who took part.
    pub(super) fn contestants(&self) -> impl Iterator<Item = Contestant> {
        self.samples.iter().map(|(contestant, _)| *contestant)
    }

    /// A figure of a contender over all rounds.
    pub(super) fn spread(&self, contestant: Contestant, figure: &str) -> Option<FigureSpread> {
        FigureSpread::of(self.figures(contestant, figure))
    }

    /// The sum of a figure over all rounds.
    pub(super) fn total(&self, contestant: Contestant, figure: &str) -> f64 {
        self.figures(contestant, figure).iter().sum()
    }

    /// How a figure of one compares with that of another, round by round.
    pub(super) fn ratio(&self, contestant: Contestant, other: Contestant, figure: &str) -> Option<FigureSpread> {
        let pairs = self
            .figures(contestant, figure)
            .into_iter()
            .zip(self.figures(other, figure));
        FigureSpread::of(pairs.map(|(one, other)| one / other).collect())
    }

    fn figures(&self, contestant: Contestant, figure: &str) -> Vec<f64> {
        let samples = self.samples.iter().find(|(other, _)| *other == contestant);
        let samples = samples.map_or(&[][..], |(_, samples)| samples);
        samples
            .iter()
            .filter_map(|sample| sample.get(figure).copied())
            .collect()
    }
}

/// CPU microseconds between two moments for each of `count`.
pub(in super::super) fn cpu_us_each(before: &Usage, after: &Usage, count: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts stay below 2^53")]
    let count = count.max(1) as f64;
    after.cpu_us_since(before) / count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(spread: FigureSpread) -> [String; 3] {
        [spread.min, spread.median, spread.max].map(|value| value.to_string())
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let sample = |value: f64| Sample::from([("us", value)]);
        let rounds = ContestRounds {
            samples: vec![
                (Contestant::Gateway, [1.0, 10.0, 3.0].map(sample).into()),
                (Contestant::Loop, [2.0, 20.0, 3.0].map(sample).into()),
            ],
            absent: Vec::new(),
        };
        let ratio = rounds.ratio(Contestant::Gateway, Contestant::Loop, "us").unwrap();
        assert_eq!(texts(ratio), ["0.5", "0.5", "1"]);
        let spread = rounds.spread(Contestant::Loop, "us").unwrap();
        assert_eq!(texts(spread), ["2", "3", "20"]);
        assert!(rounds.spread(Contestant::Other, "us").is_none());
    }
}
