//! The node's log: one line per event on standard error, as text or JSON.
//!
//! This module only formats and writes lines; the code that logs decides what is worth a line. Text from a peer must go
//! into a key-value field or through [`quote`], never unescaped into a message.

mod field;
mod line;
mod queue;
mod repeats;
mod text;

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    fmt,
    io::{self, Write as _},
    panic::{self, PanicHookInfo},
    str::FromStr,
    sync::OnceLock,
    thread,
    time::Duration,
};

use anstream::{AutoStream, ColorChoice};
use clap::ValueEnum;
use env_logger::{
    WriteStyle,
    fmt::style::{AnsiColor, Style},
};
use log::{Level, LevelFilter, Metadata, Record};
use serde::Deserialize;

pub(crate) use self::text::escape;
#[cfg(feature = "client")]
pub(crate) use self::text::escape_json;
pub use self::text::{PEER_TEXT_BYTES, quote};
use self::{
    queue::{LogQueue, LogQueueBounds},
    repeats::Repeats,
};

/// The format of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogOutput {
    /// `2026-01-02T03:04:05.678Z INFO session identified session=123`: for people.
    #[default]
    Text,
    /// One JSON object per line with `time`, `level`, `target`, `message` and `fields`: for machines.
    Json,
}

impl LogOutput {
    /// The name in the configuration and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

impl fmt::Display for LogOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The error for a string that does not name a [`LogOutput`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such log format: expected text or json")]
pub struct UnknownFormat;

impl FromStr for LogOutput {
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
    /// `env_logger` cannot parse the filter.
    #[error("invalid log level: {0}")]
    Filter(#[from] env_filter::ParseError),
    /// A logger is already set in this process.
    #[error("a logger is already set")]
    AlreadySet(#[from] log::SetLoggerError),
    /// The thread that writes the log cannot be started.
    #[error("cannot start the thread that writes the log: {0}")]
    Thread(#[from] io::Error),
}

/// Checks whether [`init`] would accept `filter`, without setting up a log.
///
/// # Errors
///
/// [`InitError::Filter`] if it would not.
pub fn check_filter(filter: &str) -> Result<(), InitError> {
    env_filter::Builder::new().try_parse(filter)?;
    Ok(())
}

/// How long a process waits at its end for its last lines to be written.
pub(crate) const LAST_WORDS: Duration = Duration::from_millis(500);

/// Libraries that log the errors of peers, but without their addresses. Such errors are counted and logged by
/// [`ClientErrorLog`](crate::client_error_log::ClientErrorLog) instead.
const SILENT: [&str; 4] = ["actix_http", "actix_tls", "actix_web", "rustls"];

/// The queue of log lines. There is one per process, like the logger of the `log` crate.
static QUEUE: OnceLock<LogQueue> = OnceLock::new();

/// Writes the queued lines when dropped, also while a panic unwinds. Waits only briefly for a blocked output.
#[derive(Debug)]
#[must_use = "the last lines are written when it is dropped"]
pub struct FlushGuard(());

impl Drop for FlushGuard {
    fn drop(&mut self) {
        log::logger().flush();
    }
}

/// Sets up the process's log: records that pass `filter` are written to standard error in `format`. A separate thread
/// writes them, so logging never waits for the reader. Panics are logged in the same format, whatever the filter.
///
/// `filter` is a level (`info`) or any filter of `env_logger` (`info,gateway_node::session=debug`). Colour is used only
/// with [`LogOutput::Text`] on a terminal, and never if `NO_COLOR` is set. Unless `filter` names them, `actix_server` logs
/// only warnings and errors, and the libraries that log the errors of peers log nothing.
///
/// # Errors
///
/// [`InitError::Filter`] if the filter cannot be parsed, [`InitError::AlreadySet`] on a second call,
/// [`InitError::Thread`] if the thread cannot be started.
pub fn init(format: LogOutput, filter: &str) -> Result<FlushGuard, InitError> {
    // `parse_filters` alone would ignore what it cannot parse, and a log that a typing error has silenced is noticed
    // too late.
    check_filter(filter)?;
    let has_colour = AutoStream::choice(&io::stderr()) != ColorChoice::Never;
    let drop_line = move |count: u64| {
        let message = format_args!("log lines dropped because standard error was not read in time");
        own_line(format, has_colour, Level::Warn, message, &[("lines", count)])
    };
    let queue = LogQueue::start(LogQueueBounds::default(), io::stderr(), drop_line)?;
    let mut builder = env_logger::Builder::new();
    // At `info` the server logs the workers that it starts, which the node's own lines cover. A filter that names the
    // module takes precedence.
    builder.filter_module("actix_server", LevelFilter::Warn);
    for module in SILENT {
        builder.filter_module(module, LevelFilter::Off);
    }
    builder.parse_filters(filter);
    builder.target(env_logger::Target::Pipe(Box::new(Pushed(queue.clone()))));
    builder.write_style(if has_colour {
        WriteStyle::Always
    } else {
        WriteStyle::Never
    });
    match format {
        LogOutput::Text => builder.format(|out, record| {
            let style = out.default_level_style(record.level());
            let line = line::text(crate::clock::wall_clock(), style, record);
            out.write_all(line.as_bytes())
        }),
        LogOutput::Json => builder.format(|out, record| {
            let line = line::json(crate::clock::wall_clock(), record);
            out.write_all(line.as_bytes())
        }),
    };
    let logger = Logger {
        inner: builder.build(),
        queue: queue.clone(),
        repeats: Repeats::default(),
    };
    let level = logger.inner.filter();
    log::set_boxed_logger(Box::new(logger))?;
    log::set_max_level(level);
    let _ = QUEUE.set(queue.clone());
    panic::set_hook(Box::new(move |panic| {
        for line in panic_lines(format, has_colour, panic) {
            queue.push(line.as_bytes());
        }
    }));
    Ok(FlushGuard(()))
}

/// Returns how many lines of the log were dropped because standard error was not read in time.
pub fn dropped_lines() -> u64 {
    QUEUE.get().map_or(0, LogQueue::dropped)
}

/// Writes `text` and a line feed to standard error, unformatted and after all queued lines. Waits only briefly for a
/// blocked output.
pub fn write_last_words(text: &str) {
    let line = format!("{text}\n");
    let queue = match QUEUE.get() {
        Some(queue) => Ok(queue.clone()),
        None => LogQueue::start(LogQueueBounds::default(), io::stderr(), |_| String::new()),
    };
    // If not even a thread can be started, there is no way left to report it.
    if let Ok(queue) = queue {
        queue.push(line.as_bytes());
        queue.flush(LAST_WORDS);
    }
}

/// A writer that queues each line.
struct Pushed(LogQueue);

impl io::Write for Pushed {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `env_logger`, with a limit on repeated warnings of libraries.
struct Logger {
    inner: env_logger::Logger,
    queue: LogQueue,
    repeats: Repeats,
}

impl log::Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.inner.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.inner.matches(record) {
            return;
        }
        match self.repeats.pass(record, crate::clock::monotonic()) {
            None => {}
            Some(0) => self.inner.log(record),
            Some(left_out) => self
                .inner
                .log(&record.to_builder().key_values(&[("left_out_before", left_out)]).build()),
        }
    }

    /// Waits until everything is written, but at most [`LAST_WORDS`].
    fn flush(&self) {
        self.queue.flush(LAST_WORDS);
    }
}

/// Formats a line that does not come through the `log` crate: about dropped lines or a panic.
fn own_line(
    format: LogOutput,
    has_colour: bool,
    level: Level,
    message: fmt::Arguments<'_>,
    fields: &[(&str, u64)],
) -> String {
    let record = Record::builder()
        .level(level)
        .target(module_path!())
        .args(message)
        .key_values(&fields)
        .build();
    let now = crate::clock::wall_clock();
    match format {
        LogOutput::Text if has_colour && level == Level::Error => line::text(now, AnsiColor::Red.on_default(), &record),
        LogOutput::Text if has_colour => line::text(now, AnsiColor::Yellow.on_default(), &record),
        LogOutput::Text => line::text(now, Style::new(), &record),
        LogOutput::Json => line::json(now, &record),
    }
}

/// Formats a panic as log lines: the message, and the backtrace if the environment enables it.
fn panic_lines(format: LogOutput, has_colour: bool, panic: &PanicHookInfo<'_>) -> Vec<String> {
    let line = |message: fmt::Arguments<'_>| own_line(format, has_colour, Level::Error, message, &[]);
    let thread = thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let why = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let why = why.unwrap_or("no message");
    let mut lines = vec![match panic.location() {
        Some(place) => line(format_args!("thread {thread} panicked at {place}: {why}")),
        None => line(format_args!("thread {thread} panicked: {why}")),
    }];
    let trace = Backtrace::capture();
    if trace.status() == BacktraceStatus::Captured {
        lines.extend(trace.to_string().lines().map(|frame| line(format_args!("{frame}"))));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format_names_round_trip() {
        for format in [LogOutput::Text, LogOutput::Json] {
            assert_eq!(format.as_str().parse(), Ok(format));
        }
        assert_eq!("JSON".parse::<LogOutput>(), Err(UnknownFormat));
    }

    #[test]
    fn invalid_filters_are_rejected() {
        for good in ["info", "off", "warn,gateway_node::session=debug"] {
            assert!(check_filter(good).is_ok(), "{good}");
        }
        assert!(check_filter("info,gateway_node=loud").is_err());
    }
}
