//! The wire format of a connection's payloads.

use shared::{
    compression::{Level, Method},
    discord::Encoding,
};

/// The wire format of a connection: its encoding and its compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WireFormat {
    /// How payloads are serialized.
    pub encoding: Encoding,
    /// The compression that all sessions with this wire format share, if any.
    pub method: Option<Method>,
    /// The zlib compression level.
    pub level: Level,
}
