//! The output: human-readable lines on a terminal, JSON lines anywhere else.

use std::{
    borrow::Cow,
    fmt::Write as _,
    io::{self, Write},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use humantime::format_rfc3339_millis;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;

use super::{
    close_code,
    packet::{self, Packet},
};
use crate::logging::{escape, escape_json};

/// The output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OutputStyle {
    /// `12:03:04.123 ← event announce {"a":1}`, the time in UTC.
    Terminal {
        /// Whether to use ANSI colours.
        colour: bool,
    },
    /// One JSON object per line.
    Json,
}

/// The direction of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Direction {
    In,
    Out,
}

/// One event to show.
#[derive(Debug)]
pub(super) enum PrintedRecord<'a> {
    /// A packet, with the round trip if it acknowledges a heartbeat.
    Packet {
        direction: Direction,
        packet: &'a Packet,
        round_trip: Option<Duration>,
    },
    /// A text message that is not a JSON object.
    Text(&'a str),
    /// A binary message that does not inflate, with its size in bytes.
    Binary(usize),
    /// A WebSocket ping or pong.
    Control(&'static str),
    /// A connection is being made.
    Connecting { url: &'a str },
    /// The WebSocket is open.
    Connected { url: &'a str },
    /// A close frame was received. The code is 1005 if it had none.
    Closed { code: u16, reason: &'a str },
    /// A problem: an event name for scripts and a line for people.
    Problem { event: &'static str, message: &'a str },
    /// Information, likewise with an event name and a line.
    Note { event: &'static str, message: &'a str },
}

/// Minimum length of a key to redact. A shorter one would match parts of ordinary words.
const SECRET_BYTES: usize = 8;

const RED: &str = "\u{1b}[31m";
const YELLOW: &str = "\u{1b}[33m";
const GREEN: &str = "\u{1b}[32m";
const CYAN: &str = "\u{1b}[36m";
const DIM: &str = "\u{1b}[2m";
const PLAIN: &str = "";
const RESET: &str = "\u{1b}[0m";

/// Writes [`PrintedRecord`]s to `out`.
#[derive(Debug)]
pub(super) struct Renderer<W> {
    out: W,
    style: OutputStyle,
    /// The key, redacted in every line wherever it appears.
    secret: SecretString,
}

impl<W: Write> Renderer<W> {
    pub(super) fn new(out: W, style: OutputStyle, secret: SecretString) -> Self {
        Self { out, style, secret }
    }

    /// Writes one record, which happened at `now`, as one line.
    pub(super) fn write(&mut self, now: SystemTime, record: &PrintedRecord<'_>) -> io::Result<()> {
        let now = now.max(UNIX_EPOCH);
        let line = match self.style {
            OutputStyle::Terminal { colour } => terminal(now, colour, record),
            OutputStyle::Json => escape_json(&json(now, record)),
        };
        writeln!(self.out, "{}", self.redact(&line))?;
        self.out.flush()
    }

    #[cfg(test)]
    pub(super) fn into_inner(self) -> W {
        self.out
    }

    fn redact<'a>(&self, line: &'a str) -> Cow<'a, str> {
        let secret = self.secret.expose_secret();
        if secret.len() < SECRET_BYTES {
            return line.into();
        }
        let in_json = serde_json::to_string(secret).unwrap_or_default();
        let in_json = in_json.trim_matches('"');
        if line.contains(secret) || line.contains(in_json) {
            return line.replace(secret, "<redacted>").replace(in_json, "<redacted>").into();
        }
        line.into()
    }
}

fn terminal(now: SystemTime, colour: bool, record: &PrintedRecord<'_>) -> String {
    let (style, body) = match record {
        PrintedRecord::Packet {
            direction,
            packet,
            round_trip,
        } => packet_line(*direction, packet, *round_trip),
        PrintedRecord::Text(text) => (YELLOW, format!("← not a JSON object: {}", escape(text))),
        PrintedRecord::Binary(bytes) => (YELLOW, format!("← {bytes} bytes that do not inflate")),
        PrintedRecord::Control(kind) => (DIM, format!("← {kind}")),
        PrintedRecord::Connecting { url } => (DIM, format!("· connecting to {}", escape(url))),
        PrintedRecord::Connected { url } => (GREEN, format!("· connected to {}", escape(url))),
        PrintedRecord::Closed { code, reason } => {
            let style = if close_code::is_normal((*code).into()) {
                PLAIN
            } else {
                RED
            };
            let mut body = format!("· closed {code}: {}", close_code::meaning(*code));
            if !reason.is_empty() {
                let _ = write!(body, " ({})", escape(reason));
            }
            (style, body)
        }
        PrintedRecord::Problem { message, .. } => (RED, format!("· {}", escape(message))),
        PrintedRecord::Note { message, .. } => (PLAIN, format!("· {message}")),
    };
    let time = format_rfc3339_millis(now).to_string();
    let time = time.get(11..23).unwrap_or_default();
    match (colour, style) {
        (true, PLAIN) => format!("{DIM}{time}{RESET} {body}"),
        (true, style) => format!("{DIM}{time}{RESET} {style}{body}{RESET}"),
        (false, _) => format!("{time} {body}"),
    }
}

fn packet_line(direction: Direction, packet: &Packet, round_trip: Option<Duration>) -> (&'static str, String) {
    let op = packet.op();
    let (style, what) = match (direction, op) {
        (Direction::In, Some(packet::ERROR)) => (RED, Cow::from("error")),
        (Direction::In, Some(packet::EVENT)) => (CYAN, "event".into()),
        (Direction::In, Some(packet::HELLO)) => (GREEN, "hello".into()),
        (Direction::In, Some(packet::HEARTBEAT_ACK)) => (DIM, "heartbeat ack".into()),
        (Direction::Out, Some(packet::CLIENT_EVENT)) => (PLAIN, "event".into()),
        (Direction::Out, Some(packet::HEARTBEAT)) => (DIM, "heartbeat".into()),
        (_, Some(op)) => (YELLOW, format!("op {op}").into()),
        (_, None) => match packet.raw("op") {
            Some(op) => (YELLOW, format!("op {}", op.get()).into()),
            None => (YELLOW, "no op".into()),
        },
    };
    let arrow = match direction {
        Direction::In => '←',
        Direction::Out => '→',
    };
    let mut body = format!("{arrow} {what}");
    // Writing to a string cannot fail.
    if let Some(e) = packet.raw("e") {
        let _ = write!(body, " {}", e.get());
        if packet.raw("m").is_none()
            && let Some(message) = packet.get("e").and_then(close_code::error_message)
        {
            let _ = write!(body, ": {message}");
        }
    }
    if let Some(t) = packet.raw("t") {
        let plain = packet.name().filter(|name| {
            let bare = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '/');
            !name.is_empty() && name.chars().all(bare)
        });
        let _ = write!(body, " {}", plain.as_deref().unwrap_or(t.get()));
    }
    if let Some(m) = packet.raw("m") {
        let plain = packet.get::<String>("m").map(|m| escape(&m));
        let _ = write!(body, ": {}", plain.as_deref().unwrap_or(m.get()));
    }
    if let Some(d) = packet.raw("d") {
        let _ = write!(body, " {}", d.get());
    }
    for (name, value) in packet.others() {
        let _ = write!(body, " {}={}", escape(name), value.get());
    }
    if let Some(round_trip) = round_trip {
        let _ = write!(body, " after {:.2} ms", milliseconds(round_trip));
    }
    (style, body)
}

fn json(now: SystemTime, record: &PrintedRecord<'_>) -> String {
    use serde_json::value::RawValue;
    use std::collections::BTreeMap;

    #[derive(Default, Serialize)]
    struct RenderedLine<'a> {
        time: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        direction: Option<Direction>,
        #[serde(skip_serializing_if = "Option::is_none")]
        event: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        op: Option<&'a RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        t: Option<&'a RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        e: Option<&'a RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        m: Option<&'a RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        d: Option<&'a RawValue>,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        other: BTreeMap<&'a str, &'a RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        round_trip_ms: Option<f64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        url: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        code: Option<u16>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        meaning: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        binary_bytes: Option<usize>,
        #[serde(skip_serializing_if = "Option::is_none")]
        frame: Option<&'a str>,
    }

    let mut line = RenderedLine {
        time: format_rfc3339_millis(now).to_string(),
        ..RenderedLine::default()
    };
    match *record {
        PrintedRecord::Packet {
            direction,
            packet,
            round_trip,
        } => {
            line.direction = Some(direction);
            line.op = packet.raw("op");
            line.t = packet.raw("t");
            line.e = packet.raw("e");
            line.m = packet.raw("m");
            line.d = packet.raw("d");
            line.other = packet.others();
            line.round_trip_ms = round_trip.map(milliseconds);
        }
        PrintedRecord::Text(text) => {
            line.direction = Some(Direction::In);
            line.text = Some(text);
        }
        PrintedRecord::Binary(bytes) => {
            line.direction = Some(Direction::In);
            line.binary_bytes = Some(bytes);
        }
        PrintedRecord::Control(kind) => {
            line.direction = Some(Direction::In);
            line.frame = Some(kind);
        }
        PrintedRecord::Connecting { url } => (line.event, line.url) = (Some("connecting"), Some(url)),
        PrintedRecord::Connected { url } => (line.event, line.url) = (Some("connected"), Some(url)),
        PrintedRecord::Closed { code, reason } => {
            line.event = Some("closed");
            line.code = Some(code);
            line.reason = Some(reason);
            line.meaning = Some(close_code::meaning(code));
        }
        PrintedRecord::Problem { event, message } | PrintedRecord::Note { event, message } => {
            (line.event, line.message) = (Some(event), Some(message));
        }
    }
    // Strings, numbers and raw JSON always serialise.
    serde_json::to_string(&line).unwrap_or_default()
}

/// Converts to milliseconds, with microsecond resolution.
fn milliseconds(duration: Duration) -> f64 {
    let micros = u32::try_from(duration.as_micros()).unwrap_or(u32::MAX);
    f64::from(micros) / 1_000.0
}

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;
