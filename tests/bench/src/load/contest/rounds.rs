//! Every contender in turn, several times over, and what the medians of that are.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use super::{
    super::usage::Usage,
    Contender, Server,
    contender::{NotInstalled, Setting},
};

/// One contender in one round: each figure by its name.
pub(in super::super) type Sample = BTreeMap<&'static str, f64>;

/// What all rounds have shown.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    /// By contender, in the order in which they were named; a sample for each round.
    samples: Vec<(Contender, Vec<Sample>)>,
    /// Why some did not take part.
    absent: Vec<String>,
}

/// The smallest, the middle and the largest.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Spread {
    /// The smallest.
    pub min: f64,
    /// The one in the middle, or between the two in the middle.
    pub median: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
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

impl Rounds {
    /// Has `measure` look at each contender once a round. Every other round goes through them backwards, so that no one
    /// always runs behind the same other.
    pub(super) fn run(
        setting: &Setting,
        contenders: &[Contender],
        rounds: u32,
        mut measure: impl FnMut(&Server) -> Result<Sample>,
    ) -> Result<Self> {
        let mut samples: Vec<(Contender, Vec<Sample>)> = contenders.iter().map(|it| (*it, Vec::new())).collect();
        let mut absent = Vec::new();
        for round in 0..rounds {
            let mut order: Vec<_> = samples.iter_mut().collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for (contender, samples) in order {
                let mut server = match setting.start(*contender) {
                    Ok(server) => server,
                    Err(error) if error.is::<NotInstalled>() => {
                        if round == 0 {
                            absent.push(error.to_string());
                        }
                        continue;
                    }
                    Err(error) => return Err(error.context(format!("starting {contender}"))),
                };
                let sample = measure(&server).with_context(|| format!("{contender}, round {}", round + 1));
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
    pub(super) fn contenders(&self) -> impl Iterator<Item = Contender> {
        self.samples.iter().map(|(contender, _)| *contender)
    }

    /// A figure of a contender over all rounds.
    pub(super) fn spread(&self, contender: Contender, figure: &str) -> Option<Spread> {
        Spread::of(self.figures(contender, figure))
    }

    /// The sum of a figure over all rounds.
    pub(super) fn total(&self, contender: Contender, figure: &str) -> f64 {
        self.figures(contender, figure).iter().sum()
    }

    /// How a figure of one compares with that of another, round by round.
    pub(super) fn ratio(&self, contender: Contender, other: Contender, figure: &str) -> Option<Spread> {
        let pairs = self
            .figures(contender, figure)
            .into_iter()
            .zip(self.figures(other, figure));
        Spread::of(pairs.map(|(one, other)| one / other).collect())
    }

    fn figures(&self, contender: Contender, figure: &str) -> Vec<f64> {
        let samples = self.samples.iter().find(|(other, _)| *other == contender);
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

    fn told(spread: Spread) -> [String; 3] {
        [spread.min, spread.median, spread.max].map(|value| value.to_string())
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let sample = |value: f64| Sample::from([("us", value)]);
        let rounds = Rounds {
            samples: vec![
                (Contender::Gateway, [1.0, 10.0, 3.0].map(sample).into()),
                (Contender::Loop, [2.0, 20.0, 3.0].map(sample).into()),
            ],
            absent: Vec::new(),
        };
        let ratio = rounds.ratio(Contender::Gateway, Contender::Loop, "us").unwrap();
        assert_eq!(told(ratio), ["0.5", "0.5", "1"]);
        let spread = rounds.spread(Contender::Loop, "us").unwrap();
        assert_eq!(told(spread), ["2", "3", "20"]);
        assert!(rounds.spread(Contender::Other, "us").is_none());
    }
}
