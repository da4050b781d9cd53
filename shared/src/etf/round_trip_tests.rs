//! Round trips of any JSON, and arbitrary bytes.

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::*;

/// The most heap bytes per byte of a message. A map of one pair is the worst case: its 11 bytes allocate space for
/// eleven pairs.
const HELD_PER_BYTE: usize = 128;

fn json() -> impl Strategy<Value = Value> {
    let float = prop_oneof![any::<f64>(), any::<i32>().prop_map(f64::from)];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<u8>().prop_map(Value::from),
        float.prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..8)
                .prop_map(|pairs| pairs.into_iter().collect::<Map<_, _>>().into()),
        ]
    })
}

fn message(json: &str) -> Vec<u8> {
    let mut message = vec![VERSION];
    transcode(json, &mut message).unwrap();
    message
}

/// Converts the whole floats in `value` to integers.
fn with_integers(value: Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => {
            let text = number.to_string();
            let whole = text.strip_suffix(".0").and_then(|text| text.parse::<i64>().ok());
            let exact = whole.filter(|whole| whole.unsigned_abs() <= crate::MAX_INTEGER);
            exact.map_or(Value::Number(number), Value::from)
        }
        Value::Array(elements) => elements.into_iter().map(with_integers).collect(),
        Value::Object(map) => map
            .into_iter()
            .map(|(key, value)| (key, with_integers(value)))
            .collect(),
        other => other,
    }
}

/// The approximate number of heap bytes of `value`.
fn held(value: &Value) -> usize {
    match value {
        Value::String(text) => text.capacity(),
        Value::Array(elements) => elements.capacity() * size_of::<Value>() + elements.iter().map(held).sum::<usize>(),
        Value::Object(map) => {
            let room = map.len().next_multiple_of(11) * (size_of::<String>() + size_of::<Value>());
            room + map
                .iter()
                .map(|(key, value)| key.capacity() + held(value))
                .sum::<usize>()
        }
        _ => 0,
    }
}

fn decodes_within_bounds(bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(value) = decode(bytes) {
        let held = held(&value);
        prop_assert!(held <= HELD_PER_BYTE * bytes.len(), "{held} bytes for {}", bytes.len());
        prop_assert!(serde_json::from_str::<Value>(&value.to_string()).is_ok(), "{value}");
    }
    Ok(())
}

proptest! {
    #[test]
    fn json_survives_the_round_trip(json in json()) {
        let text = json.to_string();
        // Compares with the parsed text, since parsing may change the last digit of a float.
        let read: Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(decode(&message(&text)), Ok(with_integers(read)));
    }

    #[test]
    fn integers_and_binaries_survive_the_round_trip(number: u64, text: String) {
        let mut bytes = vec![VERSION];
        integer(number, &mut bytes);
        prop_assert_eq!(decode(&bytes), Ok(number.into()));
        bytes.truncate(1);
        binary(text.as_bytes(), &mut bytes);
        prop_assert_eq!(decode(&bytes), Ok(text.into()));
    }

    #[test]
    fn garbage_is_an_error_and_never_a_panic(
        mut garbage in prop::collection::vec(any::<u8>(), 0..500),
        head in prop::collection::vec(prop::sample::select(&b"FPabcdhijklmnostvw\0\x01\x02"[..]), 0..60),
    ) {
        decodes_within_bounds(&garbage)?;
        // With a version byte and known tags the decoder gets further.
        garbage.splice(0..0, [&[VERSION][..], &head].concat());
        decodes_within_bounds(&garbage)?;
    }

    #[test]
    fn a_changed_term_never_panics(
        json in json(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        end: prop::sample::Index,
    ) {
        let mut bytes = message(&json.to_string());
        decodes_within_bounds(&bytes)?;
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
            decodes_within_bounds(&bytes)?;
        }
        decodes_within_bounds(&bytes[..end.index(bytes.len())])?;
    }

    #[test]
    fn any_text_is_transcoded_or_refused(text: String) {
        let mut out = Vec::new();
        let json = serde_json::from_str::<Value>(&text);
        prop_assert_eq!(transcode(&text, &mut out).is_ok(), json.is_ok());
    }
}
