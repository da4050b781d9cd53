//! Encodes events in every wire format, each once for all sessions that use it.

pub(crate) mod dispatch_encoder;
pub(crate) mod encoded_dispatch;
pub(crate) mod encoded_event;

pub use self::dispatch_encoder::{DispatchEncoder, LogCursor, WireFormat};
