//! What a client says to a contender, and what it hears: the least that makes it a receiver.

use gateway_harness::frame;
use serde_json::json;

use super::super::announcement::Announcement;

/// What a client is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum ClientRole {
    /// It receives every event.
    Receiver,
    /// It sends them, and gets none back.
    Sender,
}

/// What a payload before the beginning means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HandshakeStep {
    /// There is more to come.
    Wait,
    /// These bytes are to be sent.
    Send(Vec<u8>),
    /// The client receives events, or may send them.
    Ready,
}

/// The protocol of a contender.
pub(super) trait Dialect {
    /// The target of the request that becomes a WebSocket.
    fn target(&self, role: ClientRole) -> &'static str;

    /// The first step, right after the upgrade.
    fn begin(&self, role: ClientRole) -> HandshakeStep;

    /// The step that a payload asks for, while the client is not ready.
    fn on_handshake(&self, role: ClientRole, payload: &[u8]) -> HandshakeStep;

    /// What a sender sends for an event with this data.
    fn publish(&self, data: &str) -> Vec<u8>;

    /// What a client sends that is answered to it alone, and at once; none where that is no message.
    fn beat(&self) -> Option<Vec<u8>>;

    /// Whether this answers a beat.
    fn is_answer(&self, payload: &[u8]) -> bool;

    /// The announcements in a payload that has arrived at a receiver; `payload` holds one or none in most dialects.
    fn announcements(&self, payload: &[u8], each: &mut dyn FnMut(Announcement)) {
        if let Some(announcement) = Announcement::read(payload) {
            each(announcement);
        }
    }

    /// Whether reading a payload costs so much that only some clients do it; the others count frames.
    fn is_opaque(&self) -> bool {
        false
    }
}

/// Version 1 of the Utilbot gateway's protocol.
pub(super) struct UtilbotDialect {
    bot: Vec<u8>,
    website: Vec<u8>,
    is_zlib: bool,
}

impl UtilbotDialect {
    /// For clients that show this key.
    pub(super) fn new(key: &str, is_zlib: bool) -> Self {
        let identify =
            |kind| frame::text(&json!({ "op": 1, "t": "identify", "d": { "type": kind, "key": key } }).to_string());
        Self {
            bot: identify("bot"),
            website: identify("website"),
            is_zlib,
        }
    }
}

impl Dialect for UtilbotDialect {
    fn target(&self, role: ClientRole) -> &'static str {
        if self.is_zlib && role == ClientRole::Receiver {
            "/?v=1&compression=zlib"
        } else {
            "/?v=1"
        }
    }

    fn begin(&self, _: ClientRole) -> HandshakeStep {
        HandshakeStep::Wait
    }

    fn on_handshake(&self, role: ClientRole, payload: &[u8]) -> HandshakeStep {
        let inflated = inflated(payload);
        let payload = inflated.as_deref().unwrap_or(payload);
        let has = |text: &str| payload.windows(text.len()).any(|part| part == text.as_bytes());
        // What a client is told last before the first event.
        let last = match role {
            ClientRole::Receiver => "\"GLOBAL_GUILD_COUNT\"",
            ClientRole::Sender => "\"website_connect_success\"",
        };
        if has("\"op\":5,") {
            HandshakeStep::Send(match role {
                ClientRole::Receiver => self.bot.clone(),
                ClientRole::Sender => self.website.clone(),
            })
        } else if has(last) {
            HandshakeStep::Ready
        } else {
            HandshakeStep::Wait
        }
    }

    fn publish(&self, data: &str) -> Vec<u8> {
        frame::text(&format!("{{\"op\":1,\"t\":\"announce\",\"d\":{data}}}"))
    }

    fn beat(&self) -> Option<Vec<u8>> {
        Some(frame::text("{\"op\":10}"))
    }

    fn is_answer(&self, payload: &[u8]) -> bool {
        const ACK: &[u8] = b"{\"op\":11}";
        // No other packet is as short, so that those which are not one need not be inflated.
        payload == ACK || (payload.len() < 2 * ACK.len() && inflated(payload).as_deref() == Some(ACK))
    }

    fn announcements(&self, payload: &[u8], each: &mut dyn FnMut(Announcement)) {
        let inflated = inflated(payload);
        if let Some(announcement) = Announcement::read(inflated.as_deref().unwrap_or(payload)) {
            each(announcement);
        }
    }

    fn is_opaque(&self) -> bool {
        self.is_zlib
    }
}

/// What a zlib packet holds; `None` where it is none.
fn inflated(payload: &[u8]) -> Option<Vec<u8>> {
    use std::io::Read as _;
    if payload.first() != Some(&0x78) {
        return None;
    }
    let mut plain = Vec::new();
    flate2::read::ZlibDecoder::new(payload).read_to_end(&mut plain).ok()?;
    Some(plain)
}
