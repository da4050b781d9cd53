//! Versions 6 to 10 off the wire: the rules that libraries force on a server, its opcodes and its close codes.

use std::time::Duration;

use gateway_harness::{
    KEYS, NodeProcess, Raw, Setup,
    discord::{ALL_INTENTS, DiscordClient, TestGuild, private_message},
    frame, get, key, publish, request, within_time,
};
use serde_json::{Value, json};

const V10: &str = "v=10&encoding=json";

/// Sessions may begin at once.
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

/// Rules 1, 3 and 5 to 7: what the client reads it reads strictly, and every dispatch counts on.
#[tokio::test]
async fn a_session_goes_from_hello_over_ready_and_a_cut_to_resumed() {
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
async fn a_client_that_counts_nothing_after_ready_resumes_with_0() {
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
async fn json_is_taken_in_binary_messages_and_compress_says_nothing_beside_a_stream() {
    let node = node().await;
    let identify = json!({"token": token(), "intents": 0, "properties": {}, "compress": true});
    let mut client = DiscordClient::greeted(&node, V10).await;
    client
        .send_binary(json!({"op": 1, "d": null}).to_string().as_bytes())
        .await;
    client.expect_op(11).await;
    // The client takes nothing but parts of the stream.
    let mut client = DiscordClient::greeted(&node, "v=10&encoding=json&compress=zlib-stream").await;
    client.identify(&identify).await;
    client.expect_dispatch("READY").await;
    dispatch(&node, "X", &json!({"text": "x".repeat(10_000)})).await;
    client.expect_dispatch("X").await;
    // Without one, large payloads are streams of their own, and small ones are text.
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
async fn heartbeats_are_acknowledged_before_identify_and_none_is_demanded() {
    let node = setup().set("discord.heartbeat_interval_ms", 50).start().await;
    let mut waiting = DiscordClient::connect(&node, V10).await;
    assert_eq!(waiting.hello().await, Duration::from_millis(50));
    let (mut silent, _) = session(&node, V10).await;
    silent.expect_close(4009).await;
    // The one that has no session is still there when the other one has missed two.
    waiting.heartbeat().await;
    let standard = self::node().await;
    let interval = DiscordClient::connect(&standard, V10).await.hello().await;
    assert_eq!(interval, Duration::from_millis(41_250));
}

/// Rules 9, 10 and 21.
#[tokio::test]
async fn a_failed_resume_is_op_9_and_the_connection_takes_another_try() {
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
async fn an_administrator_asks_to_reconnect_and_an_answer_of_1000_ends_nothing() {
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
    // As discordrb does.
    client.send(&frame(0x88, &1000_u16.to_be_bytes())).await;
    assert_eq!(client.rest().await, []);
    let mut again = DiscordClient::greeted(&node, V10).await;
    again.resume(&token(), &id, 1).await;
    again.expect_dispatch("RESUMED").await;
    assert_eq!(administer(&node, "POST", "/api/v1/sessions/5/reconnect").await, 404);
    // Ending it is another matter.
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
async fn every_form_of_the_url_is_served() {
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
async fn tokens_ids_and_presences_are_taken_in_every_form() {
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

/// Rules 16 and 17: the client takes no pings, and a reset would be an error in place of the end.
#[tokio::test]
async fn a_close_is_followed_by_the_end_of_the_stream_and_no_reset() {
    let node = node().await;
    let mut client = Raw::open(node.address(), "/?v=10&encoding=json").await;
    client.send(&frame(0x81, b"no payload")).await;
    let close = client.rest().await.pop().expect("a close frame");
    assert_eq!(close.close_code(), Some(4002));
}

/// Rule 19. Hello is the only thing that comes by itself, so what has arrived with the head shows whether it rode with it.
#[tokio::test]
async fn hello_does_not_ride_with_the_upgrade() {
    let node = setup().set("discord.hello_delay_ms", 300).start().await;
    let mut client = Raw::open(node.address(), "/?v=10&encoding=json").await;
    assert_eq!(client.unread(), 0, "nothing comes with the head");
    let hello = client.frame().await.expect("a payload");
    assert!(hello.text().starts_with(r#"{"t":null,"s":null,"op":10,"#), "{hello:?}");
}

/// Rule 20, and which closes of a client end its session.
#[tokio::test]
async fn a_close_is_answered_with_its_own_code() {
    let node = node().await;
    for (code, is_over) in [(4000, false), (4200, false), (1000, true), (1001, true)] {
        let (client, id) = session(&node, V10).await;
        assert_eq!(client.close(code).await, Some(code));
        let mut again = DiscordClient::greeted(&node, V10).await;
        again.resume(&token(), &id, 1).await;
        let answer = again.next().await;
        assert_eq!(answer.op == 9, is_over, "{code}: {answer:?}");
    }
}

/// Rule 25: `d` is the publisher's.
#[tokio::test]
async fn data_goes_out_as_it_was_published() {
    let node = node().await;
    let (mut client, _) = session(&node, V10).await;
    let d =
        json!({"permissions": 8, "allow": "8", "nested": {"list": [1.0, 1, null, "ä\u{2028}"]}, "z": 0, "a": 1e300});
    dispatch(&node, "X", &d).await;
    assert_eq!(client.expect_dispatch("X").await, d);
}

#[tokio::test]
async fn each_close_code_is_given_for_what_it_stands_for() {
    let node = setup()
        .file(&format!(
            "[[applications]]\nid = \"utilbot\"\nmax_concurrency = 1000\nprivileged_intents = []\nguilds_per_session = 1\n{KEYS}"
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
    let mut crowded = DiscordClient::greeted(&node, V10).await;
    crowded.send_text(&identify(json!({})).to_string()).await;
    crowded.expect_close(4011).await;
}

#[tokio::test]
async fn intents_shards_and_targets_choose_who_hears() {
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
    let heard = second.expect_dispatch("MESSAGE_CREATE").await;
    assert_eq!((&heard["content"], &heard["id"]), (&json!(""), &message["id"]));
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
        let hearer = if is_first { &mut first } else { &mut second };
        assert_eq!(hearer.expect_dispatch("X").await["to"], to);
    }
    let listed = get(&node, "/health").await.json();
    assert_eq!(listed["sessions"]["discord"], 2, "{listed}");
}

#[tokio::test]
async fn what_cannot_be_published_is_refused() {
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

/// A client that does not read is cut, and gets everything when it comes back; who reads is not held up.
#[tokio::test]
async fn a_slow_reader_is_cut_and_resumes_with_nothing_missing() {
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
    within_time("everybody who reads", Duration::from_secs(60), async {
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
    assert!(seen < EVENTS, "it was never slow");
    let mut again = DiscordClient::greeted(&node, V10).await;
    again.resume(&token(), &id, slow.sequence()).await;
    for n in seen..EVENTS {
        assert_eq!(again.expect_dispatch("X").await["n"], n);
    }
    again.expect_dispatch("RESUMED").await;
}
