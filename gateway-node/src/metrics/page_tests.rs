//! Checks that the table in `docs/metrics.md` has every family as its registration describes it.

use std::fmt::Write as _;

use super::tests::{one_of_each, rendered};
use crate::tests::assert_page_has_table;

const BEGIN: &str = "<!-- metrics: made from the source by the test `the_metrics_page_describes_every_family` -->\n";
const END: &str = "<!-- /metrics -->";

#[test]
fn the_metrics_page_describes_every_family() {
    assert_page_has_table("metrics.md", BEGIN, END, &table(&rendered(&one_of_each())));
}

/// Formats the families of metrics in OpenMetrics.
fn table(text: &str) -> String {
    let mut rows = String::new();
    let mut help = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').unwrap().1.trim_end_matches('.');
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (family, kind) = rest.split_once(' ').unwrap();
            let name = match kind {
                "counter" => format!("{family}_total"),
                "info" => format!("{family}_info"),
                _ => family.to_owned(),
            };
            let labels = labels(text, family, kind);
            // Writing to a string cannot fail.
            let _ = writeln!(rows, "| `{name}` | {kind} | {labels} | {help} |");
        }
    }
    format!("\n| metric | type | labels | meaning |\n|---|---|---|---|\n{rows}\n")
}

/// Returns the names of the labels of a family.
fn labels(text: &str, family: &str, kind: &str) -> String {
    let suffix = match kind {
        "counter" => "_total",
        "info" => "_info",
        "histogram" => "_bucket",
        _ => "",
    };
    let sample = text
        .lines()
        .find_map(|line| line.strip_prefix(family)?.strip_prefix(suffix)?.strip_prefix('{'));
    let pairs = sample
        .and_then(|rest| rest.split_once('}'))
        .map_or("", |(pairs, _)| pairs);
    let names = pairs
        .split(',')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, _)| name);
    let names: Vec<_> = names
        .filter(|name| *name != "le")
        .map(|name| format!("`{name}`"))
        .collect();
    names.join(", ")
}
