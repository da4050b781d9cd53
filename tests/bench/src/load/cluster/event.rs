//! The event that the senders send: whose it is, its number, and as many bytes as wanted.

use super::super::announcement::number_after;

/// One event of the name `announce`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NumberedEvent {
    /// Which sender's it is.
    pub(super) sender: usize,
    /// Its number among those of its sender, from 0.
    pub(super) number: u64,
}

impl NumberedEvent {
    /// The event as HTTP takes it, and with an `op` as a socket does: a `d` of so many bytes.
    pub(super) fn payload(self, op: &str, bytes: usize) -> String {
        format!("{{{op}\"t\":\"announce\",\"d\":{}}}", self.data(bytes))
    }

    /// Its `d` alone, of so many bytes.
    pub(super) fn data(self, bytes: usize) -> String {
        let Self { sender, number } = self;
        let head = format!("{{\"s\":{sender},\"n\":{number},\"pad\":\"");
        let pad = bytes.saturating_sub(head.len() + 2);
        format!("{head}{:x<pad$}\"}}", "")
    }

    /// Reads it out of what a receiver got, without looking at the padding; none where it is another payload.
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let rest = payload.strip_prefix(b"{\"op\":0,\"t\":\"announce\",")?;
        let start = &rest[..rest.len().min(64)];
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
    fn an_event_is_read_back_and_has_its_size() {
        let event = NumberedEvent {
            sender: 3,
            number: 123_456,
        };
        assert_eq!(event.data(200).len(), 200);
        let payload = event.payload("\"op\":0,", 200);
        assert_eq!(NumberedEvent::read(payload.as_bytes()), Some(event));
        assert!(serde_json::from_str::<serde_json::Value>(&payload).is_ok());
        assert_eq!(NumberedEvent::read(b"{\"op\":11}"), None);
    }
}
