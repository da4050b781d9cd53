//! Reads the fields of a JSON object without parsing their values, and the few kinds of values that rules inspect.
//!
//! A value stays the text that the client sent, so that it can be echoed and forwarded unchanged. A `serde` struct
//! would also refuse duplicate keys, of which JavaScript takes the last.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::MAX_INTEGER;

/// Returns the values of `names` in the JSON object `text`, each `None` if the object does not have it. If a name
/// occurs several times, the last one counts.
///
/// Returns `None` if `text` is not exactly one JSON object. Values may nest to any depth: they are skipped, not parsed.
pub(crate) fn fields<'a, const N: usize>(text: &'a str, names: [&str; N]) -> Option<[Option<&'a RawValue>; N]> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let fields = Fields(names).deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    Some(fields)
}

/// Returns whether `value` is an object.
pub(crate) fn is_object(value: &RawValue) -> bool {
    value.get().starts_with('{')
}

/// Returns whether `value` is a string, possibly with an unpaired surrogate.
pub(crate) fn is_string(value: &RawValue) -> bool {
    value.get().starts_with('"')
}

/// Returns the elements of `value` if it is an array.
pub(crate) fn elements(value: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(value.get()).ok()
}

/// Returns the decoded text of `value` if it is a string without unpaired surrogates.
pub(crate) fn string(value: &RawValue) -> Option<Cow<'_, str>> {
    let text = value.get();
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str(text).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

/// Returns the number if `value` is an integer from 0 to 2^53 − 1, written without a fraction or an exponent.
pub(crate) fn integer(value: &RawValue) -> Option<u64> {
    value.get().parse().ok().filter(|number| *number <= MAX_INTEGER)
}

/// Checks that every receiver of `value` can parse it. The grammar of JSON allows what parsers refuse: unpaired
/// surrogates, numbers out of range, unlimited nesting. Such values must not reach any client but the one that sent
/// them.
///
/// # Errors
/// The error of `serde_json`, which allows 127 levels of nesting.
pub(crate) fn check_readable(value: &RawValue) -> Result<(), serde_json::Error> {
    serde_json::from_str(value.get()).map(|Readable| ())
}

/// Any JSON value, parsed to its end and discarded.
struct Readable;

impl<'de> Deserialize<'de> for Readable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReadableVisitor)
    }
}

struct ReadableVisitor;

impl<'de> Visitor<'de> for ReadableVisitor {
    type Value = Readable;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Readable, E> {
        Ok(Readable)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Readable, E> {
        Ok(Readable)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Readable, E> {
        Ok(Readable)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Readable, E> {
        Ok(Readable)
    }

    fn visit_str<E>(self, _: &str) -> Result<Readable, E> {
        Ok(Readable)
    }

    fn visit_unit<E>(self) -> Result<Readable, E> {
        Ok(Readable)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Readable, A::Error> {
        while let Some(Readable) = elements.next_element()? {}
        Ok(Readable)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Readable, A::Error> {
        while let Some((Readable, Readable)) = members.next_entry()? {}
        Ok(Readable)
    }
}

struct Fields<'n, const N: usize>([&'n str; N]);

impl<'de, const N: usize> DeserializeSeed<'de> for Fields<'_, N> {
    type Value = [Option<&'de RawValue>; N];

    #[inline]
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, const N: usize> Visitor<'de> for Fields<'_, N> {
    type Value = [Option<&'de RawValue>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    #[inline]
    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut fields = [None; N];
        // Keys are read raw too, so that one with an unpaired surrogate is unknown rather than an error.
        while let Some(key) = map.next_key::<&RawValue>()? {
            let value = map.next_value::<&RawValue>()?;
            let known = string(key).and_then(|key| self.0.iter().position(|name| *name == key));
            if let Some(field) = known.and_then(|known| fields.get_mut(known)) {
                *field = Some(value);
            }
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> &RawValue {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn an_integer_has_no_fraction_no_exponent_and_no_sign() {
        assert_eq!(integer(raw("0")), Some(0));
        assert_eq!(integer(raw("9007199254740991")), Some(MAX_INTEGER));
        for text in [
            "9007199254740992",
            "99999999999999999999999",
            "-1",
            "-0",
            "1.0",
            "1e0",
            "\"1\"",
            "null",
            "true",
            "[1]",
        ] {
            assert_eq!(integer(raw(text)), None, "{text}");
        }
    }

    #[test]
    fn strings_are_decoded() {
        assert_eq!(string(raw(r#""""#)).as_deref(), Some(""));
        assert_eq!(string(raw(r#""a""#)).as_deref(), Some("a"));
        assert_eq!(string(raw(r#""\u0061\n\"""#)).as_deref(), Some("a\n\""));
        assert_eq!(string(raw("1")), None);
        let unpaired = raw(r#""\ud800""#);
        assert_eq!(string(unpaired), None);
        assert!(is_string(unpaired));
    }

    #[test]
    fn only_arrays_have_elements() {
        let texts = |text| elements(raw(text)).map(|list| list.into_iter().map(RawValue::get).collect::<Vec<_>>());
        assert_eq!(texts("[ 1, [2] ]"), Some(vec!["1", "[2]"]));
        assert_eq!(texts("[]"), Some(vec![]));
        assert_eq!(texts("{}"), None);
        assert_eq!(texts("null"), None);
    }
}
