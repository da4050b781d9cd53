//! Reads a node's metrics in Prometheus' text format.

use std::collections::BTreeMap;

/// The sums of a node's metrics at one time: each family is added up over its labels.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Scrape {
    values: BTreeMap<String, f64>,
    histograms: BTreeMap<String, Buckets>,
}

/// The cumulative buckets of a histogram: upper bounds with counts, in order.
#[derive(Debug, Clone, Default, PartialEq)]
struct Buckets(Vec<(f64, f64)>);

impl Buckets {
    /// Returns the index of the bucket with this bound. The node writes a bound the same way each time.
    fn position(&self, bound: f64) -> Option<usize> {
        self.0.iter().position(|(known, _)| known.total_cmp(&bound).is_eq())
    }

    fn add(&mut self, bound: f64, count: f64) {
        match self.position(bound) {
            Some(position) => self.0[position].1 += count,
            None => self.0.push((bound, count)),
        }
    }

    fn count(&self, bound: f64) -> f64 {
        self.position(bound).map_or(0.0, |position| self.0[position].1)
    }
}

impl Scrape {
    /// Parses the metrics. Lines that are none are skipped.
    pub(super) fn parse(text: &str) -> Self {
        let mut scrape = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            scrape.add(line);
        }
        scrape
    }

    fn add(&mut self, line: &str) -> Option<()> {
        let (series, rest) = match line.split_once('}') {
            Some((series, rest)) => (series, rest),
            None => line.split_once(' ')?,
        };
        let value: f64 = rest.split_whitespace().next()?.parse().ok()?;
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        match name.strip_suffix("_bucket") {
            Some(histogram) => {
                let (_, bound) = labels.split_once("le=\"")?;
                let bound: f64 = bound.split('"').next()?.parse().ok()?;
                let buckets = self.histograms.entry(histogram.to_owned()).or_default();
                buckets.add(bound, value);
            }
            None => *self.values.entry(name.to_owned()).or_default() += value,
        }
        Some(())
    }

    /// Returns the sum of a family, or 0 if the node does not have it.
    pub(super) fn value(&self, name: &str) -> f64 {
        self.values.get(name).copied().unwrap_or(0.0)
    }

    /// Returns by how much a counter has grown since `earlier`. A counter that is lower has begun again.
    pub(super) fn growth(&self, earlier: &Self, name: &str) -> f64 {
        let (now, before) = (self.value(name), earlier.value(name));
        if now < before { now } else { now - before }
    }

    /// Returns the quantile `q` of what a histogram has observed since `earlier`, interpolated within its bucket. `None`
    /// if nothing was.
    pub(super) fn quantile(&self, earlier: &Self, histogram: &str, q: f64) -> Option<f64> {
        let earlier = earlier.histograms.get(histogram);
        let before = |bound| earlier.map_or(0.0, |earlier| earlier.count(bound));
        let Buckets(now) = self.histograms.get(histogram)?;
        let buckets: Vec<_> = now
            .iter()
            .map(|(bound, count)| (*bound, count - before(*bound)))
            .collect();
        let total = buckets.last()?.1;
        if total <= 0.0 {
            return None;
        }
        let rank = q * total;
        let (mut low, mut below) = (0.0, 0.0);
        for (bound, count) in buckets {
            if count >= rank {
                if bound.is_infinite() || count <= below {
                    return Some(low);
                }
                return Some(low + (bound - low) * (rank - below) / (count - below));
            }
            (low, below) = (bound, count);
        }
        Some(low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrape(fast: u64, all: u64, events: u64) -> Scrape {
        Scrape::parse(&format!(
            "# TYPE utilbot_publish_seconds histogram\n\
             utilbot_publish_seconds_bucket{{le=\"0.001\"}} {fast}\n\
             utilbot_publish_seconds_bucket{{le=\"0.01\"}} {all}\n\
             utilbot_publish_seconds_bucket{{le=\"+Inf\"}} {all}\n\
             utilbot_events_total{{application=\"a\"}} {events}\n\
             utilbot_events_total{{application=\"b\"}} 2\n\
             up 1\nnonsense\n"
        ))
    }

    #[test]
    #[allow(clippy::float_cmp, reason = "the numbers are small integers")]
    fn families_are_added_up() {
        let (first, second) = (scrape(0, 0, 5), scrape(50, 100, 8));
        assert_eq!((first.value("utilbot_events_total"), first.value("up")), (7.0, 1.0));
        assert_eq!(second.growth(&first, "utilbot_events_total"), 3.0);
        assert_eq!(
            first.growth(&second, "utilbot_events_total"),
            7.0,
            "the node has restarted"
        );
        assert_eq!(first.value("missing"), 0.0);
    }

    #[test]
    fn quantiles_are_of_what_came_since() {
        let (first, second) = (scrape(10, 10, 0), scrape(60, 110, 0));
        let quantile = |q| second.quantile(&first, "utilbot_publish_seconds", q);
        let near = |value: Option<f64>, wanted: f64| value.is_some_and(|value| (value - wanted).abs() < 1e-9);
        assert!(near(quantile(0.25), 0.0005), "{:?}", quantile(0.25));
        assert!(near(quantile(0.75), 0.0055), "{:?}", quantile(0.75));
        assert_eq!(first.quantile(&first, "utilbot_publish_seconds", 0.5), None);
        assert_eq!(first.quantile(&first, "missing", 0.5), None);
    }
}
