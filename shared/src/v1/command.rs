//! The commands of clients. Whether a client has identified decides how an envelope is read.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{
    Envelope, ErrorCode, IDENTIFY, Identify, Nonce, Opcode, Refusal, Rejection, Report, SEND_SERVERS, Side,
    WATCH_GUILDS, scope::watched_guilds,
};
use crate::{
    client_type::ClientType,
    fields::{is_string, string},
    guild::GuildId,
    idempotency_key::IdempotencyKey,
    problem::{Problem, ProblemKind},
    routing::{EventTable, Route, shape_of_data},
};

/// A command of a client that has not identified.
#[derive(Debug)]
pub enum BeforeIdentify {
    /// The client is alive.
    Heartbeat,
    /// The client identifies, or fails to because its data is malformed.
    Identify(Result<Identify, Rejection>),
}

/// A command of an identified client.
#[derive(Debug)]
pub enum AfterIdentify<'a, 't> {
    /// The client is alive.
    Heartbeat,
    /// A bot reports its guilds.
    Report {
        /// The report.
        report: Report,
        /// The nonce, if the packet is to be answered.
        nonce: Option<Nonce>,
    },
    /// A website or service replaces the guilds that it watches.
    Watch {
        /// The guilds: ascending, without duplicates.
        guilds: Vec<GuildId>,
        /// The nonce, if the packet is to be answered.
        nonce: Option<Nonce>,
    },
    /// An application event for other clients.
    Event {
        /// The destination of the event.
        route: Route<'t>,
        /// The event's data: an object, as it was sent.
        d: &'a RawValue,
        /// The idempotency key.
        key: Option<IdempotencyKey>,
        /// The nonce, if the packet is to be answered.
        nonce: Option<Nonce>,
    },
    /// A packet that is faulty and is to be answered.
    Faulty {
        /// The answer.
        refusal: Refusal,
        /// Its nonce.
        nonce: Nonce,
    },
}

/// Reads an envelope of a client that has not identified. An identify may list `max_guilds` guilds.
///
/// Returns `None` for everything but a heartbeat and an identify. Such payloads are ignored and never answered
/// (protocol v1, "Life of a connection", 3).
pub fn before_identify(envelope: &Envelope<'_>, max_guilds: usize) -> Option<BeforeIdentify> {
    match opcode(envelope.op?)? {
        Opcode::Heartbeat => Some(BeforeIdentify::Heartbeat),
        Opcode::ClientEvent if string(envelope.t?)? == IDENTIFY => {
            Some(BeforeIdentify::Identify(Identify::parse(envelope.d, max_guilds)))
        }
        _ => None,
    }
}

/// Reads an envelope of an identified client whose key is valid for the type `sender`.
///
/// # Errors
///
/// The [`Rejection`] with which the connection ends (protocol v1, "Errors"). `op` is checked first, then whether this
/// is a second identify; all other problems are reported together. If the packet has a valid nonce, they are returned as
/// [`AfterIdentify::Faulty`] instead. A list of guilds may have `max_guilds` of them. `table` is called for application
/// events alone.
pub fn after_identify<'a, 't>(
    envelope: &Envelope<'a>,
    sender: ClientType,
    max_guilds: usize,
    table: impl FnOnce() -> &'t EventTable,
) -> Result<AfterIdentify<'a, 't>, Rejection> {
    let op = envelope.op.ok_or(Rejection::plain(ErrorCode::NoOpcode))?;
    match opcode(op).filter(|opcode| opcode.sender() == Side::Client) {
        Some(Opcode::Heartbeat) => Ok(AfterIdentify::Heartbeat),
        Some(_) => {
            let command = event(envelope, sender, max_guilds, table);
            with_nonce(command, envelope.n)
        }
        None => Err(Rejection::plain(ErrorCode::WrongOpcode)),
    }
}

/// Parses `op`, which must be an integer without a fraction or an exponent.
fn opcode(op: &RawValue) -> Option<Opcode> {
    op.get().parse().ok().and_then(Opcode::from_i64)
}

/// Adds the nonce to the command of a packet, or makes it decide what follows from the packet's problems.
fn with_nonce<'a, 't>(
    command: Result<AfterIdentify<'a, 't>, Rejection>,
    n: Option<&RawValue>,
) -> Result<AfterIdentify<'a, 't>, Rejection> {
    let Some(n) = n else { return command };
    match (Nonce::parse(n), command) {
        (Ok(new), Ok(mut command)) => {
            if let AfterIdentify::Report { nonce, .. }
            | AfterIdentify::Watch { nonce, .. }
            | AfterIdentify::Event { nonce, .. } = &mut command
            {
                *nonce = Some(new);
            }
            Ok(command)
        }
        (Ok(nonce), Err(rejection)) if rejection.code == ErrorCode::MalformedData => Ok(AfterIdentify::Faulty {
            refusal: Refusal::of(rejection.problems),
            nonce,
        }),
        (Err(problem), Ok(_)) => Err(Rejection::malformed(vec![problem])),
        (Err(problem), Err(mut rejection)) if rejection.code == ErrorCode::MalformedData => {
            rejection.problems.push(problem);
            Err(rejection)
        }
        (_, Err(rejection)) => Err(rejection),
    }
}

fn event<'a, 't>(
    envelope: &Envelope<'a>,
    sender: ClientType,
    max_guilds: usize,
    table: impl FnOnce() -> &'t EventTable,
) -> Result<AfterIdentify<'a, 't>, Rejection> {
    let name = match name(envelope.t) {
        Ok(name) => name,
        Err(problem) => {
            let mut problems = Vec::new();
            shape_of_data(envelope.d, &mut problems);
            problems.push(problem);
            return Err(Rejection::malformed(problems));
        }
    };
    match &*name {
        IDENTIFY => Err(Rejection::plain(ErrorCode::WrongIdentify)),
        SEND_SERVERS => {
            let report = Report::parse(envelope.d, sender, max_guilds)?;
            Ok(AfterIdentify::Report { report, nonce: None })
        }
        WATCH_GUILDS => {
            let guilds = watched_guilds(envelope.d, sender, max_guilds)?;
            Ok(AfterIdentify::Watch { guilds, nonce: None })
        }
        name => {
            let route = table().route(name, sender, envelope.d);
            let key = envelope.k.map(key).transpose();
            match (route, envelope.d, key) {
                (Ok(route), Some(d), Ok(key)) => Ok(AfterIdentify::Event {
                    route,
                    d,
                    key,
                    nonce: None,
                }),
                (route, _, key) => {
                    let problems = route.err().into_iter().flatten().chain(key.err());
                    Err(Rejection::malformed(problems.collect()))
                }
            }
        }
    }
}

/// Parses `k`.
fn key(k: &RawValue) -> Result<IdempotencyKey, Problem> {
    let key = string(k).and_then(|text| IdempotencyKey::new(&text).ok());
    key.ok_or_else(|| Problem::with("Idempotency key must have 1 to 128 printable ASCII characters.", k))
}

/// Returns the name of the event, or what is wrong with it.
fn name(t: Option<&RawValue>) -> Result<Cow<'_, str>, Problem> {
    let t = t.ok_or_else(|| Problem::absent("Event name not provided.").of_kind(ProblemKind::Malformed))?;
    string(t).ok_or_else(|| {
        if is_string(t) {
            // A string with an unpaired surrogate: no name in the table has one.
            Problem::with("Unknown event.", t).of_kind(ProblemKind::UnknownEvent)
        } else {
            Problem::with("Event name must be a string.", t).of_kind(ProblemKind::Malformed)
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        routing::{DeliverMode, EventDefinition, ReceiverType},
        v1::payload,
    };

    fn table() -> EventTable {
        EventTable::build(vec![EventDefinition {
            name: "announce".into(),
            from: vec![ClientType::Website],
            to: vec![ReceiverType::Bot],
            deliver: DeliverMode::Guild("/guildId".into()),
            require_receiver: None,
            schema: Some(serde_json::json!({"required": ["text"]})),
        }])
        .unwrap()
    }

    /// Reads `text` as sent by an identified client of type `sender`. Returns a description of its command, or the
    /// Error that answers it.
    fn answer(text: &str, sender: ClientType) -> String {
        let table = table();
        let envelope = Envelope::parse(text).unwrap();
        match after_identify(&envelope, sender, 10_000, || &table) {
            Ok(AfterIdentify::Heartbeat) => "heartbeat".into(),
            Ok(AfterIdentify::Report { report, .. }) => format!("{:?}", report.guilds),
            Ok(AfterIdentify::Watch { guilds, .. }) => format!("{guilds:?}"),
            Ok(AfterIdentify::Event { route, d, .. }) => format!("{} {d}", route.name),
            Ok(AfterIdentify::Faulty { refusal, nonce }) => payload::refused(Some(&nonce), &refusal),
            Err(Rejection { code, problems }) => payload::error(code, code.message(), &problems),
        }
    }

    fn errors(errors: &str, data: &str) -> String {
        format!(r#"{{"op":-1,"e":4005,"m":"Malformed data.","d":{{"errors":[{errors}],"data":[{data}]}}}}"#)
    }

    #[test]
    fn only_heartbeats_and_identifies_are_read_before_identify() {
        let read = |text| before_identify(&Envelope::parse(text).unwrap(), 10_000);
        for text in [r#"{"op":10}"#, r#"{"op":10,"t":"identify","d":1,"x":[]}"#] {
            assert!(matches!(read(text), Some(BeforeIdentify::Heartbeat)));
        }
        let identify = r#"{"op":1,"t":"\u0069dentify","d":{"type":"bot","key":"k"}}"#;
        assert!(matches!(read(identify), Some(BeforeIdentify::Identify(Ok(_)))));
        for text in [
            r#"{"op":1,"t":"identify"}"#,
            r#"{"op":1,"t":"identify","d":null}"#,
            r#"{"op":1,"t":"identify","d":{}}"#,
        ] {
            assert!(matches!(read(text), Some(BeforeIdentify::Identify(Err(_)))));
        }
        for text in [
            "{}",
            r#"{"t":"identify","d":{}}"#,
            r#"{"op":null,"t":"identify"}"#,
            r#"{"op":"1","t":"identify"}"#,
            r#"{"op":1.0,"t":"identify"}"#,
            r#"{"op":1e0,"t":"identify"}"#,
            r#"{"op":"10"}"#,
            r#"{"op":10.0}"#,
            r#"{"op":0,"t":"identify"}"#,
            r#"{"op":2,"t":"identify"}"#,
            r#"{"op":1}"#,
            r#"{"op":1,"t":1}"#,
            r#"{"op":1,"t":"Identify","d":{}}"#,
            r#"{"op":1,"t":"announce","d":{}}"#,
            r#"{"op":1,"t":"send_servers","d":{"guilds":1}}"#,
        ] {
            assert!(read(text).is_none(), "{text}");
        }
    }

    #[test]
    fn the_opcode_is_checked_first() {
        let no_opcode = r#"{"op":-1,"e":4003,"m":"No opcode."}"#;
        for text in ["{}", r#"{"t":"identify","d":{}}"#, r#"{"d":1,"t":1}"#] {
            assert_eq!(answer(text, ClientType::Bot), no_opcode, "{text}");
        }
        let wrong_opcode = r#"{"op":-1,"e":4004,"m":"Wrong opcode."}"#;
        for op in [
            "null",
            "1.0",
            "1e0",
            "\"1\"",
            "\"10\"",
            "true",
            "[1]",
            "{}",
            "-1",
            "0",
            "5",
            "11",
            "2",
            "-2",
            "99",
            "-0",
            "10.0",
            "99999999999999999999",
        ] {
            let text = format!(r#"{{"op":{op},"t":"identify"}}"#);
            assert_eq!(answer(&text, ClientType::Bot), wrong_opcode, "{text}");
        }
    }

    #[test]
    fn a_second_identify_is_rejected_whatever_its_data() {
        for d in ["", r#","d":null"#, r#","d":{"type":"bot","key":"k"}"#] {
            let text = format!(r#"{{"op":1,"t":"identify"{d}}}"#);
            assert_eq!(
                answer(&text, ClientType::Bot),
                r#"{"op":-1,"e":4007,"m":"Wrong identify."}"#
            );
        }
    }

    #[test]
    fn well_formed_commands_are_read() {
        let rows = [
            (r#"{"op":10,"d":7,"t":7}"#, ClientType::Bot, "heartbeat"),
            (
                r#"{"op":1,"t":"send_servers","d":{"guilds":3}}"#,
                ClientType::Bot,
                "Count(3)",
            ),
            (
                r#"{"op":1,"t":"announce","d":{"guildId": "7","text":1}}"#,
                ClientType::Website,
                r#"announce {"guildId": "7","text":1}"#,
            ),
        ];
        for (text, sender, command) in rows {
            assert_eq!(answer(text, sender), command);
        }
    }

    #[test]
    fn malformed_data_lists_every_problem() {
        let rows = [
            (
                r#"{"op":1}"#,
                r#""Data not provided.","Event name not provided.""#,
                "null,null",
            ),
            (r#"{"op":1,"d":{}}"#, r#""Event name not provided.""#, "null"),
            (
                r#"{"op":1,"t":null,"d":[1]}"#,
                r#""Data must be an object.","Event name must be a string.""#,
                "[1],null",
            ),
            (r#"{"op":1,"t":7,"d":{}}"#, r#""Event name must be a string.""#, "7"),
            (r#"{"op":1,"t":"announce"}"#, r#""Data not provided.""#, "null"),
            (
                r#"{"op":1,"t":"","d":null}"#,
                r#""Data must be an object.","Unknown event.""#,
                r#"null,"""#,
            ),
            (r#"{"op":1,"t":"\ud800","d":{}}"#, r#""Unknown event.""#, "null"),
            (
                r#"{"op":1,"t":"GLOBAL_GUILD_COUNT","d":{}}"#,
                r#""Unknown event.""#,
                r#""GLOBAL_GUILD_COUNT""#,
            ),
            (
                r#"{"op":1,"t":"announce","d":{"text":1}}"#,
                r#""No guild id at /guildId.""#,
                "null",
            ),
            (
                r#"{"op":1,"t":"send_servers","d":{"guilds":3}}"#,
                r#""Only bots send servers.""#,
                r#""send_servers""#,
            ),
        ];
        for (text, expected, data) in rows {
            assert_eq!(answer(text, ClientType::Website), errors(expected, data), "{text}");
        }
        assert_eq!(
            answer(r#"{"op":1,"t":"announce","d":{"guildId":1,"text":1}}"#, ClientType::Bot),
            errors(r#""Event not allowed for this client type.""#, r#""announce""#)
        );
    }

    #[test]
    fn a_faulty_packet_with_a_nonce_is_refused_and_the_connection_stays() {
        let refused = |code: &str, message: &str, errors: &str, data: &str| {
            format!(
                "{{\"op\":0,\"t\":\"event_refused\",\"n\":7,\"d\":{{\"code\":\"{code}\",\"message\":\"{message}\",\
                 \"errors\":[{errors}],\"data\":[{data}]}}}}"
            )
        };
        let name = r#""Event name not provided.""#;
        let both = r#""Data not provided.","Event name must be a string.""#;
        let no_guild = r#""No guild id at /guildId.""#;
        let only_bots = r#""Only bots send servers.""#;
        let key = r#""Idempotency key must have 1 to 128 printable ASCII characters.""#;
        let rows = [
            (
                r#"{"op":1,"n":7,"d":{}}"#,
                refused("malformed", "Malformed data.", name, "null"),
            ),
            (
                r#"{"op":1,"n":7,"t":1}"#,
                refused("malformed", "Malformed data.", both, "null,1"),
            ),
            (
                r#"{"op":1,"n":7,"t":"x","d":{}}"#,
                refused("unknown_event", "Unknown event.", r#""Unknown event.""#, r#""x""#),
            ),
            (
                r#"{"op":1,"n":7,"t":"announce","d":{"text":1}}"#,
                refused("invalid_data", "Malformed data.", no_guild, "null"),
            ),
            (
                r#"{"op":1,"n":7,"t":"send_servers","d":{"guilds":1}}"#,
                refused("not_allowed", "Not allowed.", only_bots, r#""send_servers""#),
            ),
            (
                r#"{"op":1,"n":7,"t":"announce","k":[],"d":{"guildId":1,"text":1}}"#,
                refused("invalid_data", "Malformed data.", key, "[]"),
            ),
        ];
        for (text, expected) in rows {
            assert_eq!(answer(text, ClientType::Website), expected, "{text}");
        }
        let second = r#"{"op":1,"n":7,"t":"identify"}"#;
        assert_eq!(
            answer(second, ClientType::Website),
            r#"{"op":-1,"e":4007,"m":"Wrong identify."}"#
        );
        let wrong = r#"{"op":2,"n":7}"#;
        assert_eq!(
            answer(wrong, ClientType::Website),
            r#"{"op":-1,"e":4004,"m":"Wrong opcode."}"#
        );
    }

    #[test]
    fn a_faulty_nonce_or_key_without_a_nonce_is_malformed_data() {
        let nonce = r#""Nonce must be a string of 1 to 64 bytes or an integer.""#;
        let key = r#""Idempotency key must have 1 to 128 printable ASCII characters.""#;
        let both = format!(r#""Data not provided.","Unknown event.",{nonce}"#);
        let rows = [
            (
                r#"{"op":1,"t":"announce","n":-1,"d":{"guildId":1,"text":1}}"#,
                errors(nonce, "-1"),
            ),
            (r#"{"op":1,"t":"x","n":""}"#, errors(&both, r#"null,"x","""#)),
            (
                r#"{"op":1,"t":"announce","k":"","d":{"guildId":1,"text":1}}"#,
                errors(key, r#""""#),
            ),
        ];
        for (text, expected) in rows {
            assert_eq!(answer(text, ClientType::Website), expected, "{text}");
        }
        assert_eq!(answer(r#"{"op":10,"n":[],"k":1}"#, ClientType::Website), "heartbeat");
    }

    #[test]
    fn the_nonce_and_the_key_of_an_event_are_read() {
        let (table, text) = (
            table(),
            r#"{"op":1,"t":"announce","n":"a","k":"b c","d":{"guildId":1,"text":1}}"#,
        );
        let envelope = Envelope::parse(text).unwrap();
        let Ok(AfterIdentify::Event { nonce, key, .. }) =
            after_identify(&envelope, ClientType::Website, 10_000, || &table)
        else {
            panic!("no event");
        };
        assert_eq!((nonce.unwrap().json(), key.unwrap().as_str()), ("\"a\"", "b c"));
    }

    /// Payloads of known and unknown fields, with valid and invalid values.
    fn payload() -> impl Strategy<Value = String> {
        let key = prop::sample::select(vec!["op", "d", "t", "e", "x", "n", "k"]);
        let value = prop::sample::select(vec![
            "1",
            "10",
            "null",
            "-1",
            "1.5",
            "\"identify\"",
            "\"send_servers\"",
            "\"watch_guilds\"",
            "\"announce\"",
            "{}",
            r#"{"type":"bot","key":"k","shard":[0,1]}"#,
            r#"{"guilds":[1,"2",null],"shard":7}"#,
            r#"{"guildId":"7","text":"\ud800"}"#,
            "[[[]]]",
        ]);
        prop::collection::vec((key, value), 0..6).prop_map(|fields| {
            let field = |(key, value)| format!("\"{key}\":{value}");
            let fields: Vec<_> = fields.into_iter().map(field).collect();
            format!("{{{}}}", fields.join(","))
        })
    }

    fn read(text: &str) {
        let table = table();
        if let Some(envelope) = Envelope::parse(text) {
            let _ = before_identify(&envelope, 10_000);
            for sender in ClientType::ALL {
                if let Err(rejection) = after_identify(&envelope, sender, 10_000, || &table) {
                    let error = payload::error(rejection.code, "m", &rejection.problems);
                    assert!(Envelope::parse(&error).is_some(), "{error}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn no_payload_panics_and_every_error_is_json(payload in payload()) {
            read(&payload);
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, text: String) {
            if let Ok(text) = str::from_utf8(&bytes) {
                read(text);
            }
            read(&format!(r#"{{"op":1,"t":{text},"d":{{}}}}"#));
            read(&format!(r#"{{"op":1,"t":"announce","d":{text}}}"#));
            read(&format!(r#"{{"op":1,"t":"send_servers","d":{{"guilds":{text}}}}}"#));
        }
    }
}
