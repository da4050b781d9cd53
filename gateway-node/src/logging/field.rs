//! The key-value fields of a log record. Values are truncated while they are collected, because a peer decides how long
//! the text is that it sends.

use std::fmt::{self, Write as _};

use log::kv;
use serde::{Serialize, Serializer};

use super::text::{PEER_TEXT_BYTES, is_deceptive, starts_of, write_quoted};

/// The largest integer that JSON readers that store every number as a double read exactly.
const LARGEST_EXACT: u64 = (1 << 53) - 1;

/// The value of a field.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Field {
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(Truncated),
}

/// A text, truncated to [`PEER_TEXT_BYTES`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Truncated {
    text: String,
    cut: bool,
}

impl Truncated {
    /// Formats `value` and keeps the start.
    pub(super) fn of(value: impl fmt::Display) -> Self {
        let mut start = Self::default();
        // The only error is the one that `write_str` returns at the limit.
        let _ = write!(start, "{value}");
        start
    }
}

impl fmt::Write for Truncated {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let fits = starts_of(more, PEER_TEXT_BYTES - self.text.len());
        self.text.push_str(fits);
        if fits.len() < more.len() {
            self.cut = true;
            // Stops the formatting of the value: the rest would be discarded.
            return Err(fmt::Error);
        }
        Ok(())
    }
}

impl Field {
    /// Writes the value as in `key=value`, quoted if it could be misread.
    pub(super) fn write_to(&self, out: &mut impl fmt::Write) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(out, "{value}"),
            Self::Unsigned(value) => write!(out, "{value}"),
            Self::Signed(value) => write!(out, "{value}"),
            Self::Float(value) => write!(out, "{value}"),
            Self::Text(Truncated { text, cut }) => {
                let bare = |c: char| !(c.is_whitespace() || matches!(c, '"' | '=' | '\\') || is_deceptive(c));
                if !cut && !text.is_empty() && text.chars().all(bare) {
                    out.write_str(text)
                } else {
                    write_quoted(out, text, *cut)
                }
            }
        }
    }
}

impl Serialize for Field {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Unsigned(value) if *value <= LARGEST_EXACT => serializer.serialize_u64(*value),
            Self::Signed(value) if value.unsigned_abs() <= LARGEST_EXACT => serializer.serialize_i64(*value),
            Self::Unsigned(value) => serializer.collect_str(value),
            Self::Signed(value) => serializer.collect_str(value),
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Text(Truncated { text, cut: false }) => serializer.serialize_str(text),
            Self::Text(Truncated { text, cut: true }) => serializer.collect_str(&format_args!("{text}…")),
        }
    }
}

/// The fields of a record, in their order.
#[derive(Debug, Default)]
pub(super) struct LogFields(pub(super) Vec<(String, Field)>);

impl LogFields {
    pub(super) fn of(source: &dyn kv::Source) -> Self {
        let mut fields = Self::default();
        // The visitor never fails. If the source does, the fields before that are kept.
        let _ = source.visit(&mut fields);
        fields
    }
}

impl<'kvs> kv::VisitSource<'kvs> for LogFields {
    fn visit_pair(&mut self, key: kv::Key<'kvs>, value: kv::Value<'kvs>) -> Result<(), kv::Error> {
        let mut field = Collect(None);
        value.visit(&mut field)?;
        if let Some(field) = field.0 {
            self.0.push((key.as_str().to_owned(), field));
        }
        Ok(())
    }
}

impl Serialize for LogFields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

struct Collect(Option<Field>);

impl kv::VisitValue<'_> for Collect {
    fn visit_any(&mut self, value: kv::Value<'_>) -> Result<(), kv::Error> {
        self.0 = Some(Field::Text(Truncated::of(value)));
        Ok(())
    }

    fn visit_null(&mut self) -> Result<(), kv::Error> {
        // A field without a value, such as a key that is not known yet, is left out.
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), kv::Error> {
        self.0 = Some(Field::Unsigned(value));
        Ok(())
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), kv::Error> {
        self.0 = Some(Field::Signed(value));
        Ok(())
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), kv::Error> {
        self.0 = Some(Field::Float(value));
        Ok(())
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), kv::Error> {
        self.0 = Some(Field::Bool(value));
        Ok(())
    }

    fn visit_str(&mut self, value: &str) -> Result<(), kv::Error> {
        self.0 = Some(Field::Text(Truncated::of(value)));
        Ok(())
    }
}
