//! The event that the load tools publish: a number, the time it was sent, and padding up to a given size.

/// An event named `announce`, which development mode routes to every bot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Announcement {
    /// Sequence number of the event.
    pub(super) number: u32,
    /// When it was sent, in microseconds of the sender's clock.
    pub(super) sent_us: u64,
}

impl Announcement {
    /// Returns the event as a body for the HTTP API. Its `d` is `bytes` long.
    pub(super) fn event(self, bytes: usize) -> String {
        format!("{{\"t\":\"announce\",\"d\":{}}}", self.data(bytes))
    }

    /// Returns the `d` of the event alone, `bytes` long.
    pub(super) fn data(self, bytes: usize) -> String {
        let Self { number, sent_us } = self;
        let head = format!("{{\"n\":{number},\"us\":{sent_us},\"pad\":\"");
        let pad = "x".repeat(bytes.saturating_sub(head.len() + 2));
        format!("{head}{pad}\"}}")
    }

    /// Parses the event out of a payload without reading the padding.
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let start = &payload[..payload.len().min(160)];
        Some(Self {
            number: number_after(start, b"\"n\":")?.try_into().ok()?,
            sent_us: number_after(start, b"\"us\":")?,
        })
    }
}

/// Returns the number that follows `name` in `text`.
pub(super) fn number_after(text: &[u8], name: &[u8]) -> Option<u64> {
    let place = text.windows(name.len()).position(|part| part == name)?;
    let digits = text[place + name.len()..].split(|byte| !byte.is_ascii_digit()).next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_round_trips_and_has_the_requested_size() {
        let announcement = Announcement {
            number: 77,
            sent_us: 123_456_789,
        };
        let event = announcement.event(16_384);
        let value: serde_json::Value = serde_json::from_str(&event).unwrap();
        assert_eq!(value["d"].to_string().len(), 16_384);
        let payload = event.replacen('{', "{\"op\":0,", 1);
        assert_eq!(Announcement::read(payload.as_bytes()), Some(announcement));
        assert_eq!(Announcement::read(b"{\"op\":11}"), None);
    }
}
