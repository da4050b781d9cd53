//! What one key may publish over HTTP, and how many idempotency keys an application has.

use gateway_harness::{
    ApiResponse, NodeProcess, RedisProcess, Setup, V1Client, full_setup, key, metric, post, ready, request,
};
use serde_json::{Value, json};

/// Two events a minute: of ten seconds' worth, which is less than one event, a full allowance lets a request pass.
fn one_event() -> Setup {
    full_setup().set("limits.publish_events_per_minute", 2)
}

fn event() -> String {
    json!({ "t": "announce", "d": {} }).to_string()
}

fn list(events: usize) -> String {
    json!(vec![json!({ "t": "announce", "d": {} }); events]).to_string()
}

/// A refusal of this kind, which says when to come again.
fn assert_limited(answer: &ApiResponse, code: &str, seconds: std::ops::RangeInclusive<u64>) {
    assert_eq!(answer.status, 429, "{answer:?}");
    assert_eq!(answer.json()["code"], code);
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!(seconds.contains(&wait), "{wait}");
}

async fn repeatable(node: &NodeProcess, name: &str) -> ApiResponse {
    let bearer = format!("Bearer {}", key("service"));
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", name)];
    request(node.address(), "POST", "/api/v1/events", &headers, &event()).await
}

#[tokio::test]
async fn a_key_that_has_published_enough_is_429_and_others_go_on() {
    let node = one_event().start().await;
    let mut bot = V1Client::session(&node, "bot", &key("bot")).await;
    assert_eq!(post(&node, &key("service"), &event()).await.status, 202);
    assert_limited(&post(&node, &key("service"), &event()).await, "rate_limited", 1..=30);
    assert_limited(&post(&node, &key("service"), &list(2)).await, "rate_limited", 1..=30);
    let refused = "utilbot_events_refused_total{reason=\"rate_limited\"}";
    assert_eq!(metric(&node, refused).await, 2);
    // Nothing of what was refused is in the log.
    let next = post(
        &node,
        &key("root"),
        &json!({ "t": "announce", "d": { "n": 2 } }).to_string(),
    )
    .await;
    assert_eq!(next.json()["offset"], 2);
    assert_eq!(bot.event("announce").await, json!({}));
    assert_eq!(bot.event("announce").await, json!({ "n": 2 }));
}

#[tokio::test]
async fn a_list_counts_every_event_and_passes_whole_from_a_full_allowance() {
    let node = one_event().start().await;
    let answer = post(&node, &key("service"), &list(100)).await;
    assert_eq!(answer.json().as_array().map(Vec::len), Some(100), "{answer:?}");
    // Fifty minutes of the rate.
    assert_limited(
        &post(&node, &key("service"), &event()).await,
        "rate_limited",
        2900..=3000,
    );
}

#[tokio::test]
async fn a_request_that_is_wrong_is_charged_as_well() {
    let node = one_event().start().await;
    assert_eq!(post(&node, &key("service"), "[{").await.status, 400);
    assert_limited(&post(&node, &key("service"), "[{").await, "rate_limited", 1..=30);
}

#[tokio::test]
async fn bytes_of_bodies_are_limited_beside_events() {
    let node = full_setup().set("limits.publish_bytes_per_minute", 60).start().await;
    assert_eq!(post(&node, &key("service"), &event()).await.status, 202);
    assert_limited(&post(&node, &key("service"), &event()).await, "rate_limited", 1..=60);
    // A guild is an entry of the log like others.
    let bearer = format!("Bearer {}", key("root"));
    let headers = [("authorization", bearer.as_str())];
    let guild = async |target: &str, body: Value| {
        let target = format!("/api/v1/applications/utilbot/guilds/{target}");
        request(node.address(), "PUT", &target, &headers, &body.to_string()).await
    };
    assert_eq!(guild("7", json!({ "name": "first" })).await.status, 202);
    assert_limited(&guild("7", json!({ "name": "first" })).await, "rate_limited", 1..=60);
    let members = json!([{ "user": { "id": "1" } }]);
    assert_limited(&guild("7/members", members).await, "rate_limited", 1..=60);
}

#[tokio::test]
async fn guilds_and_members_count_as_events() {
    for (method, target, body) in [
        ("PUT", "7", json!({ "name": "second" }).to_string()),
        ("PUT", "7/members", json!([{ "user": { "id": "1" } }]).to_string()),
        ("DELETE", "7", String::new()),
    ] {
        let node = one_event().start().await;
        let bearer = format!("Bearer {}", key("root"));
        let headers = [("authorization", bearer.as_str())];
        let about = async |method: &str, target: &str, body: &str| {
            let target = format!("/api/v1/applications/utilbot/guilds/{target}");
            request(node.address(), method, &target, &headers, body).await
        };
        assert_eq!(
            about("PUT", "7", &json!({ "name": "first" }).to_string()).await.status,
            202
        );
        assert_limited(&about(method, target, &body).await, "rate_limited", 1..=30);
    }
}

#[tokio::test]
async fn sockets_have_their_own_limit() {
    let node = one_event().start().await;
    let mut website = V1Client::session(&node, "website", &key("website")).await;
    let mut bot = V1Client::session(&node, "bot", &key("bot")).await;
    for n in 0..20 {
        website.send_event("announce", &json!({ "n": n })).await;
    }
    for n in 0..20 {
        assert_eq!(bot.event("announce").await, json!({ "n": n }));
    }
}

/// The same on both backplanes.
async fn idempotency_keys_are_bounded(node: &NodeProcess) {
    for name in ["a", "b"] {
        assert_eq!(repeatable(node, name).await.status, 202);
    }
    for _ in 0..2 {
        assert_limited(&repeatable(node, "c").await, "too_many_idempotency_keys", 1..=600);
    }
    let again = repeatable(node, "a").await;
    assert_eq!((again.status, &again.json()["offset"]), (202, &json!(1)));
    let without = post(node, &key("service"), &event()).await;
    assert_eq!((without.status, &without.json()["offset"]), (202, &json!(3)));
    let refused = "utilbot_events_refused_total{reason=\"too_many_idempotency_keys\"}";
    assert_eq!(metric(node, refused).await, 2);
}

#[tokio::test]
async fn new_idempotency_keys_are_429_at_the_bound_and_known_ones_go_on() {
    let node = full_setup().set("limits.idempotency_keys", 2).start().await;
    idempotency_keys_are_bounded(&node).await;
}

#[tokio::test]
async fn new_idempotency_keys_are_429_at_the_bound_with_redis_too() {
    let redis = RedisProcess::start().await;
    let node = full_setup()
        .set("limits.idempotency_keys", 2)
        .redis(&redis.url())
        .start()
        .await;
    ready(&node).await;
    idempotency_keys_are_bounded(&node).await;
}
