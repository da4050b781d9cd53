//! The event that the senders publish: its sender, its number, and padding up to a given size.

use super::super::announcement::number_after;

/// An event named `announce`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NumberedEvent {
    /// Index of its sender.
    pub(super) sender: usize,
    /// Its number among the events of its sender, from 0.
    pub(super) number: u64,
}

impl NumberedEvent {
    /// Returns the event for the HTTP API if `op` is empty, or for a socket if `op` is an `"op"` member. Its `d` is
    /// `bytes` long.
    pub(super) fn payload(self, op: &str, bytes: usize) -> String {
        format!("{{{op}\"t\":\"announce\",\"d\":{}}}", self.data(bytes))
    }

    /// Returns the `d` of the event alone, `bytes` long.
    pub(super) fn data(self, bytes: usize) -> String {
        let Self { sender, number } = self;
        let head = format!("{{\"s\":{sender},\"n\":{number},\"pad\":\"");
        let pad = bytes.saturating_sub(head.len() + 2);
        format!("{head}{:x<pad$}\"}}", "")
    }

    /// Parses the event out of a payload without reading the padding. Returns `None` for any other payload.
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        Self::find(payload.strip_prefix(b"{\"op\":0,\"t\":\"announce\",")?)
    }

    /// Finds the data of an event near the beginning of a message, likewise.
    pub(super) fn find(message: &[u8]) -> Option<Self> {
        let start = &message[..message.len().min(128)];
        Some(Self {
            sender: number_after(start, b"\"s\":")?.try_into().ok()?,
            number: number_after(start, b"\"n\":")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_round_trips_and_has_the_requested_size() {
        let event = NumberedEvent {
            sender: 3,
            number: 123_456,
        };
        assert_eq!(event.data(200).len(), 200);
        let payload = event.payload("\"op\":0,", 200);
        assert_eq!(NumberedEvent::read(payload.as_bytes()), Some(event));
        assert!(serde_json::from_str::<serde_json::Value>(&payload).is_ok());
        assert_eq!(NumberedEvent::read(b"{\"op\":11}"), None);
        let message = format!("42[\"announce\",{}]", event.data(200));
        assert_eq!(NumberedEvent::find(message.as_bytes()), Some(event));
    }
}
