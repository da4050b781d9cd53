//! What every payload of a client has in common.

use serde_json::value::RawValue;

use crate::fields::fields;

/// The fields of a client's payload that mean something, each as the text that was sent.
///
/// An absent field is `None`; one that is `null` is `Some`.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// The opcode.
    pub op: Option<&'a RawValue>,
    /// The data.
    pub d: Option<&'a RawValue>,
    /// The event's name.
    pub t: Option<&'a RawValue>,
}

impl<'a> Envelope<'a> {
    /// Reads a payload. Unknown fields are ignored, and the last one of several with one name counts, as in JavaScript.
    ///
    /// `None` when `text` is not one whole JSON object: such a message is dropped silently.
    pub fn parse(text: &'a str) -> Option<Self> {
        let [op, d, t] = fields(text, ["op", "d", "t"])?;
        Some(Self { op, d, t })
    }
}
