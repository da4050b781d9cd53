//! Dispatches in two parts that all sessions share. Only the sequence number between them differs per session.

use std::ops::Deref;

use super::Encoding;
use crate::etf;

/// The bytes of an event before and after its sequence number `s`, in one encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispatch {
    /// The bytes before the sequence number.
    pub before: Vec<u8>,
    /// The bytes after the sequence number.
    pub after: Vec<u8>,
}

/// An encoded sequence number. Its inline buffer is large enough for every number in every encoding.
#[derive(Debug, Clone, Copy, Default)]
pub struct Number {
    bytes: [u8; 20],
    length: usize,
}

impl Number {
    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
    }
}

impl Extend<u8> for Number {
    fn extend<I: IntoIterator<Item = u8>>(&mut self, bytes: I) {
        for byte in bytes {
            self.push(byte);
        }
    }
}

impl Deref for Number {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Dispatch {
    /// Encodes the event `name` with the data `d`, which must be JSON.
    ///
    /// # Errors
    /// If `d` cannot be parsed. It is parsed only for ETF.
    pub fn new(encoding: Encoding, name: &str, d: &str) -> Result<Self, serde_json::Error> {
        match encoding {
            Encoding::Json => {
                let name = serde_json::Value::from(name).to_string();
                Ok(Self {
                    before: [r#"{"t":"#, &name, r#","s":"#].concat().into(),
                    after: [r#","op":0,"d":"#, d, "}"].concat().into(),
                })
            }
            Encoding::Etf => {
                let mut before = vec![etf::VERSION];
                etf::map_head(4, &mut before);
                etf::key("t", &mut before);
                etf::binary(name.as_bytes(), &mut before);
                etf::key("s", &mut before);
                let mut after = Vec::with_capacity(d.len() + 16);
                etf::key("op", &mut after);
                etf::integer(0, &mut after);
                etf::key("d", &mut after);
                etf::transcode(d, &mut after)?;
                Ok(Self { before, after })
            }
        }
    }

    /// Encodes a session's sequence number.
    pub fn number(encoding: Encoding, s: u64) -> Number {
        let mut number = Number::default();
        match encoding {
            Encoding::Json => {
                number.length = digits_of(s);
                write_digits(s, &mut number.bytes[..number.length]);
            }
            Encoding::Etf => etf::integer(s, &mut number),
        }
        number
    }

    /// Returns the encoded length of a sequence number, which is never less than that of a smaller number.
    pub fn number_length(encoding: Encoding, s: u64) -> usize {
        match encoding {
            Encoding::Json => digits_of(s),
            Encoding::Etf => Self::number(encoding, s).len(),
        }
    }

    /// Encodes a sequence number into `place`, which must have its [length](Self::number_length).
    pub fn write_number(encoding: Encoding, s: u64, place: &mut [u8]) {
        match encoding {
            Encoding::Json => write_digits(s, place),
            Encoding::Etf => place.copy_from_slice(&Self::number(encoding, s)),
        }
    }

    /// Encodes a whole payload, which must be JSON.
    ///
    /// # Errors
    /// If `payload` cannot be parsed. It is parsed only for ETF.
    pub fn encode(encoding: Encoding, payload: &str) -> Result<Vec<u8>, serde_json::Error> {
        match encoding {
            Encoding::Json => Ok(payload.as_bytes().to_vec()),
            Encoding::Etf => {
                let mut out = vec![etf::VERSION];
                etf::transcode(payload, &mut out)?;
                Ok(out)
            }
        }
    }
}

/// The number of decimal digits of `s`.
fn digits_of(s: u64) -> usize {
    s.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// Writes the last decimal digits of `s`, as many as there are places.
fn write_digits(s: u64, places: &mut [u8]) {
    let mut rest = s;
    for place in places.iter_mut().rev() {
        // A remainder below ten.
        *place = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn whole(encoding: Encoding, s: u64, name: &str, d: &str) -> Vec<u8> {
        let Dispatch { mut before, after } = Dispatch::new(encoding, name, d).unwrap();
        before.extend_from_slice(&Dispatch::number(encoding, s));
        before.extend(after);
        before
    }

    #[test]
    fn a_dispatch_has_its_keys_in_order() {
        let text = String::from_utf8(whole(Encoding::Json, 42, "X", "{\"a\": 1}")).unwrap();
        assert_eq!(text, r#"{"t":"X","s":42,"op":0,"d":{"a": 1}}"#);
    }

    #[test]
    fn numbers_are_written_in_full() {
        for s in [0, 1, 9, 10, 42, 99, 100, 1_000_000, u64::MAX - 1, u64::MAX] {
            assert_eq!(&*Dispatch::number(Encoding::Json, s), s.to_string().as_bytes());
        }
    }

    proptest! {
        #[test]
        fn both_encodings_decode_to_the_same_payload(s: u64, name: String, text: String, number: i64) {
            let d = json!({"text": text, "number": number, "list": [null, true, 1.5]});
            let expected = json!({"t": name, "s": s, "op": 0, "d": d});
            let text = whole(Encoding::Json, s, &name, &d.to_string());
            prop_assert_eq!(serde_json::from_slice::<Value>(&text).unwrap(), expected.clone());
            let term = whole(Encoding::Etf, s, &name, &d.to_string());
            prop_assert_eq!(etf::decode(&term).unwrap(), expected);
        }
    }
}
