//! Encodes events in every wire format, each once for all sessions that use it.

mod dispatch_encoder;
pub(crate) mod encoded_dispatch;
pub(crate) mod encoded_event;
mod log_cursor;
pub(crate) mod numbered_frames;
mod wire_format;

pub use self::{dispatch_encoder::DispatchEncoder, log_cursor::LogCursor, wire_format::WireFormat};
