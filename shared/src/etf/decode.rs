//! Decodes the terms of clients.

use serde_json::{Map, Number, Value};

use super::{EtfError, VERSION, tag};
use crate::MAX_INTEGER;

/// How deep lists, tuples and maps may nest: as deep as `serde_json` allows in JSON.
const MAX_DEPTH: u32 = 127;
/// The length of the shortest pair of a map, in bytes: an empty binary and a value of one byte.
const SHORTEST_PAIR: usize = 6;
/// The largest whole float that is exact. Beyond it, several integers share one float.
#[expect(clippy::cast_precision_loss, reason = "the last integer for which that is true")]
const MAX_WHOLE: f64 = MAX_INTEGER as f64;

/// Decodes a client's message: [`VERSION`], one term, and nothing after it.
///
/// The result is the value that the client's JSON would have given. The atoms `nil`, `null` and `undefined` become
/// `null`, `true` and `false` become booleans, and any other atom becomes a string. A tuple becomes an array, and so
/// does an Erlang string, which is a list of bytes. A whole float up to 2^53 − 1 becomes an integer, since `erlpack`
/// sends every number outside 32 bits as a float, while JavaScript's JSON writes it without a fraction. If a map has
/// the same key several times, the last one counts.
///
/// Allocations are bounded by the length of `bytes`, whatever lengths the terms declare.
///
/// # Errors
///
/// Any [`EtfError`]. The message is then unusable, and the close code is 4002.
pub fn decode(bytes: &[u8]) -> Result<Value, EtfError> {
    let mut terms = Terms { rest: bytes };
    let version = terms.byte()?;
    if version != VERSION {
        return Err(EtfError::Version { version });
    }
    let value = terms.next(MAX_DEPTH)?;
    match terms.rest.len() {
        0 => Ok(value),
        bytes => Err(EtfError::Trailing { bytes }),
    }
}

/// The bytes that are still to be read.
struct Terms<'a> {
    rest: &'a [u8],
}

impl<'a> Terms<'a> {
    /// Reads the next term, in which `depth` more levels may nest.
    fn next(&mut self, depth: u32) -> Result<Value, EtfError> {
        match self.byte()? {
            tag::SMALL_INTEGER => Ok(self.byte()?.into()),
            tag::INTEGER => Ok(i32::from_be_bytes(self.array()?).into()),
            tag::SMALL_BIG => {
                let digits = self.length_8()?;
                self.big(digits)
            }
            tag::LARGE_BIG => {
                let digits = self.length_32()?;
                self.big(digits)
            }
            tag::NEW_FLOAT => float(f64::from_be_bytes(self.array()?)),
            tag::FLOAT => float(parse_float(&self.array::<31>()?)?),
            tag::SMALL_ATOM => {
                let length = self.length_8()?;
                Ok(atom(latin_1(self.take(length)?)))
            }
            tag::ATOM => {
                let length = self.length_16()?;
                Ok(atom(latin_1(self.take(length)?)))
            }
            tag::SMALL_ATOM_UTF8 => {
                let length = self.length_8()?;
                Ok(atom(self.text(length)?.to_owned()))
            }
            tag::ATOM_UTF8 => {
                let length = self.length_16()?;
                Ok(atom(self.text(length)?.to_owned()))
            }
            tag::BINARY => {
                let length = self.length_32()?;
                Ok(self.text(length)?.into())
            }
            tag::NIL => self.elements(0, depth),
            tag::STRING => {
                inside(depth)?;
                let length = self.length_16()?;
                Ok(self.take(length)?.into())
            }
            tag::LIST => {
                let count = self.length_32()?;
                let list = self.elements(count, depth)?;
                match self.byte()? {
                    tag::NIL => Ok(list),
                    tag => Err(EtfError::Tail { tag }),
                }
            }
            tag::SMALL_TUPLE => {
                let count = self.length_8()?;
                self.elements(count, depth)
            }
            tag::LARGE_TUPLE => {
                let count = self.length_32()?;
                self.elements(count, depth)
            }
            tag::MAP => {
                let pairs = self.length_32()?;
                self.map(pairs, depth)
            }
            tag::COMPRESSED => Err(EtfError::Compressed),
            tag => Err(EtfError::Tag { tag }),
        }
    }

    fn elements(&mut self, count: usize, depth: u32) -> Result<Value, EtfError> {
        let depth = inside(depth)?;
        if count > self.rest.len() {
            return Err(EtfError::Cut);
        }
        // No space is reserved: each of many nested lists may declare all that is left of the message.
        let mut elements = Vec::new();
        for _ in 0..count {
            elements.push(self.next(depth)?);
        }
        Ok(elements.into())
    }

    fn map(&mut self, pairs: usize, depth: u32) -> Result<Value, EtfError> {
        let depth = inside(depth)?;
        if pairs > self.rest.len() / SHORTEST_PAIR {
            return Err(EtfError::Cut);
        }
        let mut map = Map::new();
        for _ in 0..pairs {
            let name = match self.byte()? {
                tag::BINARY => {
                    let length = self.length_32()?;
                    self.text(length)?.to_owned()
                }
                tag => return Err(EtfError::Key { tag }),
            };
            map.insert(name, self.next(depth)?);
        }
        Ok(map.into())
    }

    /// Reads an integer of `digits` bytes, the least significant first, after a byte for the sign.
    fn big(&mut self, digits: usize) -> Result<Value, EtfError> {
        let negative = self.byte()? != 0;
        let digits = self.take(digits)?;
        let (low, high) = digits.split_at(digits.len().min(size_of::<u64>()));
        if high.iter().any(|digit| *digit != 0) {
            return Err(EtfError::Integer);
        }
        let magnitude = low.iter().rev().fold(0, |sum, digit| sum << 8 | u64::from(*digit));
        if negative {
            let value = 0_i64.checked_sub_unsigned(magnitude);
            value.map(Value::from).ok_or(EtfError::Integer)
        } else {
            Ok(magnitude.into())
        }
    }

    fn text(&mut self, length: usize) -> Result<&'a str, EtfError> {
        Ok(str::from_utf8(self.take(length)?)?)
    }

    fn length_8(&mut self) -> Result<usize, EtfError> {
        Ok(self.byte()?.into())
    }

    fn length_16(&mut self) -> Result<usize, EtfError> {
        Ok(u16::from_be_bytes(self.array()?).into())
    }

    fn length_32(&mut self) -> Result<usize, EtfError> {
        Ok(u32::from_be_bytes(self.array()?) as usize)
    }

    fn byte(&mut self) -> Result<u8, EtfError> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], EtfError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(EtfError::Cut)?;
        self.rest = rest;
        Ok(*array)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], EtfError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(EtfError::Cut)?;
        self.rest = rest;
        Ok(taken)
    }
}

/// Returns the depth that is left inside a list, a tuple or a map.
fn inside(depth: u32) -> Result<u32, EtfError> {
    depth.checked_sub(1).ok_or(EtfError::Depth)
}

fn float(value: f64) -> Result<Value, EtfError> {
    if value.fract() == 0.0 && value.abs() <= MAX_WHOLE {
        #[expect(clippy::cast_possible_truncation, reason = "whole and within 54 bits")]
        return Ok((value as i64).into());
    }
    Number::from_f64(value).map(Value::Number).ok_or(EtfError::Float)
}

/// Parses a float in text form, as `%.20e` prints it, padded with zero bytes.
fn parse_float(text: &[u8; 31]) -> Result<f64, EtfError> {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = str::from_utf8(text)?;
    text.parse().map_err(|_| EtfError::Float)
}

fn atom(name: String) -> Value {
    match name.as_str() {
        "nil" | "null" | "undefined" => Value::Null,
        "true" => true.into(),
        "false" => false.into(),
        _ => name.into(),
    }
}

/// Decodes ISO 8859-1, in which each byte is one character.
fn latin_1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}
