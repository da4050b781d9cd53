//! The envelope that all client payloads share.

use serde_json::value::RawValue;

use crate::fields::fields;

/// The known fields of a client's payload, each as the text that was sent.
///
/// An absent field is `None`; a field that is `null` is `Some`.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// The opcode.
    pub op: Option<&'a RawValue>,
    /// The data.
    pub d: Option<&'a RawValue>,
    /// The event's name.
    pub t: Option<&'a RawValue>,
    /// The nonce.
    pub n: Option<&'a RawValue>,
    /// The idempotency key.
    pub k: Option<&'a RawValue>,
    /// The receipt.
    pub r: Option<&'a RawValue>,
}

impl<'a> Envelope<'a> {
    /// Parses a payload. Unknown fields are ignored. If a field occurs several times, the last one counts, as in
    /// JavaScript.
    ///
    /// Returns `None` if `text` is not exactly one JSON object. Such a message is dropped silently.
    pub fn parse(text: &'a str) -> Option<Self> {
        let [op, data, name, nonce, key, receipt] = fields(text, ["op", "d", "t", "n", "k", "r"])?;
        Some(Self {
            op,
            d: data,
            t: name,
            n: nonce,
            k: key,
            r: receipt,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Option<[Option<&str>; 3]> {
        let Envelope { op, d, t, .. } = Envelope::parse(text)?;
        Some([op, d, t].map(|field| field.map(RawValue::get)))
    }

    #[test]
    fn fields_keep_the_text_that_was_sent() {
        let rows = [
            ("{}", [None, None, None]),
            (" {\"op\" : 10 }\n", [Some("10"), None, None]),
            (
                r#"{"t":"x","d":{"a": 1.0},"op":1}"#,
                [Some("1"), Some(r#"{"a": 1.0}"#), Some(r#""x""#)],
            ),
            (
                r#"{"op":null,"d":null,"t":null}"#,
                [Some("null"), Some("null"), Some("null")],
            ),
            (
                r#"{"e":1,"m":"m","s":[{}],"op":10,"Op":1,"":0}"#,
                [Some("10"), None, None],
            ),
        ];
        for (text, fields) in rows {
            assert_eq!(parsed(text), Some(fields), "{text}");
        }
    }

    #[test]
    fn the_last_of_duplicate_fields_counts() {
        assert_eq!(
            parsed(r#"{"op":1,"op":10,"d":{},"d":null}"#),
            Some([Some("10"), Some("null"), None])
        );
    }

    #[test]
    fn keys_may_be_escaped() {
        assert_eq!(
            parsed(r#"{"\u006fp":10,"\u0074":"a"}"#),
            Some([Some("10"), None, Some(r#""a""#)])
        );
    }

    #[test]
    fn unpaired_surrogates_are_accepted_as_in_javascript() {
        assert_eq!(
            parsed(r#"{"\ud800":"\udc00","op":10,"t":"\ud800"}"#),
            Some([Some("10"), None, Some(r#""\ud800""#)])
        );
    }

    #[test]
    fn anything_but_one_whole_object_is_dropped() {
        for text in [
            "",
            " ",
            "hello",
            "null",
            "1",
            "\"op\"",
            "[]",
            r#"[{"op":10}]"#,
            "{",
            r#"{"op":10"#,
            r#"{"op":10}}"#,
            r#"{"op":10} {"op":10}"#,
            r#"{"op":10}x"#,
            r#"{"op":10,}"#,
            "{op:10}",
            "{'op':10}",
            r#"{"op":010}"#,
            r#"{"op":+1}"#,
            r#"{"op":NaN}"#,
            r#"{"op":10,"other":}"#,
            r#"{"op":10,"other":"\x"}"#,
            r#"{"op":10,1:2}"#,
            "{\"op\":10,\"a\":\"\n\"}",
            "\u{feff}{\"op\":10}",
        ] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }

    #[test]
    fn nesting_is_unlimited() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let text = format!(r#"{{"op":1,"d":{deep}}}"#);
        assert_eq!(parsed(&text), Some([Some("1"), Some(&deep), None]));
    }

    proptest! {
        #[test]
        fn no_text_panics(text: String, soup in r#"[{}\[\]":,0-9a-z\\ ]{0,40}"#) {
            let _ = Envelope::parse(&text);
            let _ = Envelope::parse(&soup);
        }
    }
}
