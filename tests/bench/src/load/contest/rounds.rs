//! Measures every contestant in several rounds, and summarizes the rounds.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use super::{super::usage::Usage, ContestServer, Contestant, contestant::ContestSetup, peer_server::NotInstalled};

/// The figures of one contestant in one round, by name.
pub(in super::super) type Sample = BTreeMap<&'static str, f64>;

/// The results of all rounds.
#[derive(Debug, Default)]
pub(super) struct ContestRounds {
    /// The contestants in the order given, each with one sample per round.
    samples: Vec<(Contestant, Vec<Sample>)>,
    /// Why some contestants were skipped.
    absent: Vec<String>,
}

/// Minimum, median and maximum of a figure over the rounds.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct FigureSpread {
    /// Minimum.
    pub min: f64,
    /// Median; the mean of the two middle values if their number is even.
    pub median: f64,
    /// Maximum.
    pub max: f64,
}

impl FigureSpread {
    /// Returns `None` if there are no values.
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
    /// Calls `measure` for each contestant once a round. Every other round runs in reverse order, so that no
    /// contestant always runs right after the same other one.
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

    /// Returns one message per skipped contestant.
    pub(super) fn absent(&self) -> &[String] {
        &self.absent
    }

    /// Returns the contestants that took part.
    pub(super) fn contestants(&self) -> impl Iterator<Item = Contestant> {
        self.samples.iter().map(|(contestant, _)| *contestant)
    }

    /// Returns the spread of a figure of one contestant over all rounds.
    pub(super) fn spread(&self, contestant: Contestant, figure: &str) -> Option<FigureSpread> {
        FigureSpread::of(self.figures(contestant, figure))
    }

    /// Returns the sum of a figure over all rounds.
    pub(super) fn total(&self, contestant: Contestant, figure: &str) -> f64 {
        self.figures(contestant, figure).iter().sum()
    }

    /// Returns the spread of the ratio between two contestants, taken within each round.
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

/// Returns the CPU microseconds between two readings, divided by `count`.
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
