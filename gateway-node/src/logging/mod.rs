//! What the node writes to its log: one line an event on standard error, for people or for machines.
//!
//! Only the shape of a line lives here. What is worth a line is decided where it happens; what a peer sent goes into a
//! key-value field or through [`quote`], never into a message as it came.

mod field;
mod line;
mod text;

use std::{fmt, io::Write as _, str::FromStr, time::SystemTime};

use clap::ValueEnum;
use serde::Deserialize;

pub use self::text::{PEER_TEXT_BYTES, quote};
pub(crate) use self::text::{escape, escape_json};

/// How a line of the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// `2026-01-02T03:04:05.678Z INFO session identified session=123`: for people.
    #[default]
    Text,
    /// One JSON object a line with `time`, `level`, `target`, `message` and `fields`: for machines.
    Json,
}

impl Format {
    /// The name in the configuration and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The string names no [`Format`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such log format: expected text or json")]
pub struct UnknownFormat;

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(UnknownFormat),
        }
    }
}

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// The filter is none that `env_logger` understands.
    #[error("the log level is not understood: {0}")]
    Filter(#[from] env_filter::ParseError),
    /// Something else in this process has set up a log already.
    #[error("the log is set up already")]
    AlreadySet(#[from] log::SetLoggerError),
}

/// Whether [`init`] would accept `filter`: for checking a configuration without setting up anything.
///
/// # Errors
///
/// [`InitError::Filter`] with what is wrong.
pub fn check_filter(filter: &str) -> Result<(), InitError> {
    env_filter::Builder::new().try_parse(filter)?;
    Ok(())
}

/// Sends the process's log to standard error in `format`, as far as `filter` lets it through.
///
/// `filter` is a level (`info`) or what `env_logger` takes beyond that (`info,gateway_node::session=debug`). Colour is
/// used in [`Format::Text`] on a terminal only, and never under `NO_COLOR`. Of `actix_server` only warnings are let through,
/// unless `filter` names it.
///
/// # Errors
///
/// [`InitError::Filter`] when the filter is not understood, [`InitError::AlreadySet`] on a second call.
pub fn init(format: Format, filter: &str) -> Result<(), InitError> {
    // `parse_filters` alone would skip what it does not understand, and a log that is silent for a typing error is
    // found out too late.
    check_filter(filter)?;
    let mut builder = env_logger::Builder::new();
    // The server says how many workers it starts; the node says what matters of that. A filter that names the module wins.
    builder.filter_module("actix_server", log::LevelFilter::Warn);
    builder.parse_filters(filter);
    builder.target(env_logger::Target::Stderr);
    match format {
        Format::Text => builder.format(|out, record| {
            let style = out.default_level_style(record.level());
            let line = line::text(SystemTime::now(), style, record);
            out.write_all(line.as_bytes())
        }),
        Format::Json => builder.format(|out, record| {
            let line = line::json(SystemTime::now(), record);
            out.write_all(line.as_bytes())
        }),
    };
    Ok(builder.try_init()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format_names_round_trip() {
        for format in [Format::Text, Format::Json] {
            assert_eq!(format.as_str().parse(), Ok(format));
        }
        assert_eq!("JSON".parse::<Format>(), Err(UnknownFormat));
    }

    #[test]
    fn filters_are_checked_before_they_are_used() {
        for good in ["info", "off", "warn,gateway_node::session=debug"] {
            assert!(check_filter(good).is_ok(), "{good}");
        }
        assert!(check_filter("info,gateway_node=loud").is_err());
    }
}
