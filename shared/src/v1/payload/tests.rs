//! Every payload as a client receives it.

use proptest::prelude::*;
use serde_json::{Value, json, value::RawValue};

use super::*;
use crate::{
    client_type::ClientType,
    session_id::SessionId,
    user::UserId,
    v1::{Nonce, Refusal, RefusalCode, ReplyFailure},
};

fn parsed(json: &str) -> Value {
    serde_json::from_str(json).unwrap()
}

fn connect_success(kind: ClientType, id: SessionId, node: &str, heartbeat_ms: u64) -> ConnectSuccess<'_> {
    ConnectSuccess {
        kind,
        id,
        node,
        heartbeat_ms,
        expires_in_ms: None,
        position: None,
    }
}

#[test]
fn quoted_text_is_json() {
    let texts = (0..=0x80).map(|code| format!("a{}b", char::from(code)));
    for text in texts.chain([String::new(), "grüße".to_owned(), "\u{2028}".to_owned()]) {
        assert_eq!(quoted(&text), Value::from(&*text).to_string());
    }
}

#[test]
fn every_payload_is_pinned() {
    assert_eq!(hello(60_000), r#"{"op":5,"d":{"heartbeat":60000,"hearbeat":60000}}"#);
    assert_eq!(HEARTBEAT_ACK, r#"{"op":11}"#);
    assert_eq!(
        event("announce", r#"{"a": [1.0]}"#),
        r#"{"op":0,"t":"announce","d":{"a": [1.0]}}"#
    );
    assert_eq!(
        connect_success(ClientType::Bot, SessionId::from_raw(42), "node \"a\"", 60_000).payload(),
        r#"{"op":0,"t":"bot_connect_success","d":{"id":"42","node":"node \"a\"","heartbeat":60000}}"#
    );
    assert_eq!(
        error(ErrorCode::NoHeartbeat, "No heartbeat.", &[]),
        r#"{"op":-1,"e":4006,"m":"No heartbeat."}"#
    );
    let count = GuildCount {
        guilds: 1000,
        guild_members: 55_555,
        cached_guild_members: 32_000,
    };
    assert_eq!(
        event(GuildCount::NAME, &count.d()),
        r#"{"op":0,"t":"GLOBAL_GUILD_COUNT","d":{"guilds":1000,"guildMembers":55555,"cachedGuildMembers":32000}}"#
    );
}

#[test]
fn a_session_of_a_ticket_knows_its_end_and_its_user_is_shown() {
    assert_eq!(
        ConnectSuccess {
            expires_in_ms: Some(3_600_000),
            ..connect_success(ClientType::Website, SessionId::from_raw(4), "a", 1000)
        }
        .payload(),
        r#"{"op":0,"t":"website_connect_success","d":{"id":"4","node":"a","heartbeat":1000,"expires_in_ms":3600000}}"#
    );
    assert_eq!(
        event_with(
            "chat",
            &EventFields {
                user: UserId::new("a\"b").as_ref(),
                ..EventFields::default()
            },
            "{}"
        ),
        r#"{"op":0,"t":"chat","u":"a\"b","d":{}}"#
    );
}

#[test]
fn positions_are_beside_the_data() {
    let position = "00f3a1c29b7d4e55-1042";
    assert_eq!(
        ConnectSuccess {
            position: Some(position),
            ..connect_success(ClientType::Service, SessionId::from_raw(4), "a", 1000)
        }
        .payload(),
        concat!(
            r#"{"op":0,"t":"service_connect_success","#,
            r#""d":{"id":"4","node":"a","heartbeat":1000,"position":"00f3a1c29b7d4e55-1042"}}"#
        )
    );
    assert_eq!(heartbeat_ack_at(position), r#"{"op":11,"p":"00f3a1c29b7d4e55-1042"}"#);
    let at_position = EventFields {
        position: Some(position),
        ..EventFields::default()
    };
    assert_eq!(
        event_with("a", &at_position, "{}"),
        r#"{"op":0,"t":"a","p":"00f3a1c29b7d4e55-1042","d":{}}"#
    );
    let user = UserId::new("7");
    let of_user = EventFields {
        user: user.as_ref(),
        ..at_position
    };
    assert_eq!(
        event_with("a", &of_user, "{}"),
        r#"{"op":0,"t":"a","p":"00f3a1c29b7d4e55-1042","u":"7","d":{}}"#
    );
    assert_eq!(event_with("a", &EventFields::default(), "{}"), event("a", "{}"));
    assert_eq!(
        caught_up(position, 3),
        r#"{"op":0,"t":"caught_up","d":{"position":"00f3a1c29b7d4e55-1042","events":3}}"#
    );
    assert_eq!(
        events_lost("x-1", position),
        r#"{"op":0,"t":"events_lost","d":{"after":"x-1","position":"00f3a1c29b7d4e55-1042"}}"#
    );
}

#[test]
fn a_request_and_its_answers_are_pinned() {
    let fields = EventFields {
        receipt: Some("0f"),
        ..EventFields::default()
    };
    assert_eq!(
        event_with("get", &fields, "{}"),
        r#"{"op":0,"t":"get","r":"0f","d":{}}"#
    );
    let of_job = EventFields {
        attempt: Some(2),
        ..fields
    };
    assert_eq!(
        event_with("get", &of_job, "{}"),
        r#"{"op":0,"t":"get","r":"0f","a":2,"d":{}}"#
    );
    let nonce = Nonce::parse(serde_json::from_str("\"7\"").unwrap()).unwrap();
    assert_eq!(
        reply(&nonce, r#"{"prefix":"!"}"#),
        r#"{"op":0,"t":"reply","n":"7","d":{"prefix":"!"}}"#
    );
    assert_eq!(
        reply_failed(&nonce, &ReplyFailure::Error(r#"{"code":"busy"}"#.into())),
        r#"{"op":0,"t":"reply_failed","n":"7","d":{"code":"error","error":{"code":"busy"}}}"#
    );
    for (failure, code) in [
        (ReplyFailure::Timeout, "timeout"),
        (ReplyFailure::Gone, "gone"),
        (ReplyFailure::InvalidReply, "invalid_reply"),
    ] {
        let expected = json!({"op": 0, "t": "reply_failed", "n": "7", "d": {"code": code}});
        assert_eq!(parsed(&reply_failed(&nonce, &failure)), expected);
    }
}

#[test]
fn an_error_lists_every_problem_with_its_data() {
    let code = ErrorCode::MalformedData;
    let problems = [
        Problem::absent("Type not provided."),
        Problem::absent("Key not provided."),
    ];
    assert_eq!(
        error(code, code.message(), &problems),
        concat!(
            r#"{"op":-1,"e":4005,"m":"Malformed data.","#,
            r#""d":{"errors":["Type not provided.","Key not provided."],"data":[null,null]}}"#,
        )
    );
    let value: &RawValue = serde_json::from_str(r#"[1, {"a":2}]"#).unwrap();
    let problems = [
        Problem::with("A \"quoted\" part.", value),
        Problem::with_str("Unknown event.", "a\"b"),
    ];
    assert_eq!(
        error(code, "m", &problems),
        concat!(
            r#"{"op":-1,"e":4005,"m":"m","#,
            r#""d":{"errors":["A \"quoted\" part.","Unknown event."],"data":[[1, {"a":2}],"a\"b"]}}"#,
        )
    );
}

#[test]
fn answers_carry_the_nonce_as_it_was_sent() {
    let nonce = Nonce::parse(serde_json::from_str(r#""\u0061""#).unwrap()).unwrap();
    assert_eq!(
        accepted(&nonce, r#"{"position":"00f3a1c29b7d4e55-1042"}"#),
        r#"{"op":0,"t":"event_accepted","n":"\u0061","d":{"position":"00f3a1c29b7d4e55-1042"}}"#
    );
    let refusal = Refusal::of(vec![Problem::absent("Guild id not provided.")]);
    assert_eq!(
        refused(Some(&nonce), &refusal),
        concat!(
            r#"{"op":0,"t":"event_refused","n":"\u0061","d":{"code":"invalid_data","message":"Malformed data.","#,
            r#""errors":["Guild id not provided."],"data":[null]}}"#
        )
    );
    for code in RefusalCode::ALL {
        let expected = json!({"op": 0, "t": "event_refused", "d": {"code": code.code(), "message": code.message()}});
        assert_eq!(parsed(&refused(None, &code.into())), expected);
    }
}

#[test]
fn sums_saturate() {
    let most = GuildCount {
        guilds: u64::MAX,
        guild_members: 1,
        cached_guild_members: 0,
    };
    let one = GuildCount {
        guilds: 1,
        guild_members: 1,
        cached_guild_members: 1,
    };
    assert_eq!(
        most.saturating_add(one),
        GuildCount {
            guilds: u64::MAX,
            guild_members: 2,
            cached_guild_members: 1
        }
    );
}

proptest! {
    #[test]
    fn hello_reads_back(ms: u64) {
        prop_assert_eq!(parsed(&hello(ms)), json!({"op": 5, "d": {"heartbeat": ms, "hearbeat": ms}}));
    }

    #[test]
    fn an_event_reads_back(name: String, text: String, number: i64) {
        let d = json!({"text": text, "number": number});
        let read = parsed(&event(&name, &d.to_string()));
        prop_assert_eq!(read, json!({"op": 0, "t": name, "d": d}));
    }

    #[test]
    fn a_connection_success_reads_back(id: u64, node: String, ms: u64) {
        for kind in ClientType::ALL {
            let read = parsed(&connect_success(kind, SessionId::from_raw(id), &node, ms).payload());
            let d = json!({"id": id.to_string(), "node": node, "heartbeat": ms});
            prop_assert_eq!(read, json!({"op": 0, "t": format!("{kind}_connect_success"), "d": d}));
        }
    }

    #[test]
    fn an_error_reads_back(message: String, list: Vec<(String, Option<String>)>) {
        let problems: Vec<_> = list
            .iter()
            .map(|(error, data)| match data {
                Some(data) => Problem::with_str(error.clone(), data),
                None => Problem::absent(error.clone()),
            })
            .collect();
        for code in ErrorCode::ALL {
            let mut expected = json!({"op": -1, "e": code.code(), "m": message});
            if !list.is_empty() {
                let (errors, data): (Vec<_>, Vec<_>) = list.iter().cloned().unzip();
                expected["d"] = json!({"errors": errors, "data": data});
            }
            prop_assert_eq!(parsed(&error(code, &message, &problems)), expected);
        }
    }

    #[test]
    fn a_guild_count_reads_back(guilds: u64, guild_members: u64, cached_guild_members: u64) {
        let count = GuildCount { guilds, guild_members, cached_guild_members };
        prop_assert_eq!(serde_json::from_str::<GuildCount>(&count.d()).unwrap(), count);
        prop_assert_eq!(serde_json::to_string(&count).unwrap(), count.d());
    }
}
