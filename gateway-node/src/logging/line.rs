//! Formats a log record as one line.

use std::{
    fmt::Write as _,
    time::{SystemTime, UNIX_EPOCH},
};

use env_logger::fmt::style::Style;
use humantime::format_rfc3339_millis;
use log::Record;
use serde::Serialize;

use super::{
    field::LogFields,
    text::{escape, escape_json, starts_of},
};

/// The most that is shown of a message, in bytes. Messages of libraries may contain text that a peer sent.
const MESSAGE_BYTES: usize = 4096;

/// Formats a record as `TIME LEVEL MODULE MESSAGE KEY=VALUE...` with a line feed. `level_style` colours the level.
pub(super) fn text(now: SystemTime, level_style: Style, record: &Record<'_>) -> String {
    let time = format_rfc3339_millis(now.max(UNIX_EPOCH));
    let level = record.level();
    let module = last_segment(record.target());
    let message = message(record);
    let mut line = format!("{time} {level_style}{level}{level_style:#} {module} ");
    line.push_str(&escape(&message));
    for (key, value) in LogFields::of(record.key_values()).0 {
        // Writing to a string does not fail.
        let _ = write!(line, " {}=", escape(&key));
        let _ = value.write_to(&mut line);
    }
    line.push('\n');
    line
}

/// Formats a record as one JSON object with a line feed.
pub(super) fn json(now: SystemTime, record: &Record<'_>) -> String {
    #[derive(Serialize)]
    struct LogLine<'a> {
        time: String,
        level: &'a str,
        target: &'a str,
        message: String,
        #[serde(skip_serializing_if = "none")]
        fields: LogFields,
    }

    fn none(fields: &LogFields) -> bool {
        fields.0.is_empty()
    }

    let line = LogLine {
        time: format_rfc3339_millis(now.max(UNIX_EPOCH)).to_string(),
        level: record.level().as_str(),
        target: record.target(),
        message: message(record),
        fields: LogFields::of(record.key_values()),
    };
    // A line consists of strings, numbers, booleans and a map with string keys, which always serialize.
    let mut json = escape_json(&serde_json::to_string(&line).unwrap_or_default());
    json.push('\n');
    json
}

fn message(record: &Record<'_>) -> String {
    let whole = record.args().to_string();
    match starts_of(&whole, MESSAGE_BYTES) {
        start if start.len() < whole.len() => format!("{start}…"),
        _ => whole,
    }
}

/// Returns `session` for `gateway_node::session`. The crate's name is redundant in the node's own log.
fn last_segment(target: &str) -> &str {
    target.rsplit("::").next().unwrap_or(target)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use log::{Level, kv};

    use super::*;

    fn at() -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(1_767_323_045_678)
    }

    fn lines(message: &str, fields: &[(&str, kv::Value<'_>)]) -> (String, String) {
        let args = format_args!("{message}");
        let record = Record::builder()
            .args(args)
            .level(Level::Info)
            .target("gateway_node::session")
            .key_values(&fields)
            .build();
        (text(at(), Style::new(), &record), json(at(), &record))
    }

    #[test]
    fn a_line_has_time_level_module_message_and_fields() {
        let (text, json) = lines(
            "identified",
            &[
                ("session", kv::Value::from(123_u64)),
                ("type", kv::Value::from("bot")),
                ("ok", kv::Value::from(true)),
                ("lag", kv::Value::from(-1.5)),
            ],
        );
        assert_eq!(
            text,
            "2026-01-02T03:04:05.678Z INFO session identified session=123 type=bot ok=true lag=-1.5\n"
        );
        assert_eq!(
            json,
            "{\"time\":\"2026-01-02T03:04:05.678Z\",\"level\":\"INFO\",\"target\":\"gateway_node::session\",\
             \"message\":\"identified\",\"fields\":{\"session\":123,\"type\":\"bot\",\"ok\":true,\"lag\":-1.5}}\n"
        );
    }

    #[test]
    fn a_record_without_fields_omits_them() {
        let (text, json) = lines("ready", &[]);
        assert_eq!(text, "2026-01-02T03:04:05.678Z INFO session ready\n");
        assert!(!json.contains("fields"));
    }

    #[test]
    fn a_record_is_always_one_line() {
        let forged = "x\n2026-01-02T03:04:05.678Z ERROR forged\r\u{2028}\u{85}";
        let (text, json) = lines(forged, &[("peer", kv::Value::from(forged))]);
        for line in [&text, &json] {
            assert_eq!(line.matches(['\n', '\r', '\u{2028}', '\u{85}']).count(), 1, "{line}");
            assert!(line.ends_with('\n'));
        }
        assert!(text.contains(r#" peer="x\n2026-01-02T03:04:05.678Z ERROR forged\r\u{2028}\u{85}""#));
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["message"], forged);
        assert_eq!(value["fields"]["peer"], forged);
    }

    #[test]
    fn ambiguous_values_are_quoted() {
        let (text, _) = lines(
            "m",
            &[
                ("empty", kv::Value::from("")),
                ("space", kv::Value::from("a b")),
                ("quote", kv::Value::from("a\"b")),
                ("equals", kv::Value::from("a=b")),
                ("letter", kv::Value::from("ä/b:1")),
            ],
        );
        assert_eq!(
            text.split_once(" m ").unwrap().1,
            "empty=\"\" space=\"a b\" quote=\"a\\\"b\" equals=\"a=b\" letter=ä/b:1\n"
        );
    }

    #[test]
    fn long_values_and_messages_are_truncated() {
        let long = "ä".repeat(10_000);
        let args = format_args!("{long}");
        let display = kv::Value::from_display(&args);
        let (text, json) = lines(&long, &[("s", kv::Value::from(&*long)), ("d", display)]);
        let cut = "ä".repeat(64);
        assert!(text.ends_with(&format!(" s=\"{cut}…\" d=\"{cut}…\"\n")));
        assert!(text.len() < 4096 + 512 && json.len() < 4096 + 512);
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["fields"]["s"], format!("{cut}…"));
    }

    #[test]
    fn integers_that_a_double_cannot_hold_are_strings_in_json() {
        let (text, json) = lines(
            "m",
            &[("big", kv::Value::from(u64::MAX)), ("low", kv::Value::from(i64::MIN))],
        );
        assert!(text.contains("big=18446744073709551615"));
        assert!(json.contains(r#""big":"18446744073709551615","low":"-9223372036854775808""#));
    }

    #[test]
    fn the_level_is_styled() {
        let record = Record::builder()
            .args(format_args!("m"))
            .level(Level::Error)
            .target("t")
            .build();
        let style = env_logger::fmt::style::AnsiColor::Red.on_default();
        assert!(text(at(), style, &record).contains(" \u{1b}[31mERROR\u{1b}[0m t m\n"));
    }
}
