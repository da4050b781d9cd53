//! The dialects of servers that are not ours. `tests/bench/peers/README.md` shows each of them on the wire.

use gateway_harness::frame;

use super::{
    super::announcement::Announcement,
    dialect::{Dialect, Part, Step},
};

/// Servers that send a text on to everybody else, and answer `ping` with `pong`: Bun, `ws` and the yardstick.
pub(super) struct Broadcast;

impl Dialect for Broadcast {
    fn target(&self, _: Part) -> &'static str {
        "/"
    }

    fn begin(&self, _: Part) -> Step {
        Step::Ready
    }

    fn hear(&self, _: Part, _: &[u8]) -> Step {
        Step::Wait
    }

    fn publish(&self, data: &str) -> Vec<u8> {
        frame::text(data)
    }

    fn beat(&self) -> Option<Vec<u8>> {
        Some(frame::text("ping"))
    }

    fn is_answer(&self, payload: &[u8]) -> bool {
        payload == b"pong"
    }
}

/// Socket.IO over its WebSocket transport alone.
pub(super) struct SocketIo;

impl Dialect for SocketIo {
    fn target(&self, _: Part) -> &'static str {
        "/socket.io/?EIO=4&transport=websocket"
    }

    fn begin(&self, _: Part) -> Step {
        Step::Wait
    }

    fn hear(&self, _: Part, payload: &[u8]) -> Step {
        match payload {
            [b'0', ..] => Step::Say(frame::text("40")),
            [b'4', b'0', ..] => Step::Ready,
            _ => Step::Wait,
        }
    }

    fn publish(&self, data: &str) -> Vec<u8> {
        frame::text(&format!("42[\"announce\",{data}]"))
    }

    fn beat(&self) -> Option<Vec<u8>> {
        Some(frame::text("420[\"beat\"]"))
    }

    fn is_answer(&self, payload: &[u8]) -> bool {
        payload == b"430[]"
    }
}

/// Nchan's channels for subscribers and publishers. Its heartbeat is a ping of WebSocket, which is no message.
pub(super) struct Nchan;

impl Dialect for Nchan {
    fn target(&self, part: Part) -> &'static str {
        match part {
            Part::Receiver => "/sub",
            Part::Sender => "/pub",
        }
    }

    fn begin(&self, _: Part) -> Step {
        Step::Ready
    }

    fn hear(&self, _: Part, _: &[u8]) -> Step {
        Step::Wait
    }

    fn publish(&self, data: &str) -> Vec<u8> {
        frame::text(data)
    }

    fn beat(&self) -> Option<Vec<u8>> {
        None
    }

    fn is_answer(&self, _: &[u8]) -> bool {
        false
    }
}

/// The protocol of NATS in binary messages, of which one can hold many of its own.
pub(super) struct Nats;

impl Dialect for Nats {
    fn target(&self, _: Part) -> &'static str {
        "/"
    }

    fn begin(&self, part: Part) -> Step {
        let subscribe = match part {
            Part::Receiver => "SUB announce 1\r\n",
            Part::Sender => "",
        };
        let connect = format!("CONNECT {{\"verbose\":false,\"pedantic\":false,\"echo\":false}}\r\n{subscribe}PING\r\n");
        Step::Say(frame::binary(connect.as_bytes()))
    }

    fn hear(&self, _: Part, payload: &[u8]) -> Step {
        if payload.starts_with(b"PONG") {
            Step::Ready
        } else {
            Step::Wait
        }
    }

    fn publish(&self, data: &str) -> Vec<u8> {
        frame::binary(format!("PUB announce {}\r\n{data}\r\n", data.len()).as_bytes())
    }

    fn beat(&self) -> Option<Vec<u8>> {
        Some(frame::binary(b"PING\r\n"))
    }

    fn is_answer(&self, payload: &[u8]) -> bool {
        payload == b"PONG\r\n"
    }

    fn announcements(&self, mut payload: &[u8], each: &mut dyn FnMut(Announcement)) {
        while let Some(end) = payload.windows(2).position(|two| two == b"\r\n") {
            let (line, rest) = (&payload[..end], &payload[end + 2..]);
            let length = line
                .strip_prefix(b"MSG announce 1 ")
                .and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<usize>().ok());
            // What is no message is a line alone: a PING.
            let Some(length) = length else {
                payload = rest;
                continue;
            };
            let Some((message, rest)) = rest.split_at_checked(length) else {
                return;
            };
            if let Some(announcement) = Announcement::read(message) {
                each(announcement);
            }
            payload = rest.strip_prefix(b"\r\n").unwrap_or(rest);
        }
    }
}

/// Centrifuge's JSON protocol, several objects of which can share a message.
pub(super) struct Centrifuge;

impl Dialect for Centrifuge {
    fn target(&self, _: Part) -> &'static str {
        "/connection/websocket"
    }

    fn begin(&self, part: Part) -> Step {
        let connect = "{\"id\":1,\"params\":{}}";
        Step::Say(frame::text(&match part {
            Part::Receiver => format!("{connect}\n{{\"id\":2,\"method\":1,\"params\":{{\"channel\":\"announce\"}}}}"),
            Part::Sender => connect.to_owned(),
        }))
    }

    fn hear(&self, part: Part, payload: &[u8]) -> Step {
        let last = match part {
            Part::Receiver => &b"{\"id\":2,"[..],
            Part::Sender => b"{\"id\":1,",
        };
        if payload
            .split(|byte| *byte == b'\n')
            .any(|object| object.starts_with(last))
        {
            Step::Ready
        } else {
            Step::Wait
        }
    }

    fn publish(&self, data: &str) -> Vec<u8> {
        frame::text(&format!(
            "{{\"id\":3,\"method\":3,\"params\":{{\"channel\":\"announce\",\"data\":{data}}}}}"
        ))
    }

    fn beat(&self) -> Option<Vec<u8>> {
        Some(frame::text("{\"id\":4,\"method\":7}"))
    }

    fn is_answer(&self, payload: &[u8]) -> bool {
        payload == b"{\"id\":4}\n"
    }

    fn announcements(&self, payload: &[u8], each: &mut dyn FnMut(Announcement)) {
        for object in payload.split(|byte| *byte == b'\n') {
            if let Some(announcement) = Announcement::read(object) {
                each(announcement);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(dialect: &dyn Dialect, payload: &str) -> Vec<u32> {
        let mut numbers = Vec::new();
        dialect.announcements(payload.as_bytes(), &mut |it| numbers.push(it.number));
        numbers
    }

    #[test]
    fn every_message_of_a_frame_is_found() {
        let event = |number| Announcement { number, sent_us: 7 }.data(40);
        let nats = |number| format!("MSG announce 1 40\r\n{}\r\n", event(number));
        assert_eq!(
            numbers(&Nats, &[nats(1), "PING\r\n".to_owned(), nats(2)].concat()),
            [1, 2]
        );
        let push = |number| {
            let data = event(number);
            format!("{{\"result\":{{\"channel\":\"announce\",\"data\":{{\"data\":{data}}}}}}}\n")
        };
        assert_eq!(numbers(&Centrifuge, &[push(3), push(4)].concat()), [3, 4]);
        assert_eq!(numbers(&SocketIo, &format!("42[\"announce\",{}]", event(5))), [5]);
    }
}
