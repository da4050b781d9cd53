//! The metrics of nodes: what they count, and in which format.

use gateway_harness::{NodeProcess, RedisProcess, V1Client, eventually, full_setup, get, key, metric, ready, request};
use serde_json::json;

const ACCEPTED: &str = r#"utilbot_events_accepted_total{application="utilbot"}"#;

async fn node(redis: &RedisProcess) -> NodeProcess {
    let node = full_setup()
        .redis(&redis.url())
        .set("cluster.lease_ms", 1000)
        .start()
        .await;
    ready(&node).await;
    node
}

/// Publishes `count` events in one request, and returns the status.
async fn publish(node: &NodeProcess, count: usize, idempotency_key: Option<&str>) -> u16 {
    let bearer = format!("Bearer {}", key("root"));
    let mut headers = vec![("authorization", bearer.as_str())];
    headers.extend(idempotency_key.map(|key| ("idempotency-key", key)));
    let body = json!(vec![json!({ "t": "announce", "d": {} }); count]).to_string();
    let answer = request(node.address(), "POST", "/api/v1/events", &headers, &body).await;
    answer.status
}

#[tokio::test]
async fn the_sum_over_the_nodes_is_the_number_of_accepted_events() {
    let redis = RedisProcess::start().await;
    let nodes = [node(&redis).await, node(&redis).await, node(&redis).await];
    let mut bot = V1Client::session(&nodes[2], "bot", &key("bot")).await;
    let mut website = V1Client::session(&nodes[0], "website", &key("website")).await;
    assert_eq!(publish(&nodes[0], 3, None).await, 202);
    assert_eq!(publish(&nodes[1], 5, Some("order 7")).await, 202);
    for node in &nodes {
        assert_eq!(publish(node, 5, Some("order 7")).await, 202, "a repetition");
    }
    for number in 0..4 {
        website.send_event("announce", &json!({ "n": number })).await;
    }
    for _ in 0..12 {
        bot.event_among_others("announce").await;
    }
    let mut counted = Vec::new();
    for node in &nodes {
        counted.push(metric(node, ACCEPTED).await);
    }
    assert_eq!(counted, [3 + 4, 5, 0], "where they were accepted");
    // What a node has delivered from the log is another number: the second one has no session.
    for node in [&nodes[0], &nodes[2]] {
        eventually("both nodes have delivered every entry", async || {
            (metric(node, "utilbot_entries_total").await == 12).then_some(())
        })
        .await;
    }
    let first = metric(&nodes[0], "utilbot_publish_seconds_count").await;
    assert_eq!(first, 1 + 4, "each call is timed");
}

#[tokio::test]
async fn accept_decides_about_the_format() {
    let node = full_setup().start().await;
    let scrape = async |accept: Option<&str>| {
        let headers: Vec<_> = accept.map(|accept| ("accept", accept)).into_iter().collect();
        request(node.address(), "GET", "/metrics", &headers, "").await
    };
    let open = scrape(Some(
        "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5",
    ))
    .await;
    assert_eq!(
        open.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    assert!(open.body.ends_with("# EOF\n") && open.body.contains("# TYPE utilbot_deliveries counter\n"));
    for accept in [None, Some("*/*"), Some("text/plain;version=0.0.4")] {
        let text = scrape(accept).await;
        assert_eq!(
            text.header("content-type"),
            Some("text/plain; version=0.0.4; charset=utf-8")
        );
        assert!(
            text.body.contains("# TYPE utilbot_deliveries_total counter\n"),
            "{}",
            text.body
        );
        assert!(!text.body.contains("# EOF"), "{}", text.body);
    }
}

#[tokio::test]
async fn endings_and_responses_are_counted_by_their_cause() {
    let node = full_setup().start().await;
    let text = get(&node, "/metrics").await.body;
    // The first increase of a counter is seen only if it was there before.
    for counter in [ACCEPTED, r#"utilbot_session_endings_total{reason="reads too slowly"}"#] {
        assert!(text.contains(&format!("{counter} 0\n")), "{counter} is not in {text}");
    }
    drop(V1Client::session(&node, "bot", &key("bot")).await);
    V1Client::session(&node, "bot", &key("bot")).await.close(1000).await;
    for (reason, count) in [("connection lost", 1), ("client closed", 1)] {
        let name = format!("utilbot_session_endings_total{{reason=\"{reason}\"}}");
        eventually("the endings are counted", async || {
            (metric(&node, &name).await == count).then_some(())
        })
        .await;
    }
    assert_eq!(publish(&node, 1, None).await, 202);
    assert_eq!(get(&node, "/nowhere/at/all").await.status, 404);
    let responses = r#"utilbot_http_responses_total{route="/api/v1/events",code="202"}"#;
    assert_eq!(metric(&node, responses).await, 1);
    assert_eq!(
        metric(&node, r#"utilbot_http_responses_total{route="none",code="404"}"#).await,
        1
    );
    assert_eq!(metric(&node, "utilbot_identify_seconds_count").await, 2);
    assert!(metric(&node, "process_open_fds").await > 0);
    assert!(metric(&node, "utilbot_connections_limit").await > 0);
}
