//! Removes the content of messages.

use std::fmt;

use serde::{
    Deserializer,
    de::{DeserializeSeed, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::fields::string;

/// Returns `d` of a message with `content`, `embeds`, `attachments` and `components` emptied and `poll` removed.
/// Everything else stays as it is, in its order. A list, which Discord never sends as a message, is emptied, since its
/// items may be messages.
///
/// # Errors
/// If `d` is neither an object nor a list nor `null`.
pub fn without_content(d: &str) -> Result<String, serde_json::Error> {
    match d.as_bytes().first() {
        Some(b'[') => return Ok("[]".to_owned()),
        Some(b'n') => return Ok("null".to_owned()),
        _ => {}
    }
    let mut deserializer = serde_json::Deserializer::from_str(d);
    let out = Blanked.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(out)
}

struct Blanked;

impl<'de> DeserializeSeed<'de> for Blanked {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Blanked {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<String, M::Error> {
        let mut out = String::from("{");
        while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            let value = match string(key).as_deref() {
                Some("content") => "\"\"",
                Some("embeds" | "attachments" | "components") => "[]",
                Some("poll") => continue,
                _ => value.get(),
            };
            if out.len() > 1 {
                out.push(',');
            }
            out.push_str(key.get());
            out.push(':');
            out.push_str(value);
        }
        out.push('}');
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_removed_and_the_rest_is_kept() {
        let d = concat!(
            r#"{"id":"1","content":"secret","x": [1.0],"embeds":[{}],"attachments":[1],"#,
            r#""components":[2],"poll":{"a":1},"z":null}"#,
        );
        let blank = r#"{"id":"1","content":"","x":[1.0],"embeds":[],"attachments":[],"components":[],"z":null}"#;
        assert_eq!(without_content(d).unwrap(), blank);
        assert_eq!(without_content("{}").unwrap(), "{}");
        let escaped = "{\"c\\u006fntent\":\"secret\"}";
        assert!(!without_content(escaped).unwrap().contains("secret"));
        assert!(without_content("1").is_err());
    }

    #[test]
    fn lists_are_emptied_and_null_is_kept() {
        assert_eq!(without_content(r#"[{"content":"secret"}]"#).unwrap(), "[]");
        assert_eq!(without_content("null").unwrap(), "null");
    }
}
