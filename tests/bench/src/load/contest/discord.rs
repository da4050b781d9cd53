//! Version 10 of Discord's protocol.

use flate2::{Decompress, FlushDecompress};
use gateway_harness::frame;
use serde_json::json;

use super::dialect::{ClientRole, Dialect, HandshakeStep, UtilbotDialect};

/// Receivers speak Discord's protocol; the sender is a `website` client of version 1.
pub(super) struct DiscordDialect {
    identify: Vec<u8>,
    sender: UtilbotDialect,
    is_zlib: bool,
}

impl DiscordDialect {
    /// Creates the dialect of clients that identify with `key`.
    pub(super) fn new(key: &str, is_zlib: bool) -> Self {
        let d = json!({ "token": key, "intents": 0, "properties": {} });
        Self {
            identify: frame::text(&json!({ "op": 2, "d": d }).to_string()),
            sender: UtilbotDialect::new(key, false),
            is_zlib,
        }
    }
}

impl Dialect for DiscordDialect {
    fn target(&self, role: ClientRole) -> &'static str {
        match role {
            ClientRole::Sender => self.sender.target(role),
            ClientRole::Receiver if self.is_zlib => "/?v=10&encoding=json&compress=zlib-stream",
            ClientRole::Receiver => "/?v=10&encoding=json",
        }
    }

    fn begin(&self, _: ClientRole) -> HandshakeStep {
        HandshakeStep::Wait
    }

    fn on_handshake(&self, role: ClientRole, payload: &[u8]) -> HandshakeStep {
        if role == ClientRole::Sender {
            return self.sender.on_handshake(role, payload);
        }
        let inflated = self.is_zlib.then(|| inflated(payload));
        let payload = inflated.as_deref().unwrap_or(payload);
        let has = |text: &str| payload.windows(text.len()).any(|part| part == text.as_bytes());
        if has("\"op\":10,") {
            HandshakeStep::Send(self.identify.clone())
        } else if has("\"t\":\"READY\"") {
            HandshakeStep::Ready
        } else {
            HandshakeStep::Wait
        }
    }

    fn publish(&self, data: &str) -> Vec<u8> {
        self.sender.publish(data)
    }

    fn beat(&self) -> Option<Vec<u8>> {
        Some(frame::text("{\"op\":1,\"d\":null}"))
    }

    fn is_answer(&self, payload: &[u8]) -> bool {
        const ACK: &[u8] = b"{\"t\":null,\"s\":null,\"op\":11,\"d\":null}";
        payload == ACK || (self.is_zlib && payload.len() < 2 * ACK.len() && inflated(payload) == ACK)
    }

    fn messages(&self, payload: &[u8], each: &mut dyn FnMut(&[u8])) {
        let inflated = self.is_zlib.then(|| inflated(payload));
        each(inflated.as_deref().unwrap_or(payload));
    }

    fn is_opaque(&self) -> bool {
        self.is_zlib
    }
}

/// Inflates one message of a zlib stream. The node's messages do not refer to earlier ones, so a client that only
/// measures can inflate each by itself. The protocol tests decode the stream as a whole.
fn inflated(payload: &[u8]) -> Vec<u8> {
    let blocks = payload.strip_prefix(&[0x78, 0x9c]).unwrap_or(payload);
    let mut plain = Vec::with_capacity(4096);
    // A message that cannot be inflated is not an announcement. It is counted as missing.
    let _ = Decompress::new(false).decompress_vec(blocks, &mut plain, FlushDecompress::Sync);
    plain
}
