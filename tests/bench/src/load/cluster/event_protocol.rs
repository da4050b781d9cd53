//! How clients put events on the wire.

use gateway_harness::frame;

use super::{super::contest::Dialect, event::NumberedEvent};

/// The protocol of a sender or a receiver.
pub(super) enum EventProtocol {
    /// Version 1, which nodes speak.
    Version1,
    /// The protocol of a third-party server.
    Peer(Box<dyn Dialect>),
}

impl EventProtocol {
    /// Returns the frame that publishes an event whose data is `bytes` long.
    pub(super) fn frame(&self, event: NumberedEvent, bytes: usize) -> Vec<u8> {
        match self {
            Self::Version1 => frame::text(&event.payload("\"op\":1,", bytes)),
            Self::Peer(dialect) => dialect.publish(&event.data(bytes)),
        }
    }

    /// Calls `each` for every event in a payload received.
    pub(super) fn events(&self, payload: &[u8], mut each: impl FnMut(NumberedEvent)) {
        match self {
            Self::Version1 => NumberedEvent::read(payload).into_iter().for_each(each),
            Self::Peer(dialect) => dialect.messages(payload, &mut |message| {
                NumberedEvent::find(message).into_iter().for_each(&mut each);
            }),
        }
    }

    /// Returns whether the server may answer a publication. A sender has to read the answers.
    pub(super) fn has_answers(&self) -> bool {
        matches!(self, Self::Peer(_))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::super::contest::PeerServer, *};

    #[test]
    fn all_events_in_a_frame_are_found() {
        let event = |number| NumberedEvent { sender: 0, number };
        let push = |number| {
            let data = event(number).data(200);
            format!("{{\"result\":{{\"channel\":\"announce\",\"data\":{{\"data\":{data},\"offset\":9}}}}}}\n")
        };
        let frames = [
            (
                PeerServer::Centrifuge,
                [push(3), push(4)].concat(),
                vec![event(3), event(4)],
            ),
            (
                PeerServer::SocketIo,
                format!("42[\"announce\",{}]", event(5).data(200)),
                vec![event(5)],
            ),
            (PeerServer::Centrifuge, "{\"id\":3,\"result\":{}}\n".to_owned(), vec![]),
        ];
        for (server, frame, expected) in frames {
            let mut events = Vec::new();
            EventProtocol::Peer(server.dialect()).events(frame.as_bytes(), |event| events.push(event));
            assert_eq!(events, expected, "{frame}");
        }
    }
}
