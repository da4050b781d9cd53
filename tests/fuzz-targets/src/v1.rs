//! Packets of version 1, as text and as zlib streams, for clients that have identified and one that has not.

use std::{
    borrow::Cow,
    rc::Rc,
    sync::{Arc, LazyLock},
};

use flate2::{Decompress, FlushDecompress, Status};
use gateway_harness::read_frames;
use gateway_node::{
    auth::Key,
    backplane::{Epoch, Position},
    config::{KeySettings, Secret, Settings},
    events::Events,
    session::{Action, Cx, Identified, Protocol, V1, V1Call, V1CallResult, V1SessionSettings},
    transport::Message,
};
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use shared::{
    MAX_INTEGER,
    client_type::ClientType,
    compression::{InflateError, Level, deflate, inflate_into},
    routing::{DeliverMode, Delivery, EventDefinition, EventTable, ReceiverType},
    session_id::SessionId,
    v1::{ReportedGuilds, Scope, payload},
};
use tokio::time::Instant;

/// The largest packet that the default settings allow, in bytes.
const LIMIT: usize = 65_536;
/// A client that has not identified, and an identified one of each type.
const CLIENTS: [Option<ClientType>; 4] = [
    None,
    Some(ClientType::Bot),
    Some(ClientType::Website),
    Some(ClientType::Service),
];

thread_local!(static RULES: Rc<V1SessionSettings> = {
    let event = |name: &str, deliver, schema| EventDefinition {
        name: name.to_owned(),
        from: vec![ClientType::Website, ClientType::Service],
        to: vec![ReceiverType::Bot, ReceiverType::Discord],
        deliver,
        require_receiver: None,
            to_tickets: false,
        schema,
        reply: None,
        job: None,
    };
    let schema = json!({"required": ["text"], "properties": {"text": {"type": "string", "maxLength": 20}}});
    let table = EventTable::build(vec![
        event("announce", DeliverMode::All, None),
        event("ask", DeliverMode::Any, Some(schema)),
        event("MESSAGE_CREATE", DeliverMode::Guild("/guild_id".into()), None),
    ]);
    let events = Events::new(table.expect("a table"));
    Rc::new(V1SessionSettings::new(&Settings::default(), "node".into(), &events))
});

static KEY: LazyLock<Arc<Key>> = LazyLock::new(|| {
    let settings = KeySettings::development(Secret::from("s".repeat(32)));
    Arc::new(Key::new(&settings).expect("a key"))
});

/// Handles a text message.
pub fn v1_text(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if text.len() > LIMIT {
        return;
    }
    for client in CLIENTS {
        let now = Instant::now();
        let received = receive(client, false, Message::Text(text.into()), now);
        assert_actions(text, client, &received);
        let packet = deflate(text.as_bytes(), Level::default());
        let inflated = receive(client, true, Message::Binary(packet), now);
        assert_eq!(
            describe(&received),
            describe(&inflated),
            "as text and as zlib: {client:?}"
        );
    }
}

/// Handles a binary message of a client with compression. If the first byte is odd, the rest is deflated first.
pub fn v1_zlib(data: &[u8]) {
    let Some((mode, rest)) = data.split_first() else {
        return;
    };
    if rest.len() > LIMIT {
        return;
    }
    let packet = if mode % 2 == 0 {
        Cow::Borrowed(rest)
    } else {
        let packet = deflate(rest, Level::new(u32::from(mode / 2 % 10)));
        let mut inflated = Vec::new();
        assert_eq!(inflate_into(&mut inflated, &packet, rest.len()), Ok(()));
        assert!(inflated == rest, "what was deflated inflates to something else");
        Cow::Owned(packet.to_vec())
    };
    let mut inflated = Vec::new();
    let result = inflate_into(&mut inflated, &packet, LIMIT);
    compare(&packet, &inflated, result);
    assert!(
        inflated.capacity() <= LIMIT + 1,
        "a buffer of {} bytes",
        inflated.capacity()
    );
    for client in CLIENTS {
        let now = Instant::now();
        let received = describe(&receive(client, true, Message::Binary(packet.to_vec().into()), now));
        match result {
            Ok(()) => {
                let text = str::from_utf8(&inflated).unwrap_or_default();
                let as_text = receive(client, true, Message::Text(text.into()), now);
                assert_eq!(received, describe(&as_text), "as zlib and as text: {client:?}");
            }
            Err(InflateError::TooBig) => assert_eq!(received.len(), 1, "an Error and a Close: {received:?}"),
            Err(_) => assert_eq!(received, [r#"Drop("not_zlib")"#]),
        }
    }
}

/// Compares what was inflated with the output of another decoder, which gets one byte at a time.
fn compare(packet: &[u8], inflated: &[u8], result: Result<(), InflateError>) {
    let mut decoder = Decompress::new(true);
    let mut plain: Vec<u8> = Vec::new();
    let mut is_whole = false;
    'packet: for byte in packet.chunks(1) {
        if is_whole {
            is_whole = false;
            break;
        }
        let before = decoder.total_in();
        loop {
            plain.reserve(600);
            let rest = &byte[usize::try_from(decoder.total_in() - before).expect("one byte")..];
            let status = decoder.decompress_vec(rest, &mut plain, FlushDecompress::None);
            match status {
                Err(_) => break 'packet,
                Ok(Status::StreamEnd) => is_whole = true,
                Ok(_) if plain.len() == plain.capacity() => continue,
                Ok(_) => {}
            }
            break;
        }
        if plain.len() > LIMIT {
            is_whole = false;
            break;
        }
    }
    if is_whole {
        assert_eq!(result, Ok(()));
        assert!(inflated == plain, "different text");
    } else {
        let refused = result.expect_err("not a complete stream of at most that size");
        assert!(refused == InflateError::Malformed || plain.len() > LIMIT, "{refused}");
        let common = inflated.len().min(plain.len());
        assert!(inflated[..common] == plain[..common], "the beginnings differ");
    }
}

/// Returns what a session does about a message.
fn receive(client: Option<ClientType>, is_zlib: bool, message: Message, now: Instant) -> V1Output {
    let mut session = V1::new(Some("1"), is_zlib.then_some("zlib"), RULES.with(Rc::clone), now);
    if let Some(kind) = client {
        let identified = Identified {
            id: SessionId::from_raw(1),
            kind,
            key: Arc::clone(&KEY),
            since: Position {
                offset: 0,
                epoch: Epoch::from_raw(1),
            },
            counts: payload::GuildCount::default(),
            scope: Scope::default(),
            ticket: None,
        };
        session.on_result(V1CallResult::Joined(Ok(identified)), &Cx::at(now));
    }
    session.receive(message, &Cx::at(now))
}

type V1Output = gateway_node::session::Actions<V1Call>;

/// Describes the actions: frames before their compression, and without the pause that depends on a packet's length.
fn describe(actions: &V1Output) -> Vec<String> {
    let words = |action: &Action<V1Call>| match action {
        Action::Send(frame) | Action::Heartbeat(frame) => Some(format!("Send({})", text_of(frame))),
        Action::Close {
            last_words,
            close,
            problem,
        } => Some(format!(
            "Close({:?}, {close:?}, {problem:?})",
            last_words.as_deref().map(text_of)
        )),
        Action::StopReading { .. } => None,
        other => Some(format!("{other:?}")),
    };
    actions.iter().filter_map(words).collect()
}

/// Returns the text in a frame of the node.
fn text_of(frame: &[u8]) -> String {
    let frames = read_frames(frame);
    let [frame] = &frames[..] else {
        panic!("{} frames, or a part of one", frames.len())
    };
    let mut text = frame.payload.clone();
    if frame.opcode == 2 {
        let mut inflated = Vec::new();
        assert_eq!(inflate_into(&mut inflated, &text, usize::MAX), Ok(()));
        text = inflated;
    }
    String::from_utf8(text).expect("text")
}

/// Asserts what must hold for the actions that a text leads to.
fn assert_actions(text: &str, client: Option<ClientType>, actions: &V1Output) {
    let is_json = serde_json::from_str::<IgnoredAny>(text).is_ok();
    let is_dropped = matches!(actions.first(), Some(Action::Drop("not_json")));
    assert!(is_json || is_dropped, "invalid JSON was not dropped");
    // JSON's grammar allows texts that this parser does not accept. Those that it accepts must mean the same to the
    // node.
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        assert_eq!(is_dropped, !value.is_object());
        let is_heartbeat = value.get("op").and_then(Value::as_u64) == Some(10);
        let is_acknowledged = matches!(&actions[..], [Action::Count, Action::Heartbeat(frame)] if text_of(frame) == payload::HEARTBEAT_ACK);
        assert_eq!(is_acknowledged, is_heartbeat);
        if let Some(Action::Call(join)) = actions.get(1) {
            assert_eq!((value["op"].as_u64(), value["t"].as_str()), (Some(1), Some("identify")));
            let kind = value["d"]["type"].as_str().expect("a type");
            assert!(value["d"]["key"].is_string());
            let expected = format!("Join(JoinRequest {{ kind: {kind:?}, key: <redacted>, ");
            assert!(format!("{join:?}").starts_with(&expected), "{join:?}");
        }
    }
    for action in actions {
        match action {
            Action::Call(_) => assert_eq!(client, None, "a second identify"),
            Action::Publish {
                publication: event,
                number,
                ..
            } => {
                assert!(text.contains(&*event.d), "not the text that was sent");
                let d: Value = serde_json::from_str(&event.d).expect("data that is valid JSON");
                assert!(d.is_object());
                // The rest of the packet may be something that this parser does not accept.
                if let Ok(mut value) = serde_json::from_str::<Value>(text) {
                    assert_eq!(value["d"].take(), d);
                    assert_eq!(*number > 0, value.get("n").is_some(), "whether it is answered");
                }
                assert!(matches!(client, Some(ClientType::Website | ClientType::Service)));
                let is_of_a_guild = matches!(event.delivery, Delivery::Guild(_));
                assert_eq!(is_of_a_guild, &*event.name == "MESSAGE_CREATE");
            }
            Action::Report { report, .. } => {
                assert_ne!(client, None, "a report before identify");
                assert!(report.guild_members <= MAX_INTEGER && report.cached_guild_members <= MAX_INTEGER);
                match &report.guilds {
                    ReportedGuilds::Count(count) => assert!(*count <= MAX_INTEGER),
                    ReportedGuilds::Ids(ids) => {
                        let most = Settings::default().limits.guilds_per_session;
                        assert!(ids.len() <= most && ids.is_sorted_by(|one, next| one < next));
                    }
                }
            }
            Action::Close { last_words, close, .. } => {
                let words = text_of(last_words.as_deref().expect("an Error before the Close"));
                let error: Value = serde_json::from_str(&words).unwrap_or_else(|_| deep(&words));
                assert_eq!(error["op"], -1);
                assert!(matches!(close.code, 1008 | 1009 | 4000..=4999), "{close:?}");
                let list = |name: &str| error["d"][name].as_array().map(Vec::len);
                assert_eq!(list("errors"), list("data"));
            }
            _ => {}
        }
    }
}

/// Parses an Error whose echo of the client's packet nests too deep for this parser: leaves out the echo.
fn deep(words: &str) -> Value {
    let error = serde_json::from_str::<IgnoredAny>(words);
    assert!(error.is_ok(), "{words}");
    json!({"op": -1})
}
