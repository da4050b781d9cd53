//! The part of a dispatch that all sessions with one wire format share: everything but the sequence number.

use bytes::Bytes;
use shared::{
    compression::{Method, Segment},
    discord::Dispatch,
};

use super::wire_format::WireFormat;

/// The size in bytes from which payloads are compressed one by one, for clients that asked for that.
const PACKED_BYTES: usize = 1024;

/// The bytes before and after the sequence number of a dispatch.
#[derive(Debug)]
pub(crate) enum EncodedDispatch {
    /// Uncompressed.
    Plain { before: Bytes, after: Bytes },
    /// Compressed once for all streams. A payload without a sequence number has no `before`.
    Compressed { before: Option<Segment>, after: Segment },
}

impl EncodedDispatch {
    /// Encodes the event `name` with the data `d`. Returns `None` if the data cannot be represented in the encoding.
    pub(crate) fn new(wire_format: WireFormat, name: &str, d: &str) -> Option<Self> {
        let Dispatch { before, after } = Dispatch::new(wire_format.encoding, name, d)
            .inspect_err(|error| log::warn!(event = name, cause:% = error; "an event cannot be encoded"))
            .ok()?;
        Some(match method_for(wire_format, before.len() + after.len()) {
            Some(method) => Self::Compressed {
                before: Some(method.format().segment(&before, wire_format.level)),
                after: method.format().segment(&after, wire_format.level),
            },
            None => Self::Plain {
                before: before.into(),
                after: after.into(),
            },
        })
    }

    /// Returns the bytes before and after the sequence number, or `None` if they are compressed.
    pub(crate) fn plain(&self) -> Option<(&Bytes, &Bytes)> {
        match self {
            Self::Plain { before, after } => Some((before, after)),
            Self::Compressed { .. } => None,
        }
    }

    /// Encodes a payload that has no sequence number.
    pub(crate) fn of_one(wire_format: WireFormat, payload: &[u8]) -> Self {
        match method_for(wire_format, payload.len()) {
            Some(method) => Self::Compressed {
                before: None,
                after: method.format().segment(payload, wire_format.level),
            },
            None => Self::Plain {
                before: Bytes::new(),
                after: Bytes::copy_from_slice(payload),
            },
        }
    }
}

fn method_for(wire_format: WireFormat, length: usize) -> Option<Method> {
    let is_wanted = |method: &Method| *method != Method::ZlibPacket || length >= PACKED_BYTES;
    wire_format.method.filter(is_wanted)
}
