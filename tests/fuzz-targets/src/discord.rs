//! Payloads of Discord's protocol, as JSON and in Erlang's external term format (ETF).

use std::sync::{Arc, LazyLock};

use gateway_harness::read_frames;
use gateway_node::{
    config::Settings,
    hello_delay::HelloDelay,
    session::{Action, Cx, Discord, DiscordSessionSettings, Protocol},
    transport::Message,
};
use serde_json::{Map, Value};
use shared::{
    MAX_INTEGER,
    close::Close,
    discord::{Command, Encoding, Header, Query, Target, Version, close, opcode_of, without_content},
    etf,
    session_id::SessionId,
};
use tokio::time::Instant;

/// The most heap bytes that a term may take for each of its bytes. A map of one pair costs the most: its 11 bytes
/// allocate room for eleven pairs.
const HELD_PER_BYTE: usize = 128;
/// Large enough that the limit never decides: a payload has another length in each encoding.
const PAYLOAD_BYTES: usize = 1 << 24;

static RULES: LazyLock<Arc<DiscordSessionSettings>> = LazyLock::new(|| {
    let mut settings = Settings::default();
    settings.discord.payload_bytes = PAYLOAD_BYTES;
    Arc::new(DiscordSessionSettings::new(
        &settings,
        HelloDelay::default(),
        "node".into(),
    ))
});

/// Parses a payload as JSON, and the same payload as a term.
pub fn discord_json(data: &[u8]) {
    let payload = serde_json::from_slice::<Value>(data).ok();
    let received = receive(Encoding::Json, Message::Binary(data.to_vec().into()));
    assert_outcomes(payload.as_ref(), &received);
    let Ok(text) = str::from_utf8(data) else {
        assert_eq!(payload, None, "JSON that is not UTF-8");
        return;
    };
    let as_text = receive(Encoding::Json, Message::Text(text.into()));
    assert_eq!(received, as_text, "as binary and as text");

    let mut term = vec![etf::VERSION];
    let written = etf::transcode(text, &mut term);
    assert_eq!(written.is_ok(), payload.is_some(), "valid in only one encoding");
    let Some(payload) = payload else {
        assert_eq!(term, [etf::VERSION], "a partial term was left behind");
        return;
    };
    let payload = with_integers(payload);
    let read = etf::decode(&term).expect("a written term is valid");
    assert_eq!(read, payload, "the term has another value");
    for version in Version::ALL {
        let command = opcode_of(&payload).and_then(|opcode| Command::parse(opcode, &payload, version));
        assert_command(version, command);
    }
    assert_event(text, &payload);
}

/// Parses a payload as a term, and the same payload as JSON.
pub fn discord_etf(data: &[u8]) {
    let payload = etf::decode(data).ok();
    let received = receive(Encoding::Etf, Message::Binary(data.to_vec().into()));
    assert_outcomes(payload.as_ref(), &received);
    let Some(payload) = payload else { return };
    let held = held(&payload);
    assert!(held <= HELD_PER_BYTE * data.len(), "{held} bytes for {}", data.len());
    let text = payload.to_string();
    let read: Value = serde_json::from_str(&text).expect("a term is JSON");
    let mut term = vec![etf::VERSION];
    etf::transcode(&text, &mut term).expect("written JSON is valid");
    // The last digit of a float may change when it is parsed.
    assert_eq!(etf::decode(&term), Ok(with_integers(read)));
    let as_json = receive(Encoding::Json, Message::Text(text.into()));
    assert_eq!(kinds(&received), kinds(&as_json), "as a term and as JSON");
}

/// What a session did about a message.
#[derive(Debug, PartialEq)]
enum ReceiveOutcome {
    Sent(Value),
    Closed(Close),
    Counted,
    Asked,
    Other(String),
}

/// Returns what a connection without a session does about its first message.
fn receive(encoding: Encoding, message: Message) -> Vec<ReceiveOutcome> {
    let now = Instant::now();
    let query = Query {
        version: Version::V10,
        encoding,
        transport: None,
    };
    let mut session = Discord::new(Ok(query), "ws://node.example".into(), Arc::clone(&RULES), now);
    let outcome = |action| match action {
        Action::Send(frame) | Action::Heartbeat(frame) => ReceiveOutcome::Sent(payload_of(&frame)),
        Action::Close { close, .. } => ReceiveOutcome::Closed(close),
        Action::Count => ReceiveOutcome::Counted,
        Action::NameLibrary(name) => ReceiveOutcome::Other(name),
        Action::Call(_) => ReceiveOutcome::Asked,
        Action::Drop(word) => ReceiveOutcome::Other(word.to_owned()),
        _ => panic!("an action that needs a session"),
    };
    session
        .receive(message, &Cx::at(now))
        .into_iter()
        .map(outcome)
        .collect()
}

/// Returns the outcomes without their data.
fn kinds(outcomes: &[ReceiveOutcome]) -> Vec<String> {
    let kind = |outcome: &ReceiveOutcome| match outcome {
        ReceiveOutcome::Sent(payload) => format!("Sent({})", payload["op"]),
        other => format!("{other:?}"),
    };
    outcomes.iter().map(kind).collect()
}

/// Returns the payload in a frame of the node.
fn payload_of(frame: &[u8]) -> Value {
    match &read_frames(frame)[..] {
        [frame] if frame.opcode == 1 => serde_json::from_str(frame.text()).expect("JSON"),
        [frame] => etf::decode(&frame.payload).expect("a term"),
        _ => panic!("not one whole frame"),
    }
}

/// Asserts what must hold for the outcomes of a first message.
fn assert_outcomes(payload: Option<&Value>, outcomes: &[ReceiveOutcome]) {
    let [ReceiveOutcome::Sent(hello), rest @ ..] = outcomes else {
        panic!("no Hello: {outcomes:?}")
    };
    assert_eq!(hello["op"], 10);
    let Some(payload) = payload else {
        let [ReceiveOutcome::Closed(Close { code: 4002, .. })] = rest else {
            panic!("an invalid payload led to {rest:?}")
        };
        return;
    };
    let command = opcode_of(payload).and_then(|opcode| {
        let needs_session = !opcode.needs_no_session();
        let command = Command::parse(opcode, payload, Version::V10);
        if needs_session {
            Err(close::NOT_AUTHENTICATED)
        } else {
            command
        }
    });
    match (command, rest) {
        (Err(expected), [ReceiveOutcome::Closed(close)]) => assert_eq!(*close, expected),
        (Ok(Command::Heartbeat { .. }), [ReceiveOutcome::Counted, ReceiveOutcome::Sent(ack)]) => {
            assert_eq!(ack["op"], 11);
        }
        (Ok(Command::Identify(_) | Command::Resume(_)), [ReceiveOutcome::Counted, ReceiveOutcome::Asked]) => {}
        (
            Ok(Command::Identify(identify)),
            [
                ReceiveOutcome::Counted,
                ReceiveOutcome::Other(library),
                ReceiveOutcome::Asked,
            ],
        ) => {
            assert_eq!(identify.library.as_ref(), Some(library));
        }
        (command, rest) => panic!("{command:?} led to {rest:?}"),
    }
}

/// Asserts what must hold for a parsed payload.
fn assert_command(version: Version, command: Result<Command, Close>) {
    let writable = |value: Value| {
        let written = etf::transcode(&value.to_string(), &mut Vec::new());
        // With the fields around it, what the client sent may nest deeper than JSON may.
        assert!(written.is_ok() || depth(&value) > 127, "{value}");
    };
    match command {
        Err(close) => assert!(matches!(close.code, 4001..=4014), "{close:?}"),
        Ok(Command::Identify(identify)) => {
            assert!(format!("{identify:?}").contains("<redacted>"), "a token in a log line");
            assert!((50..=250).contains(&identify.large_threshold));
            assert!(identify.intents.is_some() || version.makes_intents_optional());
            assert!(identify.shard.is_none_or(|shard| shard.id < shard.count));
        }
        Ok(Command::Resume(resume)) => assert!(format!("{resume:?}").contains("<redacted>")),
        Ok(Command::Presence(presence)) => writable(presence.update(1, 2)),
        Ok(Command::Voice(state)) => {
            writable(state.update(1, SessionId::from_raw(2), None, None));
            assert_eq!(state.left().channel, None);
        }
        Ok(Command::Members(request)) => {
            assert!(!request.guilds.is_empty() && (request.query.is_some() || request.users.is_some()));
            assert!(request.nonce.is_none_or(|nonce| nonce.len() <= 32));
        }
        Ok(Command::Heartbeat { .. } | Command::VoicePing | Command::Soundboard(_) | Command::ChannelInfo(_)) => {}
    }
}

/// Asserts what must hold if the JSON is the data of an event.
fn assert_event(text: &str, d: &Value) {
    let blank = without_content(text);
    assert_eq!(blank.is_ok(), d.is_object() || d.is_array() || d.is_null());
    let Value::Object(fields) = d else { return };
    let blank: Value = serde_json::from_str(&blank.unwrap_or_default()).expect("JSON");
    let mut expected = fields.clone();
    expected.remove("poll");
    for (name, empty) in [
        ("content", Value::from("")),
        ("embeds", Value::Array(Vec::new())),
        ("attachments", Value::Array(Vec::new())),
        ("components", Value::Array(Vec::new())),
    ] {
        if let Some(field) = expected.get_mut(name) {
            *field = empty;
        }
    }
    assert_eq!(with_integers(blank), Value::Object(expected));

    for name in ["MESSAGE_CREATE", "GUILD_CREATE", "GUILD_MEMBER_UPDATE", "ANYTHING"] {
        let header = Header::of(name, text, Target::All, None);
        let parts = Header::from_parts(
            name,
            header.guild,
            header.subject,
            header.mentions.clone(),
            header.target,
        );
        assert_eq!(header, parts, "the stored header differs");
    }
}

/// Returns how deep arrays and objects nest.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(elements) => 1 + elements.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Returns `value` with its whole floats as integers, as ETF encodes them.
fn with_integers(value: Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => {
            let text = number.to_string();
            let whole = text.strip_suffix(".0").and_then(|text| text.parse::<i64>().ok());
            let exact = whole.filter(|whole| whole.unsigned_abs() <= MAX_INTEGER);
            exact.map_or(Value::Number(number), Value::from)
        }
        Value::Array(elements) => elements.into_iter().map(with_integers).collect(),
        Value::Object(map) => map
            .into_iter()
            .map(|(key, value)| (key, with_integers(value)))
            .collect::<Map<_, _>>()
            .into(),
        other => other,
    }
}

/// Returns about how many heap bytes `value` takes.
fn held(value: &Value) -> usize {
    match value {
        Value::String(text) => text.capacity(),
        Value::Array(elements) => elements.capacity() * size_of::<Value>() + elements.iter().map(held).sum::<usize>(),
        Value::Object(map) => {
            let room = map.len().next_multiple_of(11) * (size_of::<String>() + size_of::<Value>());
            let held = map.iter().map(|(key, value)| key.capacity() + held(value));
            room + held.sum::<usize>()
        }
        _ => 0,
    }
}
