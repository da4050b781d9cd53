//! A message of a client: from the bytes of its frame to the actions of the session.

use std::{iter::repeat_n, rc::Rc, sync::Arc};

use gateway_harness::frame;
use gateway_node::{
    auth::Key,
    config::{KeySettings, Secret, Settings},
    events::Events,
    session::{Cx, Identified, Protocol, V1, V1Call, V1CallResult, V1SessionSettings},
    transport::{Decoded, Decoder, Message, Violation},
};
use shared::{
    client_type::ClientType,
    routing::{DeliverMode, EventDefinition, EventTable, ReceiverType},
    session_id::SessionId,
    v1::{Scope, payload::GuildCount},
};
use tokio::time::Instant;

use super::{
    data,
    entry::start,
    step::{CALLS, each, step},
};

type ReceivedActions = gateway_node::session::Actions<V1Call>;
type Decoding = Result<Option<Decoded>, Violation>;

const HEARTBEAT: &str = r#"{"op":10}"#;

fn event() -> String {
    format!(r#"{{"op":1,"t":"announce","d":{}}}"#, data())
}

pub(super) fn decode_heartbeat() -> usize {
    step!((decoder: &mut Decoder, bytes: &[u8]) -> Decoding { decoder.decode(&mut { bytes }) });
    decode(HEARTBEAT, step)
}

pub(super) fn decode_event() -> usize {
    step!((decoder: &mut Decoder, bytes: &[u8]) -> Decoding { decoder.decode(&mut { bytes }) });
    decode(&event(), step)
}

/// Feeds the same frame again and again to an idle decoder.
fn decode(text: &str, step: fn(&mut Decoder, &[u8]) -> Decoding) -> usize {
    let bytes = frame(0x81, text.as_bytes());
    let mut decoder = Decoder::new(65_536);
    let is_whole = |it: &Decoding| matches!(it, Ok(Some(Decoded::Message(Message::Text(found)))) if **found == *text);
    each(repeat_n(&*bytes, CALLS), |bytes| step(&mut decoder, bytes), is_whole)
}

pub(super) fn receive_heartbeat() -> usize {
    step!((v1: &mut V1, message: Message, now: Instant) -> ReceivedActions { v1.receive(message, &Cx::at(now)) });
    receive(HEARTBEAT, "[Count, Heartbeat(b\"\\x81\\t{\\\"op\\\":11}\")]", step)
}

pub(super) fn receive_event() -> usize {
    step!((v1: &mut V1, message: Message, now: Instant) -> ReceivedActions { v1.receive(message, &Cx::at(now)) });
    receive(
        &event(),
        "[Count, Publish { publication: Publication { name: \"announce\"",
        step,
    )
}

/// Gives the state machine of an identified bot the same message again and again. The text of the actions that it returns
/// each time must begin with `expected`.
fn receive(text: &str, expected: &str, step: fn(&mut V1, Message, Instant) -> ReceivedActions) -> usize {
    let table = EventTable::build(vec![EventDefinition {
        name: "announce".to_owned(),
        from: vec![ClientType::Bot],
        to: vec![ReceiverType::Bot],
        deliver: DeliverMode::All,
        require_receiver: None,
        to_tickets: false,
        schema: None,
        reply: None,
        job: None,
    }]);
    let settings = V1SessionSettings::new(
        &Settings::default(),
        "node".into(),
        &Events::new(table.expect("a valid table")),
    );
    let now = Instant::now();
    let mut v1 = V1::new(Some("1"), None, Rc::new(settings), now);
    let identified = Identified {
        id: SessionId::from_raw(1),
        kind: ClientType::Bot,
        key: Arc::new(Key::new(&KeySettings::development(Secret::from("s".repeat(32)))).expect("a valid key")),
        since: start(),
        counts: GuildCount::default(),
        scope: Scope::default(),
        ticket: None,
    };
    assert_eq!(
        v1.on_result(V1CallResult::Joined(Ok(identified)), &Cx::at(now)).len(),
        3
    );
    each(
        (0..CALLS).map(|_| Message::Text(text.into())),
        |message| step(&mut v1, message, now),
        |actions| format!("{actions:?}").starts_with(expected),
    )
}
