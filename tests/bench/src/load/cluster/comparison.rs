//! The reports of all builds of a run, and how they compare.

use std::fmt;

use gateway_harness::ToolReport;
use serde::Serialize;

use super::{ClusterLoadReport, ClusterSpread};

/// The report of each build, by name. The first one is that of the build under test.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct ClusterComparison(pub(super) Vec<(&'static str, ClusterLoadReport)>);

impl ClusterComparison {
    /// The report of the build under test.
    pub fn first(&self) -> Option<&ClusterLoadReport> {
        self.0.first().map(|(_, report)| report)
    }
}

impl ToolReport for ClusterComparison {
    fn failures(&self) -> Vec<String> {
        let of = |(name, report): &(&str, ClusterLoadReport)| {
            let failures = report.failures().into_iter();
            failures.map(|failure| format!("{name}: {failure}")).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of).collect()
    }
}

impl fmt::Display for ClusterComparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, report) in &self.0 {
            writeln!(f, "{name}: {report}")?;
        }
        let [(_, first), others @ ..] = &self.0[..] else {
            return Ok(());
        };
        for (name, report) in others {
            writeln!(f, "\nthe first one to {name}, ratio of the medians")?;
            for ((what, of), (_, to)) in figures(first).zip(figures(report)) {
                let ratio = of.median / to.median;
                writeln!(f, "{what:<38}{:>12.2}{:>12.2}{ratio:>12.2}", of.median, to.median)?;
            }
        }
        Ok(())
    }
}

/// The figures of a report that two builds are compared by.
fn figures(report: &ClusterLoadReport) -> impl Iterator<Item = (String, ClusterSpread)> {
    let rates = [
        ("sockets, events/s", report.sockets),
        ("one socket, events/s", report.one_socket),
        ("HTTP, events/s", report.http),
        ("a node without receivers, CPU us/event", report.bystander),
    ];
    let rates = rates.into_iter().map(|(name, spread)| (name.to_owned(), spread));
    let costs = report.costs.iter().filter(|cost| cost.of.starts_with("cluster"));
    let costs = costs.map(|cost| (format!("Redis CPU us/event, {}", cost.of), cost.redis));
    let latencies = report.latencies.iter();
    let latencies = latencies.map(|latency| (format!("latency, {}, p50 us", latency.of), latency.p50_us));
    rates.chain(costs).chain(latencies)
}
