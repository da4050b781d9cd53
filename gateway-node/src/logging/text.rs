//! Text of others made safe to show: it can neither start a line of its own nor speak to a terminal.

use std::fmt::{self, Write as _};

/// The most that is shown of one text that a peer sent, in bytes of UTF-8 before escaping.
pub const PEER_TEXT_BYTES: usize = 128;

/// Shows what a peer sent: in quotes, with everything escaped that is not plainly visible, cut at
/// [`PEER_TEXT_BYTES`] on a character's boundary (`…` tells that it was).
///
/// For messages. A key-value field gets the same treatment without it.
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

/// Writes `text` in quotes; `cut` says that it is only the start of something longer.
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

/// `text` on one line, with everything escaped that is not plainly visible. It is not cut.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        // Writing to a string does not fail.
        let _ = write_escaped(&mut out, c);
    }
    out
}

/// `json`, which is valid JSON, with every character as `\uXXXX` that JSON lets stand raw in a string although a
/// terminal would obey it or a reader of lines would break at it. It stays the same JSON.
pub(crate) fn escape_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() && c != '\u{7f}' || !is_deceptive(c) {
            out.push(c);
        } else {
            // All of them are in the basic plane, so that one escape is enough.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        }
    }
    out
}

/// The longest start of `text` that has at most `bytes` bytes and ends between two characters.
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

/// Whether `c` does not show as itself: it steers a terminal, breaks the line or turns the direction of reading.
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
    fn quoted_text_is_cut_between_characters() {
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
    fn escaping_alone_leaves_quotes_and_length() {
        assert_eq!(escape("a \"b\"\n"), r#"a "b"\n"#);
        assert_eq!(escape(&"a".repeat(300)).len(), 300);
    }
}
