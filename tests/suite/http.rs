//! The plain HTTP endpoints: health, metrics and publishing.

use gateway_harness::{PacketEncoding, Raw, Setup, V1Client, full_setup, get, key, metric, post, publish, request};
use serde_json::{Value, json};

#[tokio::test]
async fn health_describes_the_node() {
    let node = full_setup().set("node.name", "alpha").start().await;
    let _stranger = V1Client::greeted(&node, PacketEncoding::Plain).await;
    let _bot = V1Client::session(&node, "bot", &key("bot")).await;
    let _website = V1Client::session(&node, "website", &key("website")).await;
    let answer = get(&node, "/health").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let health = answer.json();
    for (field, expected) in [
        ("/status", json!("ok")),
        ("/node", json!("alpha")),
        ("/version", node.banner()["version"].clone()),
        ("/sessions/bot", json!(1)),
        ("/sessions/website", json!(1)),
        ("/sessions/service", json!(0)),
        ("/sessions/unidentified", json!(1)),
        ("/draining", json!(false)),
        ("/backplane/kind", json!("memory")),
    ] {
        assert_eq!(health.pointer(field), Some(&expected), "{field} in {health}");
    }
    assert!(health["uptime_seconds"].is_u64(), "{health}");
}

#[tokio::test]
async fn liveness_and_readiness_are_200_on_a_node_that_serves() {
    let node = Setup::new().start().await;
    for target in ["/livez", "/readyz"] {
        assert_eq!(get(&node, target).await.status, 200, "{target}");
    }
}

#[tokio::test]
async fn unknown_paths_answer_404_as_json() {
    let node = Setup::new().start().await;
    for (method, target) in [
        ("GET", "/nothing"),
        ("POST", "/api/v1/nothing"),
        ("DELETE", "/health/nothing"),
    ] {
        let answer = request(node.address(), method, target, &[], "").await;
        assert_eq!(answer.status, 404, "{method} {target}: {answer:?}");
        assert!(answer.json()["code"].is_string(), "{answer:?}");
    }
}

#[tokio::test]
async fn metrics_are_open_on_loopback_and_need_an_admin_key_if_not_public() {
    let node = Setup::new().start().await;
    let answer = get(&node, "/metrics").await;
    assert_eq!(answer.status, 200);
    assert!(
        answer.body.contains("\nutilbot_deliveries_total 0\n"),
        "{}",
        answer.body
    );

    let node = full_setup().set("metrics.public", false).start().await;
    for (key, expected) in [(None, 401), (Some(key("service")), 403), (Some(key("root")), 200)] {
        let bearer = key.map(|key| format!("Bearer {key}"));
        let headers: Vec<_> = bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
        assert_eq!(
            request(node.address(), "GET", "/metrics", &headers, "").await.status,
            expected
        );
    }
}

#[tokio::test]
async fn administration_has_its_own_listener() {
    let node = full_setup()
        .set("metrics.public", false)
        .set("admin.bind", "127.0.0.1:0")
        .start()
        .await;
    let admin = node.banner()["admin_address"].as_str().unwrap().parse().unwrap();
    for target in ["/metrics", "/health", "/livez", "/readyz"] {
        assert_eq!(request(admin, "GET", target, &[], "").await.status, 200, "{target}");
    }
    assert_eq!(request(admin, "POST", "/api/v1/events", &[], "{}").await.status, 404);
}

#[tokio::test]
async fn an_event_is_encoded_once_for_each_format() {
    let node = full_setup().start().await;
    let mut receivers = Vec::new();
    for index in 0..60 {
        let encoding = if index < 50 {
            PacketEncoding::Plain
        } else {
            PacketEncoding::Zlib
        };
        receivers.push(V1Client::session_in(&node, "website", &key("website"), encoding).await);
    }
    let count = async || {
        [
            metric(&node, "utilbot_encoded_text_total").await,
            metric(&node, "utilbot_encoded_zlib_total").await,
            metric(&node, "utilbot_entries_total").await,
            metric(&node, "utilbot_deliveries_total").await,
        ]
    };
    let before = count().await;
    for n in 0..10 {
        publish(&node, &key("service"), &json!({ "t": "announce", "d": { "n": n } })).await;
    }
    for receiver in &mut receivers {
        for n in 0..10 {
            assert_eq!(receiver.event("announce").await["n"], n);
        }
    }
    let after = count().await;
    let grown: Vec<_> = after.iter().zip(before).map(|(after, before)| after - before).collect();
    assert_eq!(grown[..3], [10, 10, 10]);
    assert_eq!(grown[3], 600);
}

#[tokio::test]
async fn a_published_event_answers_202_with_its_log_position_and_arrives() {
    let node = full_setup().start().await;
    let mut bot = V1Client::session(&node, "bot", &key("bot")).await;
    let first = publish(&node, &key("service"), &json!({ "t": "announce", "d": { "n": 1 } })).await;
    let second = publish(&node, &key("service"), &json!({ "t": "announce", "d": { "n": 2 } })).await;
    assert_eq!(
        first["offset"].as_u64().unwrap() + 1,
        second["offset"].as_u64().unwrap()
    );
    assert_eq!(first["epoch"], second["epoch"]);
    assert!(first["epoch"].is_string());
    for n in [1, 2] {
        assert_eq!(bot.event("announce").await, json!({ "n": n }));
    }
}

#[tokio::test]
async fn an_array_is_answered_with_an_array_and_arrives_in_order() {
    let node = full_setup().start().await;
    let mut bot = V1Client::session(&node, "bot", &key("bot")).await;
    let events: Vec<_> = (0..100).map(|n| json!({ "t": "announce", "d": { "n": n } })).collect();
    let positions = publish(&node, &key("service"), &json!(events)).await;
    let offsets: Vec<_> = positions
        .as_array()
        .unwrap()
        .iter()
        .map(|at| at["offset"].as_u64().unwrap())
        .collect();
    assert_eq!(offsets.len(), 100);
    assert!(offsets.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{offsets:?}");
    for n in 0..100 {
        assert_eq!(bot.event("announce").await, json!({ "n": n }));
    }
}

#[tokio::test]
async fn each_refusal_has_its_status_and_code() {
    let node = full_setup().start().await;
    let event = json!({ "t": "announce", "d": {} });
    let big = json!({ "t": "announce", "d": { "x": "x".repeat(4 << 20) } });
    let (good, bot) = (key("service"), key("bot"));
    let wrong = good.replace("correct", "wronged");
    let rows: Vec<(&str, &str, Value, u16, &str)> = vec![
        ("an unknown key", "nobody", event.clone(), 401, "unauthorised"),
        ("a wrong secret", &wrong, event.clone(), 401, "unauthorised"),
        ("an empty key", "", event.clone(), 401, "unauthorised"),
        ("no permission", &bot, event, 403, "forbidden"),
        (
            "another type's event",
            &good,
            json!({ "t": "site_only", "d": {} }),
            403,
            "not_allowed",
        ),
        (
            "no receiver for any",
            &good,
            json!({ "t": "job", "d": {} }),
            409,
            "no_receiver",
        ),
        (
            "no receiver in a guild",
            &good,
            json!({ "t": "guild_settings_changed", "d": { "guildId": "1" } }),
            409,
            "no_receiver",
        ),
        ("too large", &good, big, 413, "too_large"),
        (
            "unknown",
            &good,
            json!({ "t": "nonsense", "d": {} }),
            422,
            "unknown_event",
        ),
        ("no d", &good, json!({ "t": "announce" }), 422, "invalid_data"),
        (
            "d of the wrong shape",
            &good,
            json!({ "t": "announce", "d": [] }),
            422,
            "invalid_data",
        ),
        (
            "d against the schema",
            &good,
            json!({ "t": "checked", "d": {} }),
            422,
            "invalid_data",
        ),
        (
            "no guild id",
            &good,
            json!({ "t": "guild_settings_changed", "d": {} }),
            422,
            "invalid_data",
        ),
        ("no t", &good, json!({ "d": {} }), 400, "malformed"),
        (
            "t of the wrong shape",
            &good,
            json!({ "t": 7, "d": {} }),
            400,
            "malformed",
        ),
        ("no object", &good, json!(7), 400, "malformed"),
        ("an empty array", &good, json!([]), 400, "malformed"),
    ];
    for (what, key, body, status, code) in rows {
        let answer = post(&node, key, &body.to_string()).await;
        assert_eq!(
            (answer.status, answer.json()["code"].as_str()),
            (status, Some(code)),
            "{what}: {answer:?}"
        );
        assert!(answer.json()["message"].is_string(), "{what}: {answer:?}");
    }
    let answer = post(&node, &good, "{\"t\":").await;
    assert_eq!(
        (answer.status, answer.json()["code"].as_str()),
        (400, Some("malformed"))
    );
    let answer = request(node.address(), "POST", "/api/v1/events", &[], "{}").await;
    assert_eq!(
        (answer.status, answer.header("www-authenticate")),
        (401, Some("Bearer"))
    );
}

#[tokio::test]
async fn a_body_too_large_is_413() {
    let node = full_setup().start().await;
    let answer = post(&node, &key("service"), &" ".repeat(9 << 20)).await;
    assert_eq!(answer.status, 413);
    assert_eq!(answer.json()["code"], "too_large");
}

#[tokio::test]
async fn an_array_is_all_or_nothing() {
    let node = full_setup().start().await;
    let mut bot = V1Client::session(&node, "bot", &key("bot")).await;
    let good = json!({ "t": "announce", "d": { "n": "first" } });
    for (bad, status) in [
        (json!({ "t": "nonsense", "d": {} }), 422),
        (json!({ "t": "checked", "d": {} }), 422),
        (json!({ "t": "site_only", "d": {} }), 403),
        (json!({ "t": "guild_settings_changed", "d": { "guildId": "1" } }), 409),
        (json!({ "t": 1 }), 400),
    ] {
        for events in [json!([good, bad]), json!([bad, good])] {
            let answer = post(&node, &key("service"), &events.to_string()).await;
            assert_eq!(answer.status, status, "{answer:?}");
        }
    }
    publish(
        &node,
        &key("service"),
        &json!({ "t": "announce", "d": { "n": "marker" } }),
    )
    .await;
    assert_eq!(bot.event("announce").await, json!({ "n": "marker" }));
}

#[tokio::test]
async fn an_http_publisher_has_the_types_of_its_key() {
    let node = full_setup().start().await;
    let mut website = V1Client::session(&node, "website", &key("website")).await;
    publish(
        &node,
        &key("root"),
        &json!({ "t": "site_only", "d": { "as": "website" } }),
    )
    .await;
    assert_eq!(website.event("site_only").await, json!({ "as": "website" }));
}

#[tokio::test]
async fn an_event_over_http_also_reaches_a_session_of_the_same_key() {
    let node = full_setup().start().await;
    let mut service = V1Client::session(&node, "service", &key("service")).await;
    publish(
        &node,
        &key("service"),
        &json!({ "t": "announce", "d": { "over": "http" } }),
    )
    .await;
    assert_eq!(service.event("announce").await, json!({ "over": "http" }));
}

#[tokio::test]
async fn an_overloaded_node_answers_503() {
    let node = full_setup().set("cluster.hold_bytes", 1).start().await;
    let mut website = V1Client::session(&node, "website", &key("website")).await;
    // The first event is accepted because the queue is empty; the second arrives before the worker has taken the first.
    let body = r#"{"t":"announce","d":{}}"#;
    let post = format!(
        "POST /api/v1/events HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n{body}",
        key("service"),
        body.len()
    );
    let last = post.replace("host: gateway", "host: gateway\r\nconnection: close");
    let mut pipeline = Raw::connect(node.address()).await;
    pipeline.send(format!("{}{last}", post.repeat(9)).as_bytes()).await;
    let answers = pipeline.text_to_end().await;
    assert!(answers.starts_with("HTTP/1.1 202 "), "{answers}");
    assert!(answers.contains("HTTP/1.1 503 "), "{answers}");
    assert!(answers.contains(r#""code":"overloaded""#), "{answers}");
    website.event("announce").await;
}
