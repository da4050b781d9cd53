//! Encodes terms: whole JSON texts, and the parts that make up the head of a payload.
//!
//! Of several equivalent tags, the one that every client can read is written. Atoms have the old tag, since `erlpack`
//! for Node.js reads no other. Integers are as short as possible, since `erlpack` turns a big integer of more than four
//! bytes into a string.

use std::fmt;

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor},
};

use super::tag;

const NULL: &[u8] = b"s\x03nil";
const TRUE: &[u8] = b"s\x04true";
const FALSE: &[u8] = b"s\x05false";

/// Appends `json` as a term, without the version byte.
///
/// The term is written while the text is parsed. Numbers without a fraction or an exponent become integers, others
/// floats. `null` becomes the atom `nil`. The keys of an object become binaries, in their order; duplicate keys are
/// kept.
///
/// # Errors
///
/// What `serde_json` refuses: text that is not JSON, and text that the grammar of JSON allows but not every parser
/// reads (an unpaired surrogate, a number out of range, more than 127 levels). Also a text of 4 GiB or more. `out` is
/// then unchanged.
pub fn transcode(json: &str, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    // In a shorter text, no string, array or object exceeds the 32-bit lengths of terms.
    if u32::try_from(json.len()).is_err() {
        return Err(serde_json::Error::custom("a text of 4 GiB or more"));
    }
    let start = out.len();
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let written = Term(out).deserialize(&mut deserializer);
    let written = written.and_then(|()| deserializer.end());
    if written.is_err() {
        out.truncate(start);
    }
    written
}

/// Appends an integer.
pub fn integer(value: u64, out: &mut impl Extend<u8>) {
    if let Ok(value) = u8::try_from(value) {
        out.extend([tag::SMALL_INTEGER, value]);
    } else if let Ok(value) = i32::try_from(value) {
        integer_32(value, out);
    } else {
        big(false, value, out);
    }
}

/// Appends a binary. The format has 32-bit lengths, so bytes beyond 4 GiB are left out.
pub fn binary(bytes: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    out.push(tag::BINARY);
    out.extend(length.to_be_bytes());
    out.extend_from_slice(bytes.get(..length as usize).unwrap_or(bytes));
}

/// Appends the head of a map. `pairs` pairs of a [`key`] and a term must follow.
pub fn map_head(pairs: u32, out: &mut Vec<u8>) {
    out.push(tag::MAP);
    out.extend(pairs.to_be_bytes());
}

/// Appends the key of a pair.
pub fn key(name: &str, out: &mut Vec<u8>) {
    binary(name.as_bytes(), out);
}

fn negative(value: i64, out: &mut Vec<u8>) {
    match i32::try_from(value) {
        Ok(value) => integer_32(value, out),
        Err(_) => big(true, value.unsigned_abs(), out),
    }
}

fn integer_32(value: i32, out: &mut impl Extend<u8>) {
    out.extend([tag::INTEGER]);
    out.extend(value.to_be_bytes());
}

fn big(negative: bool, magnitude: u64, out: &mut impl Extend<u8>) {
    let digits = magnitude.to_le_bytes().into_iter();
    let used = 8 - magnitude.leading_zeros() / 8;
    #[expect(clippy::cast_possible_truncation, reason = "at most eight")]
    out.extend([tag::SMALL_BIG, used as u8, u8::from(negative)]);
    out.extend(digits.take(used as usize));
}

/// Writes the next JSON value as a term.
struct Term<'a>(&'a mut Vec<u8>);

impl Term<'_> {
    fn write(self, term: &[u8]) {
        self.0.extend_from_slice(term);
    }

    /// Writes a count, known only now, into the space that was left for it after the tag at `tag`.
    fn patch(&mut self, tag: usize, count: u32) {
        if let Some(room) = self.0.get_mut(tag + 1..tag + 5) {
            room.copy_from_slice(&count.to_be_bytes());
        }
    }
}

impl<'de> DeserializeSeed<'de> for Term<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Term<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.write(NULL);
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.write(if value { TRUE } else { FALSE });
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        integer(value, self.0);
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        match u64::try_from(value) {
            Ok(value) => integer(value, self.0),
            Err(_) => negative(value, self.0),
        }
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.0.push(tag::NEW_FLOAT);
        self.write(&value.to_be_bytes());
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        binary(value.as_bytes(), self.0);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<(), A::Error> {
        let start = self.0.len();
        let mut count = 0;
        self.0.extend([tag::LIST, 0, 0, 0, 0]);
        while elements.next_element_seed(Term(self.0))?.is_some() {
            count += 1;
        }
        if count == 0 {
            self.0.truncate(start);
        } else {
            self.patch(start, count);
        }
        self.0.push(tag::NIL);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        let start = self.0.len();
        let mut pairs = 0;
        map_head(pairs, self.0);
        while members.next_key_seed(Term(self.0))?.is_some() {
            members.next_value_seed(Term(self.0))?;
            pairs += 1;
        }
        self.patch(start, pairs);
        Ok(())
    }
}
