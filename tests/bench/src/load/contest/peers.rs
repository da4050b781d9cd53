//! The dialects of third-party servers. `tests/bench/peers/README.md` shows each of them on the wire.

use gateway_harness::frame;

use super::dialect::{ClientRole, Dialect, HandshakeStep};

/// Servers that forward a text message to all other clients and answer `ping` with `pong`: Bun, `ws` and the bare
/// loop.
pub(super) struct BroadcastDialect;

impl Dialect for BroadcastDialect {
    fn target(&self, _: ClientRole) -> &'static str {
        "/"
    }

    fn begin(&self, _: ClientRole) -> HandshakeStep {
        HandshakeStep::Ready
    }

    fn on_handshake(&self, _: ClientRole, _: &[u8]) -> HandshakeStep {
        HandshakeStep::Wait
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

/// Socket.IO, over its WebSocket transport only.
pub(super) struct SocketIoDialect;

impl Dialect for SocketIoDialect {
    fn target(&self, _: ClientRole) -> &'static str {
        "/socket.io/?EIO=4&transport=websocket"
    }

    fn begin(&self, _: ClientRole) -> HandshakeStep {
        HandshakeStep::Wait
    }

    fn on_handshake(&self, _: ClientRole, payload: &[u8]) -> HandshakeStep {
        match payload {
            [b'0', ..] => HandshakeStep::Send(frame::text("40")),
            [b'4', b'0', ..] => HandshakeStep::Ready,
            _ => HandshakeStep::Wait,
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

/// Nchan's subscriber and publisher endpoints. Its heartbeat is a WebSocket ping, which is not a message.
pub(super) struct NchanDialect;

impl Dialect for NchanDialect {
    fn target(&self, role: ClientRole) -> &'static str {
        match role {
            ClientRole::Receiver => "/sub",
            ClientRole::Sender => "/pub",
        }
    }

    fn begin(&self, _: ClientRole) -> HandshakeStep {
        HandshakeStep::Ready
    }

    fn on_handshake(&self, _: ClientRole, _: &[u8]) -> HandshakeStep {
        HandshakeStep::Wait
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

/// The NATS protocol in binary messages, each of which can hold several NATS messages.
pub(super) struct NatsDialect;

impl Dialect for NatsDialect {
    fn target(&self, _: ClientRole) -> &'static str {
        "/"
    }

    fn begin(&self, role: ClientRole) -> HandshakeStep {
        let subscribe = match role {
            ClientRole::Receiver => "SUB announce 1\r\n",
            ClientRole::Sender => "",
        };
        let connect = format!("CONNECT {{\"verbose\":false,\"pedantic\":false,\"echo\":false}}\r\n{subscribe}PING\r\n");
        HandshakeStep::Send(frame::binary(connect.as_bytes()))
    }

    fn on_handshake(&self, _: ClientRole, payload: &[u8]) -> HandshakeStep {
        if payload.starts_with(b"PONG") {
            HandshakeStep::Ready
        } else {
            HandshakeStep::Wait
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

    fn messages(&self, mut payload: &[u8], each: &mut dyn FnMut(&[u8])) {
        while let Some(end) = payload.windows(2).position(|two| two == b"\r\n") {
            let (line, rest) = (&payload[..end], &payload[end + 2..]);
            let length = line
                .strip_prefix(b"MSG announce 1 ")
                .and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<usize>().ok());
            // A line that is not `MSG` has no payload: a PING.
            let Some(length) = length else {
                payload = rest;
                continue;
            };
            let Some((message, rest)) = rest.split_at_checked(length) else {
                return;
            };
            each(message);
            payload = rest.strip_prefix(b"\r\n").unwrap_or(rest);
        }
    }
}

/// Centrifuge's JSON protocol. Several objects can share a WebSocket message.
pub(super) struct CentrifugeDialect;

impl Dialect for CentrifugeDialect {
    fn target(&self, _: ClientRole) -> &'static str {
        "/connection/websocket"
    }

    fn begin(&self, role: ClientRole) -> HandshakeStep {
        let connect = "{\"id\":1,\"params\":{}}";
        HandshakeStep::Send(frame::text(&match role {
            ClientRole::Receiver => {
                format!("{connect}\n{{\"id\":2,\"method\":1,\"params\":{{\"channel\":\"announce\"}}}}")
            }
            ClientRole::Sender => connect.to_owned(),
        }))
    }

    fn on_handshake(&self, role: ClientRole, payload: &[u8]) -> HandshakeStep {
        let last = match role {
            ClientRole::Receiver => &b"{\"id\":2,"[..],
            ClientRole::Sender => b"{\"id\":1,",
        };
        if payload
            .split(|byte| *byte == b'\n')
            .any(|object| object.starts_with(last))
        {
            HandshakeStep::Ready
        } else {
            HandshakeStep::Wait
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

    fn messages(&self, payload: &[u8], each: &mut dyn FnMut(&[u8])) {
        payload.split(|byte| *byte == b'\n').for_each(each);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::super::announcement::Announcement, *};

    fn numbers(dialect: &dyn Dialect, payload: &str) -> Vec<u32> {
        let mut numbers = Vec::new();
        dialect.announcements(payload.as_bytes(), &mut |it| numbers.push(it.number));
        numbers
    }

    #[test]
    fn all_announcements_in_a_frame_are_found() {
        let event = |number| Announcement { number, sent_us: 7 }.data(40);
        let nats = |number| format!("MSG announce 1 40\r\n{}\r\n", event(number));
        assert_eq!(
            numbers(&NatsDialect, &[nats(1), "PING\r\n".to_owned(), nats(2)].concat()),
            [1, 2]
        );
        let push = |number| {
            let data = event(number);
            format!("{{\"result\":{{\"channel\":\"announce\",\"data\":{{\"data\":{data}}}}}}}\n")
        };
        assert_eq!(numbers(&CentrifugeDialect, &[push(3), push(4)].concat()), [3, 4]);
        assert_eq!(
            numbers(&SocketIoDialect, &format!("42[\"announce\",{}]", event(5))),
            [5]
        );
    }
}
