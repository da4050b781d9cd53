//! Checks that the table in `docs/metrics.md` has every family as its registration describes it.

use std::{fmt::Write as _, fs, path::Path};

use super::tests::{one_of_each, rendered};

const BEGIN: &str = "<!-- metrics: made from the source by the test `the_metrics_page_describes_every_family` -->\n";
const END: &str = "<!-- /metrics -->";

#[test]
fn the_metrics_page_describes_every_family() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = fs::read_to_string(root.join("docs/metrics.md")).unwrap();
    let (before, rest) = page
        .split_once(BEGIN)
        .expect("the page has the mark at the start of the table");
    let (_, after) = rest
        .split_once(END)
        .expect("the page has the mark at the end of the table");
    let expected = format!("{before}{BEGIN}{}{END}{after}", table(&rendered(&one_of_each())));
    if page != expected {
        let target = root.join("target");
        fs::create_dir_all(&target).unwrap();
        fs::write(target.join("metrics.md"), expected).unwrap();
        panic!("the table of metrics is out of date: run `cp target/metrics.md docs/metrics.md`");
    }
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
