//! Requests and replies: one session gets the request, and the requester gets one outcome.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use gateway_harness::{
    ApiResponse, NodeProcess, PacketEncoding, Raw, RedisProcess, Setup, V1Client, eventually, full_setup, key, metric,
    ready, request,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// Requests with every kind of delivery.
const EVENTS: &str = r#"
[[events]]
name = "ask_any"
from = ["bot", "website", "service"]
to = ["bot", "service"]
deliver = "any"
reply = true
reply_timeout_ms = 20000

[[events]]
name = "ask_guild"
from = ["website", "service"]
to = ["bot", "website"]
deliver = { guild = "/guildId" }
reply = true
reply_timeout_ms = 20000

[[events]]
name = "ask_user"
from = ["website", "service"]
to = ["website"]
deliver = { user = "/userId" }
reply = true

[[events]]
name = "ask_briefly"
from = ["website", "service"]
to = ["bot"]
deliver = "any"
reply = true
reply_timeout_ms = 300

[[events]]
name = "ask_settings"
from = ["website", "service"]
to = ["bot"]
deliver = "any"
reply = true
reply_schema = "reply.json"

[[events]]
name = "mark"
from = ["bot", "website", "service"]
to = ["bot", "website", "service"]
"#;

const REPLY: &str = r#"{"type":"object","required":["prefix"]}"#;

fn setup() -> Setup {
    full_setup()
        .more(EVENTS)
        .beside("reply.json", REPLY)
        .set("cluster.lease_ms", 1000)
}

/// Starts two nodes on each backplane: twice the same one in memory, and two that share a Redis.
async fn backplanes() -> (Vec<[NodeProcess; 2]>, RedisProcess) {
    let server = RedisProcess::start().await;
    let pair = async |setup: fn(&str) -> Setup| {
        let nodes = [setup(&server.url()).start().await, setup(&server.url()).start().await];
        for node in &nodes {
            ready(node).await;
        }
        nodes
    };
    let clustered = pair(|url| setup().redis(url)).await;
    (vec![clustered], server)
}

async fn one_node() -> NodeProcess {
    let node = setup().start().await;
    ready(&node).await;
    node
}

/// Opens a session that can receive requests.
async fn session(node: &NodeProcess, kind: &str, more: &Value) -> V1Client {
    let mut client = V1Client::greeted(node, PacketEncoding::Plain).await;
    client.expect_requests();
    let mut d = json!({ "type": kind, "key": key(kind) });
    d.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    client.send_event("identify", &d).await;
    client.event(&format!("{kind}_connect_success")).await;
    client
}

/// Opens a bot that has reported these guilds.
async fn bot(node: &NodeProcess, guilds: &[&str]) -> V1Client {
    let mut bot = session(node, "bot", &json!({})).await;
    bot.event("GLOBAL_GUILD_COUNT").await;
    let report = json!({ "op": 1, "t": "send_servers", "n": "report", "d": { "guilds": guilds } });
    bot.send(&report).await;
    while bot.next().await["n"] != "report" {}
    bot
}

async fn ask(client: &mut V1Client, name: &str, n: u64, d: Value) {
    client.send(&json!({ "op": 1, "t": name, "n": n, "d": d })).await;
}

/// Receives a request, and returns its receipt and data. Skips guild counts.
async fn asked(client: &mut V1Client, name: &str) -> (String, Value) {
    let mut payload = client.payload_after_counts(name).await;
    let receipt = payload["r"].as_str().unwrap_or_else(|| panic!("{payload}")).to_owned();
    assert_eq!(receipt.len(), 32, "{payload}");
    (receipt, payload["d"].take())
}

async fn reply(client: &mut V1Client, event: &str, receipt: &str, d: Value) {
    client.send(&json!({ "op": 1, "t": event, "r": receipt, "d": d })).await;
}

/// Sends a reply with a nonce, and returns the answer of the gateway.
async fn answered_reply(client: &mut V1Client, event: &str, receipt: &str, d: Value) -> Value {
    client
        .send(&json!({ "op": 1, "t": event, "n": "reply", "r": receipt, "d": d }))
        .await;
    loop {
        let payload = client.next().await;
        if payload["n"] == "reply" {
            return payload;
        }
    }
}

async fn over_http(node: &NodeProcess, name: &str, d: Value) -> ApiResponse {
    let headers = [("authorization", &*format!("Bearer {}", key("service")))];
    let body = json!({ "t": name, "d": d }).to_string();
    request(node.address(), "POST", "/api/v1/requests", &headers, &body).await
}

#[tokio::test]
async fn one_session_gets_a_request_and_its_requester_the_reply() {
    let (pairs, _server) = backplanes().await;
    let single = one_node().await;
    let mut all: Vec<[&NodeProcess; 2]> = pairs.iter().map(|[one, other]| [one, other]).collect();
    all.push([&single, &single]);
    for [near, far] in all {
        let mut website = session(near, "website", &json!({})).await;
        let mut bots = [bot(near, &["1"]).await, bot(far, &["1"]).await];
        // In turn, on this node and on the other one.
        let mut got = [0, 0];
        for n in 0..8 {
            ask(&mut website, "ask_guild", n, json!({ "guildId": "1", "n": n })).await;
            let (one, other) = bots.split_at_mut(1);
            let (place, (receipt, d)) = tokio::select! {
                request = asked(&mut one[0], "ask_guild") => (0, request),
                request = asked(&mut other[0], "ask_guild") => (1, request),
            };
            assert_eq!(d, json!({ "guildId": "1", "n": n }));
            got[place] += 1;
            if n % 2 == 0 {
                reply(&mut bots[place], "reply", &receipt, json!({ "prefix": "!" })).await;
                website
                    .expect(&json!({ "op": 0, "t": "reply", "n": n, "d": { "prefix": "!" } }))
                    .await;
            } else {
                let answer = answered_reply(&mut bots[place], "reply_error", &receipt, json!({ "code": "busy" })).await;
                assert_eq!(answer, json!({ "op": 0, "t": "event_accepted", "n": "reply", "d": {} }));
                let failed = json!({ "code": "error", "error": { "code": "busy" } });
                website
                    .expect(&json!({ "op": 0, "t": "reply_failed", "n": n, "d": failed }))
                    .await;
            }
        }
        assert_eq!(got, [4, 4]);
        // No bot has got another's request.
        let marked = json!({ "op": 1, "t": "mark", "n": "mark", "d": {} });
        website.send(&marked).await;
        assert!(website.event("event_accepted").await["position"].is_string());
        for bot in &mut bots {
            bot.event_among_others("mark").await;
        }
        assert_eq!(metric(near, "utilbot_requests_total{outcome=\"reply\"}").await, 4);
        assert_eq!(metric(near, "utilbot_requests_total{outcome=\"error\"}").await, 4);
        assert_eq!(metric(near, "utilbot_requests_in_flight").await, 0);
    }
}

#[tokio::test]
async fn any_service_answers_and_a_user_is_asked_by_name() {
    let (pairs, _server) = backplanes().await;
    let single = one_node().await;
    let mut all: Vec<[&NodeProcess; 2]> = pairs.iter().map(|[one, other]| [one, other]).collect();
    all.push([&single, &single]);
    for [near, far] in all {
        let mut service = session(far, "service", &json!({})).await;
        let (answer, (receipt, d)) = tokio::join!(over_http(near, "ask_any", json!({ "a": 1 })), async {
            let request = asked(&mut service, "ask_any").await;
            reply(&mut service, "reply", &request.0, json!({ "b": [2.50] })).await;
            request
        });
        assert_eq!(
            (answer.status, answer.body.clone()),
            (200, r#"{"d":{"b":[2.5]}}"#.to_owned())
        );
        assert_eq!((receipt.len(), d), (32, json!({ "a": 1 })));
        // A page is asked by its user, never by a guild.
        let headers = [("authorization", &*format!("Bearer {}", key("root")))];
        let ticket = json!({ "user": "7", "guilds": ["5"] }).to_string();
        let ticket = request(near.address(), "POST", "/api/v1/tickets", &headers, &ticket).await;
        let mut page = V1Client::greeted(far, PacketEncoding::Plain).await;
        page.expect_requests();
        page.send_event(
            "identify",
            &json!({ "type": "website", "key": ticket.json()["ticket"] }),
        )
        .await;
        page.event("website_connect_success").await;
        let (answer, ()) = tokio::join!(over_http(near, "ask_user", json!({ "userId": 7 })), async {
            let (receipt, _) = asked(&mut page, "ask_user").await;
            reply(&mut page, "reply", &receipt, json!({})).await;
        });
        assert_eq!((answer.status, answer.json()), (200, json!({ "d": {} })));
        let refused = over_http(near, "ask_guild", json!({ "guildId": "5" })).await;
        assert_eq!((refused.status, &refused.json()["code"]), (409, &json!("no_receiver")));
        // A website with a key that watches the guild is asked.
        let mut backend = session(far, "website", &json!({ "guilds": ["5"] })).await;
        let watching = json!({ "op": 1, "t": "watch_guilds", "n": 1, "d": { "guilds": ["5"] } });
        backend.send(&watching).await;
        backend.event("event_accepted").await;
        let (answer, ()) = tokio::join!(over_http(near, "ask_guild", json!({ "guildId": "5" })), async {
            let (receipt, _) = asked(&mut backend, "ask_guild").await;
            reply(&mut backend, "reply", &receipt, json!({})).await;
        });
        assert_eq!(answer.status, 200, "{answer:?}");
        // The requester itself is never asked.
        ask(&mut backend, "ask_guild", 2, json!({ "guildId": "5" })).await;
        assert_eq!(backend.event("event_refused").await["code"], "no_receiver");
    }
}

#[tokio::test]
async fn a_request_that_gets_no_reply_fails_once() {
    let (pairs, _server) = backplanes().await;
    let single = one_node().await;
    let mut all: Vec<[&NodeProcess; 2]> = pairs.iter().map(|[one, other]| [one, other]).collect();
    all.push([&single, &single]);
    for [near, far] in all {
        let mut website = session(near, "website", &json!({})).await;
        ask(&mut website, "ask_briefly", 1, json!({})).await;
        let refused = json!({ "code": "no_receiver", "message": "No receiver.", "errors": ["No receiver."], "data": ["ask_briefly"] });
        website
            .expect(&json!({ "op": 0, "t": "event_refused", "n": 1, "d": refused }))
            .await;
        let mut bot = bot(far, &[]).await;
        ask(&mut website, "ask_briefly", 2, json!({})).await;
        let (receipt, _) = asked(&mut bot, "ask_briefly").await;
        website
            .expect(&json!({ "op": 0, "t": "reply_failed", "n": 2, "d": { "code": "timeout" } }))
            .await;
        // The receipt is over, too: the receiver's node counts from the delivery, so not much later.
        ask(&mut website, "ask_briefly", 3, json!({})).await;
        asked(&mut bot, "ask_briefly").await;
        website
            .expect(&json!({ "op": 0, "t": "reply_failed", "n": 3, "d": { "code": "timeout" } }))
            .await;
        let late = answered_reply(&mut bot, "reply", &receipt, json!({})).await;
        assert_eq!(
            (&late["t"], &late["d"]["code"]),
            (&json!("event_refused"), &json!("receipt_over"))
        );
        // The end of the receiver's session is told at once.
        ask(&mut website, "ask_any", 4, json!({})).await;
        asked(&mut bot, "ask_any").await;
        bot.close(1000).await;
        website
            .expect(&json!({ "op": 0, "t": "reply_failed", "n": 4, "d": { "code": "gone" } }))
            .await;
    }
}

#[tokio::test]
async fn a_receipt_is_good_once_and_only_for_its_session() {
    let (pairs, _server) = backplanes().await;
    let [near, far] = &pairs[0];
    let mut website = session(near, "website", &json!({})).await;
    let (mut receiver, mut stranger) = (bot(far, &["1"]).await, bot(far, &[]).await);
    ask(&mut website, "ask_guild", 1, json!({ "guildId": "1" })).await;
    let (receipt, _) = asked(&mut receiver, "ask_guild").await;
    let over = |answer: Value| {
        let d = json!({ "code": "receipt_over", "message": "The receipt is unknown or done with." });
        assert_eq!(answer, json!({ "op": 0, "t": "event_refused", "n": "reply", "d": d }));
    };
    let dropped = metric(far, "utilbot_packets_dropped_total{reason=\"receipt_over\"}").await;
    for wrong in [receipt.clone(), "0".repeat(32), String::new(), receipt.to_uppercase()] {
        over(answered_reply(&mut stranger, "reply", &wrong, json!({ "from": "a stranger" })).await);
    }
    // Without a nonce it is dropped.
    reply(&mut stranger, "reply", &receipt, json!({})).await;
    stranger.heartbeat().await;
    let after = metric(far, "utilbot_packets_dropped_total{reason=\"receipt_over\"}").await;
    assert_eq!(after - dropped, 5);
    reply(&mut receiver, "reply", &receipt, json!({ "from": "the receiver" })).await;
    over(answered_reply(&mut receiver, "reply", &receipt, json!({ "from": "again" })).await);
    website
        .expect(&json!({ "op": 0, "t": "reply", "n": 1, "d": { "from": "the receiver" } }))
        .await;
    website.heartbeat().await;
}

#[tokio::test]
async fn a_faulty_reply_is_the_end_of_its_request() {
    let node = setup().set("cluster.event_bytes", 1000).start().await;
    ready(&node).await;
    let mut website = session(&node, "website", &json!({})).await;
    let mut receiver = bot(&node, &[]).await;
    let failed = |n: u64| json!({ "op": 0, "t": "reply_failed", "n": n, "d": { "code": "invalid_reply" } });
    let long = json!({ "prefix": "x".repeat(1000) });
    for (n, d, code, error) in [
        (1, json!({}), "invalid_data", Some("\"prefix\" is a required property")),
        (2, json!([]), "invalid_data", Some("Data must be an object.")),
        (3, long, "too_large", None),
    ] {
        ask(&mut website, "ask_settings", n, json!({})).await;
        let (receipt, _) = asked(&mut receiver, "ask_settings").await;
        let answer = answered_reply(&mut receiver, "reply", &receipt, d).await;
        assert_eq!(
            (&answer["t"], &answer["d"]["code"]),
            (&json!("event_refused"), &json!(code)),
            "{answer}"
        );
        assert_eq!(answer["d"]["errors"][0].as_str(), error, "{answer}");
        website.expect(&failed(n)).await;
        // The receipt is done with.
        let again = answered_reply(&mut receiver, "reply", &receipt, json!({ "prefix": "!" })).await;
        assert_eq!(again["d"]["code"], "receipt_over");
    }
    // An error needs no schema, but has to be an object.
    ask(&mut website, "ask_settings", 4, json!({})).await;
    let (receipt, _) = asked(&mut receiver, "ask_settings").await;
    reply(&mut receiver, "reply_error", &receipt, json!(7)).await;
    receiver.error(4005, 4005).await;
    website.expect(&failed(4)).await;
    let mut receiver = bot(&node, &[]).await;
    receiver.send(&json!({ "op": 1, "t": "reply", "d": {} })).await;
    let error = receiver.error(4005, 4005).await;
    assert_eq!(error["d"]["errors"], json!(["Receipt not provided."]));
}

#[tokio::test]
async fn a_request_has_a_nonce_and_requests_have_a_limit() {
    let node = setup().set("limits.requests_in_flight", 2).start().await;
    ready(&node).await;
    let mut receiver = bot(&node, &[]).await;
    let mut website = session(&node, "website", &json!({})).await;
    for n in 1..=3 {
        ask(&mut website, "ask_any", n, json!({})).await;
    }
    let refused = json!({ "code": "overloaded", "message": "Overloaded. Try again later." });
    website
        .expect(&json!({ "op": 0, "t": "event_refused", "n": 3, "d": refused }))
        .await;
    let (receipt, _) = asked(&mut receiver, "ask_any").await;
    reply(&mut receiver, "reply", &receipt, json!({})).await;
    assert_eq!(website.event("reply").await, json!({}));
    // There is room again.
    ask(&mut website, "ask_any", 4, json!({})).await;
    for _ in 0..2 {
        asked(&mut receiver, "ask_any").await;
    }
    // A key has its own limit.
    let asking = async || over_http(&node, "ask_any", json!({})).await;
    let answers = async {
        let (one, other) = tokio::join!(asking(), asking());
        [one.status, other.status]
    };
    let answering = async {
        let receipts = [
            asked(&mut receiver, "ask_any").await.0,
            asked(&mut receiver, "ask_any").await.0,
        ];
        let third = asking().await;
        assert_eq!(
            (third.status, &third.json()["code"]),
            (429, &json!("overloaded")),
            "{third:?}"
        );
        for receipt in receipts {
            reply(&mut receiver, "reply", &receipt, json!({})).await;
        }
    };
    assert_eq!(tokio::join!(answers, answering).0, [200, 200]);
    website.send(&json!({ "op": 1, "t": "ask_any", "d": {} })).await;
    let error = website.error(4005, 4005).await;
    assert_eq!(error["d"]["errors"], json!(["Nonce not provided."]));
}

#[tokio::test]
async fn each_path_of_http_takes_its_own_kind_of_event() {
    let node = one_node().await;
    let code = |response: ApiResponse| (response.status, response.json()["code"].as_str().unwrap().to_owned());
    let headers = [("authorization", &*format!("Bearer {}", key("service")))];
    let publish = json!({ "t": "ask_any", "d": {} }).to_string();
    let published = request(node.address(), "POST", "/api/v1/events", &headers, &publish).await;
    assert_eq!(code(published), (422, "invalid_data".to_owned()));
    for (name, d, expected) in [
        ("mark", json!({}), (422, "invalid_data")),
        ("nothing", json!({}), (422, "unknown_event")),
        ("ask_any", json!([]), (422, "invalid_data")),
        ("ask_any", json!({}), (409, "no_receiver")),
    ] {
        let (status, name_of_code) = code(over_http(&node, name, d).await);
        assert_eq!((status, &*name_of_code), expected, "{name}");
    }
    for (body, expected) in [
        ("[]", (400, "malformed")),
        (r#"["ask_any",{},null]"#, (400, "malformed")),
        (r#"{"t":"ask_any","d":{},"to":"all"}"#, (422, "invalid_data")),
    ] {
        let answer = code(request(node.address(), "POST", "/api/v1/requests", &headers, body).await);
        assert_eq!((answer.0, &*answer.1), expected, "{body}");
    }
    // An array is no event either, in a list or alone.
    for body in [r#"["mark",{},null]"#, r#"[["mark",{},null]]"#] {
        let answer = code(request(node.address(), "POST", "/api/v1/events", &headers, body).await);
        assert_eq!((answer.0, &*answer.1), (400, "malformed"), "{body}");
    }
    let without_key = request(node.address(), "POST", "/api/v1/requests", &[], "{}").await;
    assert_eq!(without_key.status, 401);
    let headers = [("authorization", &*format!("Bearer {}", key("website")))];
    let forbidden = request(node.address(), "POST", "/api/v1/requests", &headers, "{}").await;
    assert_eq!(code(forbidden), (403, "forbidden".to_owned()));
}

#[tokio::test]
async fn http_tells_why_there_is_no_reply() {
    let node = one_node().await;
    let mut receiver = bot(&node, &[]).await;
    let answering = async |receiver: &mut V1Client, event: &str, d: Value| {
        let (receipt, _) = asked(receiver, "ask_settings").await;
        reply(receiver, event, &receipt, d).await;
    };
    let (error, ()) = tokio::join!(over_http(&node, "ask_settings", json!({})), async {
        let (receipt, _) = asked(&mut receiver, "ask_settings").await;
        let text =
            r#"{"op":1,"t":"reply_error","r":"RECEIPT","d":{"code":"busy","n":1.50,"long":12345678901234567890123}}"#;
        receiver.send_text(&text.replace("RECEIPT", &receipt)).await;
    });
    // Byte for byte as the bot wrote it.
    let written = r#","error":{"code":"busy","n":1.50,"long":12345678901234567890123}}"#;
    assert!(error.body.ends_with(written), "{error:?}");
    assert_eq!((error.status, &error.json()["code"]), (502, &json!("error")));
    let (invalid, ()) = tokio::join!(
        over_http(&node, "ask_settings", json!({})),
        answering(&mut receiver, "reply", json!({}))
    );
    assert_eq!(
        (invalid.status, &invalid.json()["code"]),
        (502, &json!("invalid_reply"))
    );
    receiver.error(4005, 4005).await;
    let mut receiver = bot(&node, &[]).await;
    let timeout = over_http(&node, "ask_briefly", json!({})).await;
    assert_eq!((timeout.status, &timeout.json()["code"]), (504, &json!("timeout")));
    asked(&mut receiver, "ask_briefly").await;
    let (gone, _) = tokio::join!(over_http(&node, "ask_settings", json!({})), async {
        asked(&mut receiver, "ask_settings").await;
        receiver.close(1000).await
    });
    assert_eq!((gone.status, &gone.json()["code"]), (502, &json!("gone")));
}

#[tokio::test]
async fn a_request_is_refused_at_once_while_the_log_is_unavailable() {
    let (pairs, mut server) = backplanes().await;
    let [near, far] = &pairs[0];
    let mut website = session(near, "website", &json!({})).await;
    let mut receiver = bot(far, &[]).await;
    server.kill().await;
    eventually("a node that knows of the outage", async || {
        ask(&mut website, "ask_briefly", 1, json!({})).await;
        let answer = website.next().await;
        // Right after the kill it is not known yet whether the log has it.
        (answer["d"]["code"] == "unavailable").then_some(())
    })
    .await;
    server.restart().await;
    for node in [near, far] {
        ready(node).await;
    }
    eventually("a request after the restart", async || {
        ask(&mut website, "ask_any", 2, json!({})).await;
        tokio::select! {
            answer = website.next() => {
                assert_eq!(answer["t"], "event_refused", "{answer}");
                None
            }
            request = asked(&mut receiver, "ask_any") => Some(request.0),
        }
    })
    .await;
}

#[tokio::test]
async fn the_death_of_the_receivers_node_is_a_timeout() {
    let (mut pairs, _server) = backplanes().await;
    let [near, mut far] = pairs.remove(0);
    let mut website = session(&near, "website", &json!({})).await;
    let mut receiver = bot(&far, &[]).await;
    ask(&mut website, "ask_briefly", 1, json!({})).await;
    asked(&mut receiver, "ask_briefly").await;
    far.signal(Signal::SIGKILL);
    far.ended(Duration::from_secs(5)).await;
    website
        .expect(&json!({ "op": 0, "t": "reply_failed", "n": 1, "d": { "code": "timeout" } }))
        .await;
    // The node is not judged at once, but then its bot is no receiver any more.
    eventually("a refusal", async || {
        ask(&mut website, "ask_briefly", 2, json!({})).await;
        let answer = website.next().await;
        (answer["d"]["code"] == "no_receiver").then_some(())
    })
    .await;
}

#[tokio::test]
async fn requests_are_not_repeated_to_those_who_catch_up() {
    let node = one_node().await;
    let mut receiver = bot(&node, &["1"]).await;
    let mut website = session(&node, "website", &json!({})).await;
    let position = {
        website
            .send(&json!({ "op": 1, "t": "mark", "n": "mark", "d": {} }))
            .await;
        let accepted = website.event("event_accepted").await;
        accepted["position"].as_str().unwrap().to_owned()
    };
    receiver.event_among_others("mark").await;
    ask(&mut website, "ask_guild", 1, json!({ "guildId": "1" })).await;
    let (receipt, _) = asked(&mut receiver, "ask_guild").await;
    reply(&mut receiver, "reply", &receipt, json!({})).await;
    website.event("reply").await;
    let mut late = session(&node, "bot", &json!({ "after": position, "guilds": ["1"] })).await;
    late.event("GLOBAL_GUILD_COUNT").await;
    let caught_up = late.event("caught_up").await;
    assert_eq!(caught_up["events"], 0);
}

#[tokio::test]
async fn a_request_that_waits_too_long_for_a_slow_bot_is_not_written() {
    // Frames that the bot does not read, larger than the buffers of the sockets.
    let node = setup()
        .set("limits.outbox_age_ms", 60_000)
        .set("limits.outbox_bytes", 64 << 20)
        .start()
        .await;
    ready(&node).await;
    let mut slow = Raw::open_small(node.address(), "/?v=1").await;
    slow.frame().await.expect("a Hello");
    slow.send_text(&json!({ "op": 1, "t": "identify", "d": { "type": "bot", "key": key("bot") } }).to_string())
        .await;
    for _ in 0..2 {
        slow.frame().await.expect("a connect success and the counts");
    }
    let mut website = session(&node, "website", &json!({})).await;
    let big = "x".repeat(60_000);
    for n in 0..100 {
        website
            .send(&json!({ "op": 1, "t": "mark", "n": n, "d": { "big": big } }))
            .await;
        while website.next().await["n"] != n {}
    }
    assert!(
        metric(&node, "utilbot_outbox_bytes").await > 0,
        "the bot has read everything"
    );
    ask(&mut website, "ask_briefly", 100, json!({})).await;
    website
        .expect(&json!({ "op": 0, "t": "reply_failed", "n": 100, "d": { "code": "timeout" } }))
        .await;
    website.send(&json!({ "op": 1, "t": "mark", "n": 101, "d": {} })).await;
    while website.next().await["n"] != 101 {}
    let mut names = BTreeMap::<String, usize>::new();
    let began = Instant::now();
    while names.get("mark").is_none_or(|marks| *marks < 101) {
        let frame = slow.frame().await.expect("a frame");
        let payload: Value = serde_json::from_str(frame.text()).unwrap();
        *names
            .entry(payload["t"].as_str().unwrap_or_default().to_owned())
            .or_default() += 1;
        assert!(began.elapsed() < Duration::from_secs(60), "{names:?}");
    }
    assert_eq!(names.get("ask_briefly"), None, "{names:?}");
}

#[tokio::test]
async fn requests_are_spread_evenly_over_those_who_watch_a_guild() {
    let (pairs, _server) = backplanes().await;
    let workers = |setup: Setup| setup.set("server.workers", 2);
    let single = workers(setup()).start().await;
    ready(&single).await;
    let mut all: Vec<[&NodeProcess; 2]> = pairs.iter().map(|[one, other]| [one, other]).collect();
    all.push([&single, &single]);
    for [near, far] in all {
        let mut backends = Vec::new();
        for node in [near, far, near, far] {
            let mut backend = session(node, "website", &json!({})).await;
            let watching = json!({ "op": 1, "t": "watch_guilds", "n": 1, "d": { "guilds": ["5"] } });
            backend.send(&watching).await;
            backend.event("event_accepted").await;
            backends.push(backend);
        }
        let mut requester = session(near, "service", &json!({})).await;
        let mut got = [0; 4];
        for n in 0..80 {
            ask(&mut requester, "ask_guild", n, json!({ "guildId": "5" })).await;
            let ((place, receipt), _, _) = {
                let asked = backends
                    .iter_mut()
                    .enumerate()
                    .map(|(place, backend)| Box::pin(async move { (place, asked(backend, "ask_guild").await.0) }));
                futures_util::future::select_all(asked).await
            };
            got[place] += 1;
            reply(&mut backends[place], "reply", &receipt, json!({})).await;
            requester.event("reply").await;
        }
        assert!(got.iter().all(|count| (17..=23).contains(count)), "{got:?}");
    }
}

#[tokio::test]
async fn a_receipt_that_is_over_costs_one_packet() {
    let node = full_setup().set("limits.payloads_per_minute", 60).start().await;
    ready(&node).await;
    let mut bot = V1Client::session(&node, "bot", &key("bot")).await;
    // With the identify and the last heartbeat they make sixty.
    for _ in 0..50 {
        bot.send(&json!({ "op": 1, "t": "reply", "r": "x", "d": {} })).await;
    }
    bot.heartbeat().await;
    assert_eq!(
        metric(&node, "utilbot_packets_dropped_total{reason=\"receipt_over\"}").await,
        50
    );
}
