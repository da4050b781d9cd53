//! `identify`: a client names its type and presents its key.

use std::{borrow::Cow, fmt};

use serde_json::value::RawValue;

use super::{Rejection, Scope, Shard};
use crate::{
    fields::{fields, is_string, string},
    problem::Problem,
};

/// What a client claims about itself. The node has yet to verify it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identify {
    /// `type`, as sent. Any string is well-formed.
    pub kind: String,
    /// `key`, as sent. Any string is well-formed.
    pub key: PresentedSecret,
    /// The shard, if the client is one shard of a bot.
    pub shard: Option<Shard>,
    /// What else it asks for.
    pub scope: Scope,
}

/// The key of an identify. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct PresentedSecret(String);

impl PresentedSecret {
    /// Returns the key, as sent.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for PresentedSecret {
    fn from(key: String) -> Self {
        Self(key)
    }
}

impl fmt::Debug for PresentedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

impl Identify {
    /// Parses `d` of an identify, with at most `max_guilds` guilds.
    ///
    /// # Errors
    ///
    /// Malformed data with all problems, in the order type, key, shard, and the fields of the
    /// [`Scope`]. A key is never echoed, and neither is anything
    /// that could be one by mistake.
    pub fn parse(d: Option<&RawValue>, max_guilds: usize) -> Result<Self, Rejection> {
        let d = d.ok_or_else(|| malformed("Data not provided."))?;
        let [kind, key, shard] =
            fields(d.get(), ["type", "key", "shard"]).ok_or_else(|| malformed("Data must be an object."))?;
        let mut problems = Vec::new();
        let kind = match kind {
            None => Err(Problem::absent("Type not provided.")),
            Some(kind) => text(kind).ok_or_else(|| Problem::with("Type must be a string.", kind)),
        };
        let key = match key {
            None => Err(Problem::absent("Key not provided.")),
            Some(key) => text(key).ok_or_else(|| Problem::absent("Key must be a string.")),
        };
        let kind = kind.map_err(|problem| problems.push(problem));
        let key = key.map_err(|problem| problems.push(problem));
        let shard = shard.and_then(|shard| Shard::parse(shard, &mut problems));
        let of_kind = kind.as_deref().unwrap_or_default();
        let scope = Scope::parse(d, of_kind, max_guilds, &mut problems);
        match (kind, key) {
            (Ok(kind), Ok(key)) if problems.is_empty() => Ok(Self {
                kind,
                key: PresentedSecret(key),
                shard,
                scope,
            }),
            _ => Err(Rejection::malformed(problems)),
        }
    }
}

fn malformed(error: &'static str) -> Rejection {
    Rejection::malformed(vec![Problem::absent(error)])
}

/// Returns the text of a string. One with an unpaired surrogate becomes U+FFFD: it is a string, but matches no known
/// value.
fn text(value: &RawValue) -> Option<String> {
    string(value)
        .map(Cow::into_owned)
        .or_else(|| is_string(value).then(|| char::REPLACEMENT_CHARACTER.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(d: &str) -> Result<Identify, Rejection> {
        Identify::parse(Some(serde_json::from_str(d).unwrap()), 10_000)
    }

    /// The problems of `d` as they are sent: each error with its data.
    fn problems(d: &str) -> Vec<(String, String)> {
        let rejection = parse(d).unwrap_err();
        assert_eq!(rejection.code, crate::v1::ErrorCode::MalformedData);
        let entry = |problem: Problem| {
            let data = problem.data.map_or("null".into(), |data| data.to_string());
            (problem.error.into_owned(), data)
        };
        rejection.problems.into_iter().map(entry).collect()
    }

    fn entries(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        let own = |(error, data): &(&str, &str)| ((*error).to_owned(), (*data).to_owned());
        expected.iter().map(own).collect()
    }

    #[test]
    fn a_well_formed_identify_is_read() {
        let identify = parse(r#"{"type":"bot","key":"a.b","other":1}"#).unwrap();
        assert_eq!(identify.kind, "bot");
        assert_eq!(identify.key.expose(), "a.b");
        assert_eq!(identify.shard, None);
        let identify = parse(r#"{"shard":[2,3],"key":"","type":""}"#).unwrap();
        assert_eq!((&*identify.kind, identify.key.expose()), ("", ""));
        assert_eq!(identify.shard, Some(Shard { id: 2, count: 3 }));
    }

    #[test]
    fn any_string_is_well_formed() {
        let identify = parse(r#"{"type":"\ud800","key":"\u0061\udc00"}"#).unwrap();
        assert_eq!(identify.kind, "\u{fffd}");
        assert_eq!(identify.key.expose(), "\u{fffd}");
    }

    #[test]
    fn every_problem_has_its_text_and_its_data() {
        let type_missing = ("Type not provided.", "null");
        let key_missing = ("Key not provided.", "null");
        let key_wrong = ("Key must be a string.", "null");
        let rows: &[(&str, &[(&str, &str)])] = &[
            ("{}", &[type_missing, key_missing]),
            (r#"{"key":"k"}"#, &[type_missing]),
            (r#"{"type":"bot"}"#, &[key_missing]),
            (
                r#"{"type":null,"key":null}"#,
                &[("Type must be a string.", "null"), key_wrong],
            ),
            (
                r#"{"type":{"a": 1},"key":["s3cr3t"]}"#,
                &[("Type must be a string.", r#"{"a": 1}"#), key_wrong],
            ),
            (
                r#"{"type":"bot","key":7,"shard":null}"#,
                &[key_wrong, ("Shard must be [id, count].", "null")],
            ),
            (
                r#"{"shard":[1],"type":1}"#,
                &[
                    ("Type must be a string.", "1"),
                    key_missing,
                    ("Shard must be [id, count].", "[1]"),
                ],
            ),
            (
                r#"{"type":"bot","guilds":1,"counts":1}"#,
                &[
                    key_missing,
                    ("Guilds must be an array of ids.", "1"),
                    ("Counts must be true or false.", "1"),
                ],
            ),
            (r#"{"type":"a","type":0,"key":"k"}"#, &[("Type must be a string.", "0")]),
        ];
        for (d, expected) in rows {
            assert_eq!(problems(d), entries(expected), "{d}");
        }
    }

    #[test]
    fn data_that_is_not_an_object_is_never_echoed() {
        for d in ["null", "\"s3cr3t\"", "[]", "1"] {
            assert_eq!(problems(d), entries(&[("Data must be an object.", "null")]));
        }
        assert_eq!(
            Identify::parse(None, 10_000).unwrap_err(),
            Rejection::malformed(vec![Problem::absent("Data not provided.")])
        );
    }

    #[test]
    fn debug_output_hides_the_key() {
        let debug = format!("{:?}", parse(r#"{"type":"bot","key":"id.s3cr3t"}"#));
        assert!(debug.contains("<redacted>") && !debug.contains("s3cr3t"));
    }
}
