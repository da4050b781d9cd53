//! How packets are read before and after identify.

use proptest::prelude::*;

use super::*;
use crate::{
    routing::{DeliverMode, EventDefinition, ReceiverType, ReplyDefinition},
    v1::payload,
};

fn table() -> EventTable {
    let announce = EventDefinition {
        name: "announce".into(),
        from: vec![ClientType::Website],
        to: vec![ReceiverType::Bot],
        deliver: DeliverMode::Guild("/guildId".into()),
        require_receiver: None,
        to_tickets: false,
        schema: Some(serde_json::json!({"required": ["text"]})),
        reply: None,
        job: None,
    };
    let ask = EventDefinition {
        name: "ask".into(),
        deliver: DeliverMode::Any,
        schema: None,
        reply: Some(ReplyDefinition {
            timeout: std::time::Duration::from_secs(5),
            schema: None,
        }),
        ..announce.clone()
    };
    EventTable::build(vec![announce, ask]).unwrap()
}

/// The context of a client without a ticket.
fn of(sender: ClientType) -> CommandContext<'static> {
    CommandContext {
        sender,
        rights: None,
        max_guilds: 10_000,
    }
}

/// Reads `text` as sent by an identified client of type `sender`. Returns a description of its command, or the
/// Error that answers it.
fn answer(text: &str, sender: ClientType) -> String {
    let table = table();
    let envelope = Envelope::parse(text).unwrap();
    match after_identify(&envelope, &of(sender), || &table) {
        Ok(AfterIdentify::Heartbeat) => "heartbeat".into(),
        Ok(AfterIdentify::Report { report, .. }) => format!("{:?}", report.guilds),
        Ok(AfterIdentify::Watch { guilds, .. }) => format!("{guilds:?}"),
        Ok(AfterIdentify::Renew { key, .. }) => format!("renew {}", key.expose()),
        Ok(AfterIdentify::Settle { receipt, verdict, .. }) => format!("{receipt} {verdict:?}"),
        Ok(AfterIdentify::Reply {
            receipt, d, is_error, ..
        }) => format!("{receipt} {} {is_error}", d.map_or("none", RawValue::get)),
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
fn a_request_needs_a_nonce_and_has_no_key() {
    let ask = |fields: &str| answer(&format!(r#"{{"op":1,"t":"ask"{fields}}}"#), ClientType::Website);
    assert_eq!(ask(r#","n":1,"d":{}"#), "ask {}");
    // `k` is not read.
    assert_eq!(ask(r#","n":1,"k":[],"d":{}"#), "ask {}");
    assert_eq!(ask(r#","d":{}"#), errors(r#""Nonce not provided.""#, "null"));
    assert_eq!(
        ask(""),
        errors(r#""Data not provided.","Nonce not provided.""#, "null,null")
    );
}

#[test]
fn a_reply_names_its_receipt() {
    let read = |text: &str| answer(text, ClientType::Bot);
    assert_eq!(read(r#"{"op":1,"t":"reply","r":"ab","d":{}}"#), "ab {} false");
    // Whether the receipt is good is known before the data is looked at.
    assert_eq!(read(r#"{"op":1,"t":"reply_error","r":"","d":7}"#), " 7 true");
    assert_eq!(read(r#"{"op":1,"t":"reply","r":"\ud800"}"#), " none false");
    assert_eq!(
        read(r#"{"op":1,"t":"reply","d":{}}"#),
        errors(r#""Receipt not provided.""#, "null")
    );
    assert_eq!(
        read(r#"{"op":1,"t":"reply_error","r":7}"#),
        errors(r#""Data not provided.","Receipt must be a string.""#, "null,7")
    );
}

#[test]
fn a_worker_settles_a_job_by_its_receipt() {
    let read = |text: &str| answer(text, ClientType::Bot);
    assert_eq!(read(r#"{"op":1,"t":"ack","r":"ab"}"#), "ab Ack");
    assert_eq!(read(r#"{"op":1,"t":"ack","r":"ab","d":[]}"#), "ab Ack");
    for (d, delay) in [
        ("", "None"),
        (r#","d":{}"#, "None"),
        (r#","d":{"delay_ms":0}"#, "Some(0)"),
        (r#","d":{"delay_ms":3600000}"#, "Some(3600000)"),
    ] {
        let text = format!(r#"{{"op":1,"t":"nack","r":"ab"{d}}}"#);
        assert_eq!(read(&text), format!("ab Nack {{ delay_ms: {delay} }}"));
    }
    for delay in ["3600001", "-1", "1.5", "\"1\"", "null"] {
        let text = format!(r#"{{"op":1,"t":"nack","r":"ab","d":{{"delay_ms":{delay}}}}}"#);
        let error = r#""delay_ms must be an integer from 0 to 3600000.""#;
        assert_eq!(read(&text), errors(error, delay));
    }
    assert_eq!(
        read(r#"{"op":1,"t":"nack","d":[]}"#),
        errors(r#""Data must be an object.","Receipt not provided.""#, "[],null")
    );
}

#[test]
fn a_ticket_limits_what_its_session_may_send() {
    let rights = TicketRights {
        user: None,
        guilds: vec![GuildId::from_raw(7)],
        events: vec!["announce".to_owned()],
    };
    let (table, none) = (table(), TicketRights::default());
    let problems = |text: &str, rights: &TicketRights| {
        let cx = CommandContext {
            rights: Some(rights),
            ..of(ClientType::Website)
        };
        match after_identify(&Envelope::parse(text).unwrap(), &cx, || &table) {
            Ok(_) => Vec::new(),
            Err(rejection) => rejection.problems.into_iter().map(|it| (it.error, it.kind)).collect(),
        }
    };
    let event = |guild| format!(r#"{{"op":1,"t":"announce","d":{{"guildId":{guild},"text":1}}}}"#);
    let not_allowed = |error: &'static str| vec![(error.into(), ProblemKind::NotAllowed)];
    assert_eq!(problems(&event(7), &rights), []);
    assert_eq!(
        problems(&event(8), &rights),
        not_allowed("Receivers not allowed by the ticket.")
    );
    assert_eq!(
        problems(&event(7), &none),
        not_allowed("Event not allowed by the ticket.")
    );
    let watch = r#"{"op":1,"t":"watch_guilds","d":{"guilds":[7,8]}}"#;
    assert_eq!(
        problems(watch, &rights),
        not_allowed("Guild not allowed by the ticket.")
    );
}

#[test]
fn only_the_session_of_a_ticket_is_renewed() {
    let renew = r#"{"op":1,"t":"renew","d":{"key":"ticket.a.b"}}"#;
    assert_eq!(
        answer(renew, ClientType::Website),
        errors(r#""Only the session of a ticket can be renewed.""#, r#""renew""#)
    );
    let (table, rights) = (table(), TicketRights::default());
    let cx = CommandContext {
        rights: Some(&rights),
        ..of(ClientType::Website)
    };
    let read = |text: &str| match after_identify(&Envelope::parse(text).unwrap(), &cx, || &table) {
        Ok(AfterIdentify::Renew { key, .. }) => key.expose().to_owned(),
        Ok(_) => panic!("no renewal"),
        Err(rejection) => format!("{:?}", rejection.problems[0].error),
    };
    assert_eq!(read(renew), "ticket.a.b");
    assert_eq!(read(r#"{"op":1,"t":"renew","d":{}}"#), r#""Key not provided.""#);
    assert_eq!(
        read(r#"{"op":1,"t":"renew","d":{"key":1}}"#),
        r#""Key must be a string.""#
    );
}

#[test]
fn the_nonce_and_the_key_of_an_event_are_read() {
    let (table, text) = (
        table(),
        r#"{"op":1,"t":"announce","n":"a","k":"b c","d":{"guildId":1,"text":1}}"#,
    );
    let envelope = Envelope::parse(text).unwrap();
    let Ok(AfterIdentify::Event { nonce, key, .. }) = after_identify(&envelope, &of(ClientType::Website), || &table)
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
        "\"renew\"",
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
            if let Err(rejection) = after_identify(&envelope, &of(sender), || &table) {
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
