//! Encodes payloads as frames.

use bytes::Bytes;
use shared::{
    compression::{Level, deflate},
    v1::Encoding,
};

use crate::transport::{binary_frame, text_frame};

/// Encodes a payload as one message: text, or one complete zlib stream.
pub(super) fn frame(encoding: Encoding, level: Level, payload: &str) -> Bytes {
    match encoding {
        Encoding::Text => text_frame(payload.as_bytes()),
        Encoding::Zlib => binary_frame(&deflate(payload.as_bytes(), level)),
    }
}
