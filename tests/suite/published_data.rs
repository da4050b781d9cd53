//! What is published for Discord sessions arrives as it was published, in every encoding.

use gateway_harness::{
    KEYS, NodeProcess, Raw, RedisProcess, Setup,
    discord::{ALL_INTENTS, DiscordClient, TestGuild},
    eventually, frame, key, post, publish, ready, request,
};
use serde_json::{Value, json};
use shared::etf;

/// Names and data of events, as Discord sends them and as platforms may.
const EVENTS: [(&str, &str); 9] = [
    ("PRESENCES_REPLACE", "[]"),
    (
        "SESSIONS_REPLACE",
        r#"[{"session_id":"a","status":"online","activities":[],"client_info":{"version":0}}]"#,
    ),
    ("SOMETHING_NULL", "null"),
    ("SOMETHING_NEW", "{}"),
    ("NESTED", "[[[[],[null,[true,{\"a\":[1,[2]]}]]]]]"),
    (
        "NUMBERS",
        r#"{"huge":123456789012345678901234567890,"tiny":1e-300,"zero":-0.0,"exp":1.5e+30,"nonce":18446744073709551615}"#,
    ),
    ("SPACED", "{ \"b\" : 1 , \"a\":  [ 1.0, 2 ] }"),
    ("TEXT", r#"{"content":"\u0000\u2028 </script> \u00e9 \ud83d\ude00"}"#),
    ("GUILD_CREATE", "[]"),
];

/// A node with an event of the table, whose application may start any number of sessions at once.
fn setup() -> Setup {
    Setup::new().file(&format!(
        "[[applications]]\nid = \"utilbot\"\nmax_concurrency = 1000\n{KEYS}\n\
         [[events]]\nname = \"announce\"\nfrom = [\"service\"]\nto = [\"bot\"]\n"
    ))
}

fn body(name: &str, to: &Value, d: &str) -> String {
    format!(r#"{{"t":"{name}","to":{to},"d":{d}}}"#)
}

async fn publish_text(node: &NodeProcess, name: &str, to: &Value, d: &str) {
    let answer = post(node, &key("root"), &body(name, to, d)).await;
    assert_eq!(answer.status, 202, "{name} {d}: {answer:?}");
}

#[tokio::test]
async fn every_byte_is_as_it_was() {
    let node = setup().start().await;
    let mut raw = Raw::open(node.address(), "/?v=10&encoding=json").await;
    let identify = json!({ "op": 2, "d": { "token": key("bot"), "intents": ALL_INTENTS, "properties": {} } });
    raw.send_text(&identify.to_string()).await;
    let mut next = async || raw.frame().await.expect("a frame").text().to_owned();
    while !next().await.contains("\"READY\"") {}
    for (number, (name, d)) in (2..).zip(EVENTS) {
        publish_text(&node, name, &json!("all"), d).await;
        assert_eq!(next().await, format!(r#"{{"t":"{name}","s":{number},"op":0,"d":{d}}}"#));
    }
}

#[tokio::test]
async fn streams_say_the_same() {
    let node = setup().start().await;
    for query in [
        "v=10&encoding=json&compress=zlib-stream",
        "v=10&encoding=json&compress=zstd-stream",
    ] {
        let (mut client, _) = DiscordClient::session(&node, query, &key("bot"), ALL_INTENTS).await;
        for (name, d) in EVENTS {
            publish_text(&node, name, &json!("all"), d).await;
            let expected: Value = serde_json::from_str(d).unwrap();
            assert_eq!(client.expect_dispatch(name).await, expected, "{query}");
        }
    }
}

/// The value as the reader of terms has it, which takes a whole float for an integer, as JavaScript does.
fn as_term(value: &Value) -> Value {
    match value {
        Value::Array(values) => values.iter().map(as_term).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), as_term(value)))
            .collect(),
        Value::Number(number) if number.is_f64() => match number.as_f64().map(|float| format!("{float:?}")) {
            Some(text) if text.ends_with(".0") && text.len() < 16 => {
                let whole: f64 = text.parse().unwrap();
                #[expect(clippy::cast_possible_truncation, reason = "whole and short")]
                let whole = whole as i64;
                json!(whole)
            }
            _ => value.clone(),
        },
        value => value.clone(),
    }
}

#[tokio::test]
async fn terms_say_the_same() {
    let node = setup().start().await;
    let mut raw = Raw::open(node.address(), "/?v=10&encoding=etf").await;
    let identify = json!({ "op": 2, "d": { "token": key("bot"), "intents": ALL_INTENTS, "properties": {} } });
    let mut term = vec![etf::VERSION];
    etf::transcode(&identify.to_string(), &mut term).unwrap();
    raw.send(&frame(0x82, &term)).await;
    let mut next = async || etf::decode(&raw.frame().await.expect("a frame").payload).expect("a term");
    while next().await["t"] != "READY" {}
    for (name, d) in EVENTS {
        publish_text(&node, name, &json!("all"), d).await;
        let payload = next().await;
        let expected: Value = serde_json::from_str(d).unwrap();
        assert_eq!((&payload["t"], &payload["d"]), (&json!(name), &as_term(&expected)));
    }
}

#[tokio::test]
async fn a_scalar_is_no_data_of_an_event() {
    let node = setup().start().await;
    for d in ["1", "true", "\"text\"", "[\"\\ud800\"]", "[1e999]"] {
        let answer = post(&node, &key("root"), &body("ANYTHING", &json!("all"), d)).await;
        assert_eq!(
            (answer.status, answer.json()["code"].as_str()),
            (422, Some("invalid_data")),
            "{d}: {answer:?}"
        );
    }
    // No event of the table has such data, and who is in version 1 could not read it.
    for d in ["[]", "null"] {
        let answer = post(&node, &key("root"), &body("announce", &json!("all"), d)).await;
        assert_eq!(answer.status, 422, "{d}: {answer:?}");
    }
}

#[tokio::test]
async fn a_list_of_messages_is_empty_for_who_may_not_read_them() {
    const MESSAGE_CONTENT: u64 = 1 << 15;
    let node = setup().start().await;
    let guild = json!({ "guild": "7" });
    let mut clients = Vec::new();
    for intents in [ALL_INTENTS, ALL_INTENTS & !MESSAGE_CONTENT] {
        let (client, _) = DiscordClient::session(&node, "v=10", &key("bot"), intents).await;
        clients.push(client);
    }
    for (d, blank) in [(r#"[{"content":"secret"}]"#, json!([])), ("null", Value::Null)] {
        publish_text(&node, "MESSAGE_CREATE", &guild, d).await;
        let whole: Value = serde_json::from_str(d).unwrap();
        for (client, expected) in clients.iter_mut().zip([whole, blank]) {
            assert_eq!(client.expect_dispatch("MESSAGE_CREATE").await, expected);
        }
    }
}

/// The same on both backplanes.
async fn a_guild_stays(node: &NodeProcess) {
    let guild = TestGuild::new(0, 2);
    let to = json!({ "guild": guild.id });
    let (mut client, _) = DiscordClient::session(node, "v=10", &key("bot"), ALL_INTENTS).await;
    publish(node, &key("root"), &guild.create()).await;
    assert_eq!(client.expect_dispatch("GUILD_CREATE").await, guild.whole());
    for name in [
        "GUILD_CREATE",
        "GUILD_UPDATE",
        "CHANNEL_CREATE",
        "GUILD_MEMBER_ADD",
        "GUILD_DELETE",
    ] {
        for d in ["[]", "null"] {
            publish_text(node, name, &to, d).await;
            assert_eq!(client.expect_dispatch(name).await.to_string(), d);
        }
    }
    let bearer = format!("Bearer {}", key("root"));
    let target = format!("/api/v1/applications/utilbot/guilds/{}", guild.id);
    let answer = request(node.address(), "GET", &target, &[("authorization", &bearer)], "").await;
    assert_eq!(
        (answer.status, &answer.json()["name"]),
        (200, &json!(guild.name)),
        "{answer:?}"
    );
    let (mut late, ready) = DiscordClient::session(node, "v=10", &key("bot"), ALL_INTENTS).await;
    assert_eq!(ready["guilds"][0]["id"], guild.id);
    assert_eq!(late.expect_dispatch("GUILD_CREATE").await, guild.whole());
}

#[tokio::test]
async fn data_without_fields_changes_no_guild() {
    a_guild_stays(&setup().start().await).await;
}

#[tokio::test]
async fn data_without_fields_changes_no_guild_in_redis() {
    let redis = RedisProcess::start().await;
    let node = setup().redis(&redis.url()).start().await;
    ready(&node).await;
    a_guild_stays(&node).await;
}

/// A guild as large as the largest: its channels, threads, roles, emojis, members and presences, and what each weighs.
fn very_large_guild() -> Value {
    let id = |number: u64| (7_u64 << 22).wrapping_add(number).to_string();
    let list = |count: u64, bytes: usize| -> Vec<Value> {
        let item = |number| json!({ "id": id(number), "guild_id": id(0), "text": "x".repeat(bytes) });
        (0..count).map(item).collect()
    };
    let users = |key: &str, bytes: usize| -> Vec<Value> {
        let item = |number| json!({ "user": { "id": id(number) }, "status": "online", key: "x".repeat(bytes) });
        (0..1000).map(item).collect()
    };
    json!({
        "id": id(0), "name": "Large", "member_count": 500_000, "large": true, "unavailable": false,
        "channels": list(500, 1150), "threads": list(1000, 550), "roles": list(250, 280), "emojis": list(500, 150),
        "stickers": list(60, 300), "members": users("nick", 530), "presences": users("client", 330), "voice_states": [],
    })
}

#[tokio::test]
async fn the_defaults_hold_a_very_large_guild() {
    let redis = RedisProcess::start().await;
    for node in [setup().start().await, setup().redis(&redis.url()).start().await] {
        ready(&node).await;
        let guild = very_large_guild();
        let id = guild["id"].as_str().unwrap();
        let text = guild.to_string();
        assert!(text.len() > 2_300_000, "{}", text.len());
        let mut clients = Vec::new();
        for query in ["v=10", "v=10&compress=zlib-stream", "v=10&compress=zstd-stream"] {
            let (client, _) = DiscordClient::session(&node, query, &key("bot"), ALL_INTENTS).await;
            clients.push(client);
        }
        let bearer = format!("Bearer {}", key("root"));
        let target = format!("/api/v1/applications/utilbot/guilds/{id}");
        let answer = request(node.address(), "PUT", &target, &[("authorization", &bearer)], &text).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        publish_text(&node, "GUILD_CREATE", &json!("all"), &text).await;
        for client in &mut clients {
            for _ in 0..2 {
                assert_eq!(client.expect_dispatch("GUILD_CREATE").await, guild);
            }
            client.heartbeat().await;
        }
        eventually("who comes later gets it too", async || {
            let (mut late, _) = DiscordClient::session(&node, "v=10", &key("bot"), ALL_INTENTS).await;
            let told = late.expect_dispatch("GUILD_CREATE").await;
            (told["channels"] == guild["channels"] && told["threads"] == guild["threads"]).then_some(())
        })
        .await;
    }
}
