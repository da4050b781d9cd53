//! Discord's protocol, versions 6 to 10: the rules that client libraries impose on a server, opcodes and close codes.
//!
//! The rules are numbered in `docs/discord.md`.

use std::time::Duration;

use gateway_harness::{
    KEYS, NodeProcess, Raw, Setup,
    discord::{ALL_INTENTS, DiscordClient, TestGuild, private_message},
    frame, get, key, publish, request, within_time,
};
use serde_json::{Value, json};

const V10: &str = "v=10&encoding=json";

/// An application whose sessions may start concurrently.
const APPLICATION: &str = r#"
[[applications]]
id = "utilbot"
max_concurrency = 1000
"#;

fn setup() -> Setup {
    Setup::new().file(&format!("{APPLICATION}{KEYS}"))
}

async fn node() -> NodeProcess {
    setup().start().await
}

fn token() -> String {
    key("bot")
}

async fn session(node: &NodeProcess, query: &str) -> (DiscordClient, String) {
    let (client, ready) = DiscordClient::session(node, query, &token(), ALL_INTENTS).await;
    (client, ready["session_id"].as_str().expect("an id").to_owned())
}

async fn dispatch(node: &NodeProcess, name: &str, d: &Value) {
    let event = json!({ "t": name, "to": "all", "d": d });
    publish(node, &key("root"), &event).await;
}

async fn administer(node: &NodeProcess, method: &str, target: &str) -> u16 {
    let bearer = format!("Bearer {}", key("root"));
    request(node.address(), method, target, &[("authorization", &bearer)], "")
        .await
        .status
}

/// Rules 1, 3 and 5 to 7. The client of the harness accepts only compact JSON and contiguous sequence numbers.
#[tokio::test]
async fn a_session_identifies_and_resumes_after_a_cut() {
    let node = node().await;
    for query in [V10, "v=6&encoding=json", "v=8&compress=zlib-stream&encoding=json"] {
        let (mut client, ready) = DiscordClient::session(&node, query, &token(), ALL_INTENTS).await;
        let user = &ready["user"];
        for field in [
            "id",
            "username",
            "discriminator",
            "avatar",
            "bot",
            "mfa_enabled",
            "flags",
        ] {
            assert!(user.get(field).is_some(), "{field}: {user}");
        }
        assert_eq!(
            (&ready["private_channels"], &ready["shard"]),
            (&json!([]), &json!([0, 1]))
        );
        assert!(ready["application"]["flags"].is_u64(), "{ready}");
        assert_eq!(ready["resume_gateway_url"], format!("ws://{}", node.address()));
        client.heartbeat().await;
        let id = ready["session_id"].as_str().expect("an id").to_owned();
        dispatch(&node, "X", &json!({"n": 1})).await;
        assert_eq!(client.expect_dispatch("X").await["n"], 1);
        let seen = client.sequence();
        drop(client);
        dispatch(&node, "X", &json!({"n": 2})).await;
        let mut again = DiscordClient::greeted(&node, query).await;
        again.resume(&token(), &id, seen).await;
        assert_eq!(again.expect_dispatch("X").await["n"], 2);
        assert_eq!(again.expect_dispatch("RESUMED").await, json!({}));
        assert_eq!(again.sequence(), seen + 2);
    }
}

#[tokio::test]
async fn a_heartbeat_with_sequence_0_does_not_prevent_a_resume() {
    let node = node().await;
    let (client, id) = session(&node, V10).await;
    drop(client);
    dispatch(&node, "X", &json!({"n": 1})).await;
    let mut again = DiscordClient::greeted(&node, V10).await;
    again.send(1, &json!(0)).await;
    again.expect_op(11).await;
    again.resume(&token(), &id, 1).await;
    assert_eq!(again.expect_dispatch("X").await["n"], 1);
}

#[tokio::test]
async fn binary_json_is_accepted_and_a_stream_overrides_compress() {
    let node = node().await;
    let identify = json!({"token": token(), "intents": 0, "properties": {}, "compress": true});
    let mut client = DiscordClient::greeted(&node, V10).await;
    client
        .send_binary(json!({"op": 1, "d": null}).to_string().as_bytes())
        .await;
    client.expect_op(11).await;
    // With a stream, the client accepts only parts of the stream.
    let mut client = DiscordClient::greeted(&node, "v=10&encoding=json&compress=zlib-stream").await;
    client.identify(&identify).await;
    client.expect_dispatch("READY").await;
    dispatch(&node, "X", &json!({"text": "x".repeat(10_000)})).await;
    client.expect_dispatch("X").await;
    // Without a stream, each large payload is a zlib stream of its own, and small ones are text.
    let mut client = DiscordClient::greeted(&node, V10).await;
    client.identify(&identify).await;
    client.expect_dispatch("READY").await;
    for length in [1, 10_000] {
        dispatch(&node, "X", &json!({"text": "x".repeat(length)})).await;
        let d = client.expect_dispatch("X").await;
        assert_eq!(d["text"].as_str().map(str::len), Some(length));
    }
}

#[tokio::test]
async fn heartbeats_are_acknowledged_but_not_required_before_identify() {
    let node = setup().set("discord.heartbeat_interval_ms", 50).start().await;
    let mut waiting = DiscordClient::connect(&node, V10).await;
    assert_eq!(waiting.hello().await, Duration::from_millis(50));
    let (mut silent, _) = session(&node, V10).await;
    silent.expect_close(4009).await;
    // The unidentified connection is still open after the other has missed its heartbeats.
    waiting.heartbeat().await;
    let standard = self::node().await;
    let interval = DiscordClient::connect(&standard, V10).await.hello().await;
    assert_eq!(interval, Duration::from_millis(41_250));
}

/// Rules 9, 10 and 21.
#[tokio::test]
async fn a_failed_resume_gets_op_9_and_may_identify_on_the_same_connection() {
    let node = node().await;
    let mut client = DiscordClient::greeted(&node, V10).await;
    client.resume(&token(), "123", 7).await;
    assert_eq!(client.expect_op(9).await, json!(false));
    client
        .identify(&json!({"token": token(), "intents": 0, "properties": {}}))
        .await;
    client.expect_dispatch("READY").await;
}

/// Rules 11 and 12, and op 7.
#[tokio::test]
async fn a_reconnect_command_keeps_the_session_if_the_client_answers_with_1000() {
    let node = setup().set("drain.deadline_ms", 4500).start().await;
    let mut client = Raw::open(node.address(), "/?v=10&encoding=json").await;
    let identify = json!({"op": 2, "d": {"token": token(), "intents": 0, "properties": {}}});
    client.send_text(&identify.to_string()).await;
    let ready = loop {
        let payload: Value = serde_json::from_str(client.frame().await.expect("a payload").text()).expect("JSON");
        if payload["t"] == "READY" {
            break payload;
        }
    };
    let id = ready["d"]["session_id"].as_str().expect("an id").to_owned();
    let target = format!("/api/v1/sessions/{id}/reconnect");
    assert_eq!(administer(&node, "POST", &target).await, 204);
    let seven = client.frame().await.expect("a payload");
    assert_eq!(seven.text(), r#"{"t":null,"s":null,"op":7,"d":null}"#);
    let close = client.frame().await.expect("a close frame");
    assert_eq!(close.close_code(), Some(4000));
    // discordrb answers like this.
    client.send(&frame(0x88, &1000_u16.to_be_bytes())).await;
    assert_eq!(client.rest().await, []);
    let mut again = DiscordClient::greeted(&node, V10).await;
    again.resume(&token(), &id, 1).await;
    again.expect_dispatch("RESUMED").await;
    assert_eq!(administer(&node, "POST", "/api/v1/sessions/5/reconnect").await, 404);
    // DELETE ends the session, so it cannot be resumed.
    assert_eq!(
        administer(&node, "DELETE", &format!("/api/v1/sessions/{id}")).await,
        204
    );
    again.expect_close(4000).await;
    let mut gone = DiscordClient::greeted(&node, V10).await;
    gone.resume(&token(), &id, 2).await;
    assert_eq!(gone.expect_op(9).await, json!(false));
}

/// Rules 13, 18 and 22.
#[tokio::test]
async fn every_form_of_the_url_is_accepted() {
    let node = node().await;
    for target in [
        "/?v=10",
        "//?v=10&encoding=json",
        "/?encoding=json&v=9",
        "/?compress=zlib-stream&v=8",
    ] {
        let mut client = DiscordClient::open(node.address(), target).await.expect(target);
        client.hello().await;
    }
}

/// Rules 14 and 15.
#[tokio::test]
async fn tokens_ids_and_presences_are_accepted_in_every_form() {
    let node = node().await;
    let mut client = DiscordClient::greeted(&node, V10).await;
    let presence = json!({"status": "idle", "game": {"name": "chess", "type": 0}, "since": null, "afk": false});
    let identify = json!({
        "token": format!("Bot {}", token()), "intents": 1, "properties": {}, "presence": presence, "shard": [0, 1],
    });
    client.identify(&identify).await;
    client.expect_dispatch("READY").await;
    client.send(3, &presence).await;
    client
        .send(
            4,
            &json!({"guild_id": 5, "channel_id": null, "self_mute": false, "self_deaf": false}),
        )
        .await;
    client.send(5, &Value::Null).await;
    for guild in [json!("5"), json!(5), json!(["5"]), json!([5])] {
        client
            .send(8, &json!({"guild_id": guild, "user_ids": "7", "limit": 0}))
            .await;
        let chunk = client.expect_dispatch("GUILD_MEMBERS_CHUNK").await;
        assert_eq!((&chunk["guild_id"], &chunk["not_found"]), (&json!("5"), &json!(["7"])));
    }
    client.send(31, &json!({"guild_ids": [5]})).await;
    client.expect_dispatch("SOUNDBOARD_SOUNDS").await;
    client.send(43, &json!({"guild_id": 5, "fields": ["status"]})).await;
    client.expect_dispatch("CHANNEL_INFO").await;
    client.heartbeat().await;
}

/// Rules 16 and 17. The raw client accepts no pings, and a reset would be an error instead of the end of the stream.
#[tokio::test]
async fn a_close_is_followed_by_fin_instead_of_a_reset() {
    let node = node().await;
    let mut client = Raw::open(node.address(), "/?v=10&encoding=json").await;
    client.send(&frame(0x81, b"no payload")).await;
    let close = client.rest().await.pop().expect("a close frame");
    assert_eq!(close.close_code(), Some(4002));
}

/// Rule 19. Only Hello is sent without a request, so bytes that arrive with the response head would be Hello.
#[tokio::test]
async fn hello_is_sent_separately_from_the_upgrade_response() {
    let node = setup().set("discord.hello_delay_ms", 300).start().await;
    let mut client = Raw::open(node.address(), "/?v=10&encoding=json").await;
    assert_eq!(client.unread(), 0, "bytes arrived with the response head");
    let hello = client.frame().await.expect("a payload");
    assert!(hello.text().starts_with(r#"{"t":null,"s":null,"op":10,"#), "{hello:?}");
}

/// Rule 20, and which close codes of a client end its session.
#[tokio::test]
async fn a_client_close_is_answered_with_the_same_code() {
    let node = node().await;
    for (code, ends_session) in [(4000, false), (4200, false), (1000, true), (1001, true)] {
        let (client, id) = session(&node, V10).await;
        assert_eq!(client.close(code).await, Some(code));
        let mut again = DiscordClient::greeted(&node, V10).await;
        again.resume(&token(), &id, 1).await;
        let answer = again.next().await;
        assert_eq!(answer.op == 9, ends_session, "{code}: {answer:?}");
    }
}

/// Rule 25: `d` is sent as published.
#[tokio::test]
async fn published_data_is_sent_unchanged() {
    let node = node().await;
    let (mut client, _) = session(&node, V10).await;
    let d =
        json!({"permissions": 8, "allow": "8", "nested": {"list": [1.0, 1, null, "ä\u{2028}"]}, "z": 0, "a": 1e300});
    dispatch(&node, "X", &d).await;
    assert_eq!(client.expect_dispatch("X").await, d);
}

#[tokio::test]
async fn each_close_code_is_sent_for_its_documented_cause() {
    let node = setup()
        .file(&format!(
            "[[applications]]\nid = \"utilbot\"\nmax_concurrency = 1000\nprivileged_intents = []\n\
             guilds_per_session = 1\n{KEYS}"
        ))
        .set("session.identify_timeout_ms", 700)
        .set("discord.heartbeat_interval_ms", 2000)
        .start()
        .await;
    let identify = |change: Value| {
        let mut d = json!({"token": token(), "intents": 1, "properties": {}});
        d.as_object_mut()
            .expect("an object")
            .extend(change.as_object().expect("an object").clone());
        json!({"op": 2, "d": d})
    };
    let cases = [
        (json!({"op": 0, "d": null}), 4001),
        (json!({"op": 2, "d": 5}), 4001),
        (json!("no payload"), 4002),
        (json!({"op": 1, "d": "x".repeat(5000)}), 4002),
        (json!({"op": 3, "d": {"status": "online"}}), 4003),
        (identify(json!({"token": "nobody.0123456789"})), 4004),
        (identify(json!({"token": key("website")})), 4004),
        (identify(json!({"shard": [1, 1]})), 4010),
        (identify(json!({"intents": 1 << 30})), 4013),
        (identify(json!({"intents": null})), 4013),
        (identify(json!({"intents": 1 << 15})), 4014),
    ];
    for (payload, code) in cases {
        let mut client = DiscordClient::greeted(&node, V10).await;
        client.send_text(&payload.to_string()).await;
        client.expect_close(code).await;
    }
    let mut twice = DiscordClient::session(&node, V10, &token(), 1).await.0;
    twice.send_text(&identify(json!({})).to_string()).await;
    twice.expect_close(4005).await;
    let mut busy = DiscordClient::session(&node, V10, &token(), 1).await.0;
    for _ in 0..120 {
        busy.send(
            3,
            &json!({"status": "online", "activities": [], "since": null, "afk": false}),
        )
        .await;
    }
    busy.expect_close(4008).await;
    for (query, code) in [
        ("v=5&encoding=json", 4012),
        ("v=10&encoding=xml", 4002),
        ("v=10&compress=lzma", 4002),
    ] {
        DiscordClient::connect(&node, query).await.expect_close(code).await;
    }
    DiscordClient::greeted(&node, V10).await.expect_close(4000).await;
    for number in 0..2 {
        publish(&node, &key("root"), &TestGuild::new(number, 1).create()).await;
    }
    let mut sharding_required = DiscordClient::greeted(&node, V10).await;
    sharding_required.send_text(&identify(json!({})).to_string()).await;
    sharding_required.expect_close(4011).await;
}

#[tokio::test]
async fn intents_shards_and_targets_select_the_receivers() {
    let node = node().await;
    let guild = TestGuild::new(1, 3);
    publish(&node, &key("root"), &guild.create()).await;
    let mut first = DiscordClient::greeted(&node, V10).await;
    let shard =
        |id: u32, intents: u64| json!({"token": token(), "intents": intents, "properties": {}, "shard": [id, 2]});
    first.identify(&shard(0, ALL_INTENTS)).await;
    assert_eq!(first.expect_dispatch("READY").await["guilds"], json!([]));
    let mut second = DiscordClient::greeted(&node, V10).await;
    second.identify(&shard(1, 1 | 1 << 9)).await;
    let ready = second.expect_dispatch("READY").await;
    assert_eq!(ready["guilds"], json!([{"id": guild.id, "unavailable": true}]));
    assert_eq!(second.expect_dispatch("GUILD_CREATE").await["name"], json!(guild.name));
    let message = guild.message(1, "said");
    dispatch(&node, "MESSAGE_CREATE", &message).await;
    let received = second.expect_dispatch("MESSAGE_CREATE").await;
    assert_eq!((&received["content"], &received["id"]), (&json!(""), &message["id"]));
    let private = private_message(2, "between us");
    dispatch(&node, "MESSAGE_CREATE", &private).await;
    assert_eq!(first.expect_dispatch("MESSAGE_CREATE").await, private);
    for (to, is_first) in [
        (json!({"shard": [0, 2]}), true),
        (json!({"shard": [1, 2]}), false),
        (json!({"session": ready["session_id"]}), false),
        (json!({"user": ready["user"]["id"]}), true),
        (json!({"guild": guild.id}), false),
    ] {
        publish(&node, &key("root"), &json!({"t": "X", "to": to, "d": {"to": to}})).await;
        let selected = if is_first { &mut first } else { &mut second };
        assert_eq!(selected.expect_dispatch("X").await["to"], to);
    }
    let listed = get(&node, "/health").await.json();
    assert_eq!(listed["sessions"]["discord"], 2, "{listed}");
}

#[tokio::test]
async fn invalid_events_are_refused_with_422() {
    let node = node().await;
    let bearer = format!("Bearer {}", key("root"));
    for body in [
        json!({"t": "X", "to": "some", "d": {}}),
        json!({"t": "X", "to": {"guild": "x"}, "d": {}}),
        json!({"t": "X Y", "to": "all", "d": {}}),
        json!({"t": "X", "to": "all", "d": 7}),
    ] {
        let answer = request(
            node.address(),
            "POST",
            "/api/v1/events",
            &[("authorization", &bearer)],
            &body.to_string(),
        )
        .await;
        assert_eq!(answer.status, 422, "{body}: {answer:?}");
    }
}

/// A client that does not read is closed, and receives everything when it resumes. A client that reads is not delayed.
#[tokio::test]
async fn a_slow_reader_is_closed_and_resumes_without_loss() {
    const EVENTS: u64 = 600;
    let node = setup()
        .set("limits.outbox_bytes", 262_144)
        .set("limits.message_bytes", 65_536)
        .start()
        .await;
    let (slow, id) = session(&node, V10).await;
    let (mut quick, _) = session(&node, V10).await;
    let text = "x".repeat(16_000);
    let reading = async {
        for n in 0..EVENTS {
            assert_eq!(quick.expect_dispatch("X").await["n"], n);
        }
    };
    let publishing = async {
        for n in 0..EVENTS {
            dispatch(&node, "X", &json!({"n": n, "text": text})).await;
        }
    };
    within_time("events for the client that reads", Duration::from_secs(60), async {
        tokio::join!(reading, publishing)
    })
    .await;
    let mut slow = slow;
    let mut seen = 0;
    let code = loop {
        match slow.try_next().await {
            Ok(payload) => {
                assert_eq!(payload.d["n"], seen);
                seen += 1;
            }
            Err(code) => break code,
        }
    };
    assert!(matches!(code, Some(4000) | None), "{code:?}");
    assert!(seen < EVENTS, "the client was never slow");
    let mut again = DiscordClient::greeted(&node, V10).await;
    again.resume(&token(), &id, slow.sequence()).await;
    for n in seen..EVENTS {
        assert_eq!(again.expect_dispatch("X").await["n"], n);
    }
    again.expect_dispatch("RESUMED").await;
}
