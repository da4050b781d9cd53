//! The outcome of what a client sends: each packet with a nonce gets one answer, and a repeated event is published once.

use gateway_harness::{
    ApiResponse, NodeProcess, PacketEncoding, RedisProcess, Setup, V1Client, eventually, full_setup, get, key, ready,
    request,
};
use serde_json::{Value, json};

/// Events beside those of the full setup: one that need not have a receiver, and one that must.
const RECEIVERS: &str = r#"
[[events]]
name = "patient_job"
from = ["website"]
to = ["service"]
deliver = "any"
require_receiver = false

[[events]]
name = "guild_note"
from = ["website"]
to = ["bot"]
deliver = { guild = "/guildId" }
require_receiver = false

[[events]]
name = "alarm"
from = ["website"]
to = ["service"]
require_receiver = true
"#;

/// Starts a node and waits until it is ready, which takes a lease with Redis.
async fn start(setup: Setup) -> NodeProcess {
    let node = setup.set("cluster.lease_ms", 1000).start().await;
    ready(&node).await;
    node
}

async fn session(node: &NodeProcess, kind: &str) -> V1Client {
    V1Client::session(node, kind, &key(kind)).await
}

/// Sends an event with a nonce and returns the answer, without its `op`.
async fn answer(client: &mut V1Client, name: &str, d: &Value, more: &Value) -> (String, Value) {
    let mut packet = json!({ "op": 1, "t": name, "n": "answer", "d": d });
    packet
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    client.send(&packet).await;
    let answer = client.next().await;
    assert_eq!((&answer["op"], &answer["n"]), (&json!(0), &packet["n"]), "{answer}");
    (answer["t"].as_str().unwrap().to_owned(), answer["d"].clone())
}

async fn accepted(client: &mut V1Client, name: &str, d: &Value, more: &Value) -> String {
    let (t, d) = answer(client, name, d, more).await;
    assert_eq!(t, "event_accepted", "{d}");
    d["position"].as_str().expect("a position").to_owned()
}

async fn refused(client: &mut V1Client, name: &str, d: &Value, more: &Value) -> String {
    let (t, d) = answer(client, name, d, more).await;
    assert_eq!(t, "event_refused", "{d}");
    assert!(d["message"].is_string(), "{d}");
    d["code"].as_str().expect("a code").to_owned()
}

async fn post_once(node: &NodeProcess, id: &str, idempotency_key: &str, body: &Value) -> ApiResponse {
    let headers = [
        ("authorization", &*format!("Bearer {}", key(id))),
        ("idempotency-key", idempotency_key),
    ];
    request(node.address(), "POST", "/api/v1/events", &headers, &body.to_string()).await
}

#[tokio::test]
async fn every_packet_with_a_nonce_is_answered_once_and_in_order() {
    let server = RedisProcess::start().await;
    for setup in [full_setup(), full_setup().redis(&server.url())] {
        let node = start(setup.set("cluster.event_bytes", 2000)).await;
        let (mut website, mut bot) = (session(&node, "website").await, session(&node, "bot").await);
        let rows = [
            (json!({ "t": "announce", "d": { "n": 1 } }), ""),
            (
                json!({ "t": "announce", "d": { "long": "x".repeat(3000) } }),
                "too_large",
            ),
            (json!({ "t": "announce" }), "invalid_data"),
            (json!({ "d": {} }), "malformed"),
            (json!({ "t": "nonsense", "d": {} }), "unknown_event"),
            (json!({ "t": "send_servers", "d": { "guilds": 1 } }), "not_allowed"),
            (
                json!({ "t": "guild_settings_changed", "d": { "guildId": "1" } }),
                "no_receiver",
            ),
            (json!({ "t": "announce", "d": { "n": 2 }, "k": "a" }), ""),
            (json!({ "t": "announce", "d": { "n": 2 }, "k": "a" }), ""),
            (
                json!({ "t": "announce", "d": { "n": 3 }, "k": "a" }),
                "idempotency_key_reused",
            ),
            (json!({ "t": "announce", "d": { "n": 3 }, "k": "ü" }), "invalid_data"),
            (json!({ "t": "announce", "d": { "n": 4 } }), ""),
        ];
        for (n, (packet, _)) in rows.iter().enumerate() {
            let mut packet = packet.clone();
            packet["op"] = json!(1);
            packet["n"] = if n % 2 == 0 { json!(n) } else { json!(n.to_string()) };
            website.send(&packet).await;
        }
        let mut positions = Vec::new();
        for (n, (packet, code)) in rows.iter().enumerate() {
            let answer = website.next().await;
            let nonce = if n % 2 == 0 { json!(n) } else { json!(n.to_string()) };
            assert_eq!(answer["n"], nonce, "{answer}");
            if code.is_empty() {
                assert_eq!(answer["t"], "event_accepted", "{packet}: {answer}");
                positions.push(answer["d"]["position"].as_str().unwrap().to_owned());
            } else {
                assert_eq!(
                    (&answer["t"], &answer["d"]["code"]),
                    (&json!("event_refused"), &json!(code))
                );
            }
        }
        assert_eq!((positions.len(), &positions[1]), (4, &positions[2]));
        for n in [1, 2, 4] {
            assert_eq!(bot.event_among_others("announce").await, json!({ "n": n }));
        }
        website.heartbeat().await;
        // A report is answered too.
        bot.send(&json!({ "op": 1, "t": "send_servers", "n": 0, "d": { "guilds": ["1"] } }))
            .await;
        let answer = bot.next().await;
        assert_eq!(answer, json!({ "op": 0, "t": "event_accepted", "n": 0, "d": {} }));
    }
}

#[tokio::test]
async fn a_nonce_comes_back_as_it_was_sent() {
    let node = full_setup().start().await;
    for encoding in [PacketEncoding::Plain, PacketEncoding::Zlib] {
        let mut website = V1Client::session_in(&node, "website", &key("website"), encoding).await;
        for nonce in ["9007199254740991", r#""\u0061""#, r#""ü \"quoted\"""#, "0"] {
            let packet = format!(r#"{{"n":{nonce},"op":1,"t":"announce","d":{{}}}}"#);
            website.send_json(&packet).await;
            let answer = website.next_text().await.unwrap();
            let expected = format!(r#"{{"op":0,"t":"event_accepted","n":{nonce},"d":{{"position":""#);
            assert!(answer.starts_with(&expected), "{answer}");
        }
    }
}

#[tokio::test]
async fn a_repeated_event_is_published_once_on_any_node_and_over_http() {
    let server = RedisProcess::start().await;
    let setup = || full_setup().redis(&server.url());
    let nodes = [start(setup()).await, start(setup()).await];
    let mut bot = session(&nodes[1], "bot").await;
    let (d, k) = (json!({ "n": 1 }), json!({ "k": "order 7" }));
    let mut first = session(&nodes[0], "service").await;
    let position = accepted(&mut first, "announce", &d, &k).await;
    assert_eq!(accepted(&mut first, "announce", &d, &k).await, position);
    first.close(1000).await;
    let mut second = session(&nodes[1], "service").await;
    assert_eq!(accepted(&mut second, "announce", &d, &k).await, position);
    let response = post_once(&nodes[0], "service", "order 7", &json!({ "t": "announce", "d": d })).await;
    assert_eq!(
        (response.status, &response.json()["position"]),
        (202, &json!(position)),
        "{response:?}"
    );
    let response = post_once(&nodes[0], "service", "order 7", &json!({ "t": "announce", "d": {} })).await;
    assert_eq!(response.status, 422, "{response:?}");
    assert_eq!(
        refused(&mut second, "announce", &json!({}), &k).await,
        "idempotency_key_reused"
    );
    // Another API key has other names.
    let mut website = session(&nodes[0], "website").await;
    assert_ne!(
        accepted(&mut website, "announce", &json!({ "n": 2 }), &k).await,
        position
    );
    for n in [1, 2] {
        assert_eq!(bot.event_among_others("announce").await, json!({ "n": n }));
    }
    assert_eq!(second.event_among_others("announce").await, json!({ "n": 2 }));
}

#[tokio::test]
async fn a_key_used_for_another_event_ends_a_session_that_sent_no_nonce() {
    let node = full_setup().start().await;
    let mut website = session(&node, "website").await;
    for n in [1, 2] {
        website
            .send(&json!({ "op": 1, "t": "announce", "k": "once", "d": { "n": n } }))
            .await;
    }
    let error = website.error(4005, 4005).await;
    let problems = json!({ "errors": ["The idempotency key was used for another event."], "data": ["announce"] });
    assert_eq!(error["d"], problems);
}

#[tokio::test]
async fn faulty_nonces_and_keys_are_malformed_data() {
    let node = full_setup().start().await;
    let nonce = "Nonce must be a string of 1 to 64 bytes or an integer.";
    let idempotency_key = "Idempotency key must have 1 to 128 printable ASCII characters.";
    for (field, values, error) in [
        (
            "n",
            [json!(null), json!(-1), json!(""), json!("x".repeat(65)), json!([1])],
            nonce,
        ),
        (
            "k",
            [json!(null), json!(7), json!(""), json!("x".repeat(129)), json!("\n")],
            idempotency_key,
        ),
    ] {
        for value in values {
            let mut website = session(&node, "website").await;
            // Heartbeats and packets before identify have no nonce.
            website.send(&json!({ "op": 10, "n": value })).await;
            website.expect(&json!({ "op": 11 })).await;
            let mut packet = json!({ "op": 1, "t": "announce", "d": {} });
            packet[field] = value.clone();
            website.send(&packet).await;
            let problems = website.error(4005, 4005).await;
            assert_eq!(problems["d"], json!({ "errors": [error], "data": [value] }));
        }
    }
}

#[tokio::test]
async fn without_redis_an_event_is_refused_when_its_time_is_over_and_the_session_stays() {
    let mut server = RedisProcess::start().await;
    let setup = full_setup().redis(&server.url()).set("cluster.hold_ms", 300);
    let node = start(setup.set("cluster.hold_bytes", 4000)).await;
    let mut website = session(&node, "website").await;
    server.kill().await;
    let is_available = async || get(&node, "/health").await.json()["backplane"]["available"] == true;
    eventually("a node without redis", async || (!is_available().await).then_some(())).await;
    assert_eq!(
        refused(&mut website, "announce", &json!({}), &json!({})).await,
        "unavailable"
    );
    // The second event does not fit beside the first one. Its refusal comes after that of the first all the same.
    let large = json!({ "long": "x".repeat(3000) });
    for n in [1, 2] {
        website
            .send(&json!({ "op": 1, "t": "announce", "n": n, "d": large }))
            .await;
    }
    for n in [1, 2] {
        let answer = website.next().await;
        assert_eq!((&answer["n"], &answer["d"]["code"]), (&json!(n), &json!("unavailable")));
    }
    server.restart().await;
    // For the first seconds of an outage the node stays ready.
    eventually("a node with redis", async || is_available().await.then_some(())).await;
    accepted(&mut website, "announce", &json!({}), &json!({})).await;
}

#[tokio::test]
async fn the_table_says_whether_an_event_needs_a_receiver() {
    let server = RedisProcess::start().await;
    for setup in [full_setup(), full_setup().redis(&server.url())] {
        let node = start(setup.more(RECEIVERS)).await;
        let mut website = session(&node, "website").await;
        let empty = json!({});
        assert_eq!(refused(&mut website, "alarm", &empty, &empty).await, "no_receiver");
        accepted(&mut website, "guild_note", &json!({ "guildId": "9" }), &empty).await;
        accepted(&mut website, "patient_job", &json!({ "n": 1 }), &empty).await;
        let mut service = session(&node, "service").await;
        assert_eq!(service.event("patient_job").await, json!({ "n": 1 }));
        accepted(&mut website, "alarm", &empty, &empty).await;
        assert_eq!(service.event("alarm").await, empty);
    }
}

#[tokio::test]
async fn an_idle_v1_client_gets_pings_before_and_after_identify() {
    let node = full_setup().set("v1.ping_interval_ms", 100).start().await;
    let mut client = V1Client::greeted(&node, PacketEncoding::Plain).await;
    client.ping().await;
    client.identify("website", &key("website")).await;
    for _ in 0..2 {
        client.ping().await;
    }
    // Packets of the client do not delay a ping if they have no answer.
    client.send_text("not JSON").await;
    client.ping().await;
    client.heartbeat().await;
}
