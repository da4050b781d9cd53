//! Escapes text from peers for the log, so that it can neither begin a new line nor control a terminal.

use std::fmt::{self, Write as _};

/// The most that is shown of a text from a peer, in bytes of UTF-8 before escaping.
pub const PEER_TEXT_BYTES: usize = 128;

/// Displays text from a peer in quotes, with deceptive characters escaped, truncated to at most [`PEER_TEXT_BYTES`] at
/// a character boundary. `…` marks a truncated text.
///
/// Use it in messages. Key-value fields are escaped and truncated without it.
pub fn quote(text: &str) -> impl fmt::Display {
    Quoted(text)
}

struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = starts_of(self.0, PEER_TEXT_BYTES);
        write_quoted(f, start, start.len() < self.0.len())
    }
}

/// Writes `text` in quotes, with `…` at its end if `cut`.
pub(super) fn write_quoted(out: &mut impl fmt::Write, text: &str, cut: bool) -> fmt::Result {
    out.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' => out.write_str("\\\"")?,
            c => write_escaped(out, c)?,
        }
    }
    out.write_str(if cut { "…\"" } else { "\"" })
}

/// Escapes line breaks and deceptive characters in `text`. Does not truncate it.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        // Writing to a string does not fail.
        let _ = write_escaped(&mut out, c);
    }
    out
}

/// Escapes as `\uXXXX` those characters that JSON allows unescaped in a string but that could control a terminal or
/// break the line. `json` must be valid JSON; the result has the same value.
pub(crate) fn escape_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() && c != '\u{7f}' || !is_deceptive(c) {
            out.push(c);
        } else {
            // All of them are in the Basic Multilingual Plane, so one escape is enough.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        }
    }
    out
}

/// Returns the longest prefix of `text` that has at most `bytes` bytes and ends at a character boundary.
pub(super) fn starts_of(text: &str, bytes: usize) -> &str {
    if text.len() <= bytes {
        return text;
    }
    let mut end = bytes;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Whether `c` is deceptive: it is invisible, controls a terminal, breaks the line or changes the direction of text.
pub(super) fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn write_escaped(out: &mut impl fmt::Write, c: char) -> fmt::Result {
    match c {
        '\\' => out.write_str("\\\\"),
        '\n' => out.write_str("\\n"),
        '\r' => out.write_str("\\r"),
        '\t' => out.write_str("\\t"),
        c if is_deceptive(c) => write!(out, "\\u{{{:x}}}", u32::from(c)),
        c => out.write_char(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_text_stays_on_its_line_and_inside_its_quotes() {
        assert_eq!(quote("").to_string(), r#""""#);
        assert_eq!(quote("plain ä 🦀").to_string(), "\"plain ä 🦀\"");
        assert_eq!(
            quote("a\"b\\c\nd\re\tf\u{1b}[31m\u{9b}1m\u{2028}\u{202e}").to_string(),
            r#""a\"b\\c\nd\re\tf\u{1b}[31m\u{9b}1m\u{2028}\u{202e}""#
        );
    }

    #[test]
    fn quoted_text_is_truncated_at_a_character_boundary() {
        assert_eq!(quote(&"a".repeat(128)).to_string().len(), 130);
        let odd = format!("{}äää", "a".repeat(127));
        assert_eq!(quote(&odd).to_string(), format!("\"{}…\"", "a".repeat(127)));
    }

    #[test]
    fn escaped_json_is_the_same_json() {
        let json = "{\"a\":\"x\u{9b}\u{2028}\u{7f}é\"}";
        let safe = escape_json(json);
        assert_eq!(safe, r#"{"a":"x\u009b\u2028\u007fé"}"#);
        let value = |text| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(json), value(&safe));
    }

    #[test]
    fn escape_keeps_quotes_and_does_not_truncate() {
        assert_eq!(escape("a \"b\"\n"), r#"a "b"\n"#);
        assert_eq!(escape(&"a".repeat(300)).len(), 300);
    }
}
