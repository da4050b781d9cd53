//! The text formats of metrics.

use std::fmt::Write as _;

/// A text format, as a scraper asks for it in `Accept`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposition {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' text format 0.0.4.
    Text,
}

impl Exposition {
    /// Returns the format for a value of `Accept`.
    pub fn of(accept: Option<&str>) -> Self {
        // Prometheus lists OpenMetrics first. Others, such as a browser, do not name it.
        match accept {
            Some(accept) if accept.contains("application/openmetrics-text") => Self::OpenMetrics,
            _ => Self::Text,
        }
    }

    /// The value of `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// Converts metrics from OpenMetrics to this format.
    pub fn format(self, open_metrics: String) -> String {
        match self {
            Self::OpenMetrics => open_metrics,
            Self::Text => text(&open_metrics),
        }
    }
}

/// Converts OpenMetrics to the text format, where the name of a counter has its suffix in `HELP` and `TYPE` too, there is
/// no type `info`, and no `EOF`.
fn text(open_metrics: &str) -> String {
    let mut out = String::with_capacity(open_metrics.len());
    let mut lines = open_metrics.lines().peekable();
    while let Some(line) = lines.next() {
        let kind = |line: &str| {
            line.strip_prefix("# TYPE ")
                .and_then(|rest| Some(rest.rsplit_once(' ')?.1.to_owned()))
        };
        // `HELP` stands before `TYPE`.
        let of = kind(line).or_else(|| lines.peek().and_then(|next| kind(next)));
        let suffix = match of.as_deref() {
            Some("counter") => "_total",
            Some("info") => "_info",
            _ => "",
        };
        // Writing to a string does not fail.
        let _ = match line.split_once(' ') {
            Some(("#", "EOF")) => Ok(()),
            Some(("#", comment)) => match comment.splitn(3, ' ').collect::<Vec<_>>()[..] {
                ["HELP", name, help] => writeln!(out, "# HELP {name}{suffix} {help}"),
                ["TYPE", name, "info"] => writeln!(out, "# TYPE {name}{suffix} gauge"),
                ["TYPE", name, kind] => writeln!(out, "# TYPE {name}{suffix} {kind}"),
                _ => Ok(()),
            },
            _ => writeln!(out, "{line}"),
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_decides_about_the_format() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.1";
        assert_eq!(Exposition::of(Some(prometheus)), Exposition::OpenMetrics);
        for other in [None, Some("*/*"), Some("text/html"), Some("text/plain;version=0.0.4")] {
            assert_eq!(Exposition::of(other), Exposition::Text, "{other:?}");
        }
    }

    #[test]
    fn the_text_format_names_counters_with_their_suffix() {
        let open_metrics = "# HELP a Things.\n# TYPE a counter\na_total{b=\"c\"} 1\n# HELP d Now.\n# TYPE d gauge\nd 2\n\
                            # HELP e Build.\n# TYPE e info\ne_info{v=\"1\"} 1\n# UNIT d seconds\n# EOF\n";
        let expected = "# HELP a_total Things.\n# TYPE a_total counter\na_total{b=\"c\"} 1\n# HELP d Now.\n\
                        # TYPE d gauge\nd 2\n# HELP e_info Build.\n# TYPE e_info gauge\ne_info{v=\"1\"} 1\n";
        assert_eq!(Exposition::Text.format(open_metrics.to_owned()), expected);
        assert_eq!(Exposition::OpenMetrics.format(open_metrics.to_owned()), open_metrics);
    }
}
