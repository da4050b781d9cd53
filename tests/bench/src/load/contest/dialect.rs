//! The protocol between a client and a contestant, reduced to what a receiver and a sender need.

use gateway_harness::frame;
use serde_json::{Value, json};

use super::super::announcement::Announcement;

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum ClientRole {
    /// Receives every event.
    Receiver,
    /// Sends the events and receives none of them.
    Sender,
}

/// What a client does next during its handshake.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum HandshakeStep {
    /// Wait for another payload.
    Wait,
    /// Send these bytes.
    Send(Vec<u8>),
    /// Nothing more: the client is subscribed, or may publish.
    Ready,
}

/// The protocol of a contestant, seen from the client.
pub(in super::super) trait Dialect: Send {
    /// Returns the request target of the WebSocket upgrade.
    fn target(&self, role: ClientRole) -> &'static str;

    /// Returns the first step after the upgrade.
    fn begin(&self, role: ClientRole) -> HandshakeStep;

    /// Returns the step after `payload`, which arrived before the client was ready.
    fn on_handshake(&self, role: ClientRole, payload: &[u8]) -> HandshakeStep;

    /// Returns the frame that publishes an event with this data.
    fn publish(&self, data: &str) -> Vec<u8>;

    /// Returns a message that is answered at once, and only to its sender. `None` if the protocol has no such
    /// message.
    fn beat(&self) -> Option<Vec<u8>>;

    /// Returns whether `payload` answers a heartbeat.
    fn is_answer(&self, payload: &[u8]) -> bool;

    /// Calls `each` with every message in a payload received. Most dialects put one into a payload.
    fn messages(&self, payload: &[u8], each: &mut dyn FnMut(&[u8])) {
        each(payload);
    }

    /// Calls `each` for every announcement in a payload received.
    fn announcements(&self, payload: &[u8], each: &mut dyn FnMut(Announcement)) {
        self.messages(payload, &mut |message| {
            if let Some(announcement) = Announcement::read(message) {
                each(announcement);
            }
        });
    }

    /// Returns whether decoding is so expensive that only some clients do it, while the others count frames.
    fn is_opaque(&self) -> bool {
        false
    }
}

/// Version 1 of the Utilbot protocol.
pub(super) struct UtilbotDialect {
    receiver: Vec<u8>,
    /// The event that a receiver gets last, before the first announcement.
    last: &'static str,
    sender: Vec<u8>,
    is_zlib: bool,
}

impl UtilbotDialect {
    /// Creates the dialect of bots that identify with `key`.
    pub(super) fn new(key: &str, is_zlib: bool) -> Self {
        let d = json!({ "type": "bot", "key": key });
        Self::of(&d, "\"GLOBAL_GUILD_COUNT\"", key, is_zlib)
    }

    /// Creates the dialect of bots that are told the positions of events.
    pub(super) fn with_positions(key: &str) -> Self {
        let d = json!({ "type": "bot", "key": key, "positions": true });
        Self::of(&d, "\"GLOBAL_GUILD_COUNT\"", key, false)
    }

    /// Creates the dialect of websites that watch five guilds and are told positions and counts.
    pub(super) fn watching(key: &str) -> Self {
        let guilds = ["1", "2", "3", "4", "5"];
        let d = json!({ "type": "website", "key": key, "positions": true, "guilds": guilds, "counts": true });
        Self::of(&d, "\"website_connect_success\"", key, false)
    }

    fn of(receiver: &Value, last: &'static str, key: &str, is_zlib: bool) -> Self {
        let identify = |d: &Value| frame::text(&json!({ "op": 1, "t": "identify", "d": d }).to_string());
        Self {
            receiver: identify(receiver),
            last,
            sender: identify(&json!({ "type": "website", "key": key })),
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
        // The last message before the first event.
        let last = match role {
            ClientRole::Receiver => self.last,
            ClientRole::Sender => "\"website_connect_success\"",
        };
        if has("\"op\":5,") {
            HandshakeStep::Send(match role {
                ClientRole::Receiver => self.receiver.clone(),
                ClientRole::Sender => self.sender.clone(),
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
        // With positions, one follows.
        let is_ack = payload == ACK || payload.starts_with(b"{\"op\":11,\"p\":");
        // No other packet is this short, so longer ones need not be inflated.
        is_ack || (payload.len() < 2 * ACK.len() && inflated(payload).as_deref() == Some(ACK))
    }

    fn messages(&self, payload: &[u8], each: &mut dyn FnMut(&[u8])) {
        each(inflated(payload).as_deref().unwrap_or(payload));
    }

    fn is_opaque(&self) -> bool {
        self.is_zlib
    }
}

/// Inflates a zlib packet. Returns `None` if `payload` is not one.
fn inflated(payload: &[u8]) -> Option<Vec<u8>> {
    use std::io::Read as _;
    if payload.first() != Some(&0x78) {
        return None;
    }
    let mut plain = Vec::new();
    flate2::read::ZlibDecoder::new(payload).read_to_end(&mut plain).ok()?;
    Some(plain)
}
