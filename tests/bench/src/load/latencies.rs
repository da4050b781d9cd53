//! Many measured times, and the few numbers that describe them.

use std::time::Duration;

use serde::Serialize;

/// Times as they were measured.
#[derive(Debug, Default)]
pub(super) struct Latencies(Vec<u32>);

impl Latencies {
    /// Adds one, in whole microseconds.
    pub(super) fn add(&mut self, latency: Duration) {
        self.0.push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
    }

    /// Median, 99th percentile and maximum.
    pub(super) fn summary(mut self) -> LatencySummary {
        self.0.sort_unstable();
        let at = |percent: usize| {
            let rank = (self.0.len() * percent).div_ceil(100).max(1) - 1;
            self.0.get(rank).map_or(0.0, |us| f64::from(*us) / 1000.0)
        };
        LatencySummary {
            p50_ms: at(50),
            p99_ms: at(99),
            max_ms: at(100),
        }
    }
}

/// Latencies in brief, in milliseconds; zero where there were none.
#[derive(Debug, Clone, Copy, Serialize)]
#[expect(clippy::struct_field_names, reason = "the unit belongs to each name in JSON")]
pub struct LatencySummary {
    /// Half of them were no longer.
    pub p50_ms: f64,
    /// 99 of a hundred were no longer.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_nearest_rank() {
        let mut latencies = Latencies::default();
        for ms in (1..=200).rev() {
            latencies.add(Duration::from_millis(ms));
        }
        let summary = latencies.summary();
        let texts = [summary.p50_ms, summary.p99_ms, summary.max_ms].map(|ms| format!("{ms}"));
        assert_eq!(texts, ["100", "198", "200"]);
    }
}
