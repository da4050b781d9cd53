//! What an administrator does to a connection on purpose, and that nobody else can.

use std::time::{Duration, Instant};

use gateway_harness::{
    KEYS, NodeProcess, RedisProcess, Setup, V1Client,
    discord::{ALL_INTENTS, DiscordClient},
    key, ready, request,
};
use serde_json::{Value, json};

const V10: &str = "v=10&encoding=json";

fn setup(is_chaotic: bool) -> Setup {
    let applications = "[[applications]]\nid = \"utilbot\"\nmax_concurrency = 1000\n";
    Setup::new()
        .file(&format!("{applications}{KEYS}"))
        .set("chaos.enabled", is_chaotic)
}

async fn node(is_chaotic: bool) -> NodeProcess {
    setup(is_chaotic).start().await
}

/// An order for every session; the status, and what the answer counts.
async fn order_all(node: &NodeProcess, who: &str, what: &str) -> (u16, Value) {
    let bearer = format!("Bearer {}", key(who));
    let target = format!("/api/v1/sessions/{what}");
    let answer = request(node.address(), "POST", &target, &[("authorization", &bearer)], "").await;
    let body = if answer.status == 200 {
        answer.json()
    } else {
        Value::Null
    };
    (answer.status, body)
}

async fn order(node: &NodeProcess, who: &str, id: &str, what: &str) -> u16 {
    let bearer = format!("Bearer {}", key(who));
    let target = format!("/api/v1/sessions/{id}/{what}");
    request(node.address(), "POST", &target, &[("authorization", &bearer)], "")
        .await
        .status
}

async fn session(node: &NodeProcess) -> (DiscordClient, String) {
    let (client, ready) = DiscordClient::session(node, V10, &key("bot"), ALL_INTENTS).await;
    (client, ready["session_id"].as_str().expect("an id").to_owned())
}

/// What a session answers that its client wants to go on with.
async fn resumes(node: &NodeProcess, id: &str) -> bool {
    let mut again = DiscordClient::greeted(node, V10).await;
    again.resume(&key("bot"), id, 1).await;
    again.next().await.t.as_deref() == Some("RESUMED")
}

#[tokio::test]
async fn faults_are_for_administrators_where_they_are_enabled() {
    let (calm, chaotic) = (node(false).await, node(true).await);
    let (_client, id) = session(&calm).await;
    for what in ["cut", "forget", "invalidate", "deafen?ms=1"] {
        assert_eq!(order(&calm, "root", &id, what).await, 403, "{what}");
    }
    let (_client, id) = session(&chaotic).await;
    for (who, what, status) in [
        ("bot", "cut", 403),
        ("root", "explode", 404),
        ("root", "close", 400),
        ("root", "close?code=1005", 400),
        ("root", "close?code=x", 400),
        ("root", "deafen", 400),
    ] {
        assert_eq!(order(&chaotic, who, &id, what).await, status, "{what}");
    }
    assert_eq!(order(&chaotic, "root", "5", "cut").await, 404);
}

#[tokio::test]
async fn a_connection_is_closed_with_any_code_or_cut_and_its_session_goes_on() {
    let node = node(true).await;
    let (mut client, id) = session(&node).await;
    assert_eq!(order(&node, "root", &id, "close?code=4009").await, 204);
    client.expect_close(4009).await;
    assert!(resumes(&node, &id).await);
    let (mut client, id) = session(&node).await;
    assert_eq!(order(&node, "root", &id, "cut").await, 204);
    assert_eq!(client.try_next().await, Err(None), "no close frame");
    assert!(resumes(&node, &id).await);
    let mut website = V1Client::session(&node, "website", &key("website")).await;
    let answer = request(
        node.address(),
        "GET",
        "/api/v1/sessions",
        &[("authorization", &format!("Bearer {}", key("root")))],
        "",
    )
    .await
    .json();
    let listed = answer["sessions"].as_array().expect("a list");
    let id = listed
        .iter()
        .find(|it| it["type"] == "website")
        .expect("the website is listed")["id"]
        .clone();
    assert_eq!(
        order(&node, "root", id.as_str().expect("an id"), "close?code=3999").await,
        204
    );
    website.error(1000, 3999).await;
}

#[tokio::test]
async fn a_session_is_invalidated_for_good_or_to_be_resumed() {
    let node = node(true).await;
    for is_resumable in [true, false] {
        let (mut client, id) = session(&node).await;
        let what = format!("invalidate?resumable={is_resumable}");
        assert_eq!(order(&node, "root", &id, &what).await, 204);
        assert_eq!(client.expect_op(9).await, json!(is_resumable));
        // On the same connection, as discord.js does.
        client.resume(&key("bot"), &id, 1).await;
        let answer = client.next().await;
        assert_eq!(answer.op == 0, is_resumable, "{answer:?}");
    }
}

#[tokio::test]
async fn a_session_is_forgotten_while_its_connection_lives_on() {
    let node = node(true).await;
    let (mut client, id) = session(&node).await;
    assert_eq!(order(&node, "root", &id, "forget").await, 204);
    client.heartbeat().await;
    drop(client);
    assert!(!resumes(&node, &id).await);
}

#[tokio::test]
async fn heartbeats_are_not_answered_for_a_while() {
    let node = node(true).await;
    let (mut client, id) = session(&node).await;
    assert_eq!(order(&node, "root", &id, "deafen?ms=3600000").await, 204);
    client.send(1, &Value::Null).await;
    client.send(43, &json!({"guild_id": "5"})).await;
    client.expect_dispatch("CHANNEL_INFO").await;
    assert_eq!(order(&node, "root", &id, "deafen?ms=0").await, 204);
    client.heartbeat().await;
}

#[tokio::test]
async fn what_is_ordered_of_one_session_is_ordered_of_all() {
    let node = node(true).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(session(&node).await);
    }
    assert_eq!(
        order_all(&node, "root", "invalidate?resumable=true&scope=node&spread_ms=0")
            .await
            .0,
        200
    );
    for (client, id) in &mut clients {
        assert_eq!(client.expect_op(9).await, json!(true));
        client.resume(&key("bot"), id, 1).await;
        client.expect_dispatch("RESUMED").await;
    }
    let mut website = V1Client::session(&node, "website", &key("website")).await;
    assert_eq!(
        order_all(&node, "root", "close?code=4009&spread_ms=0").await,
        (200, json!({ "sessions": 4 }))
    );
    website.error(1000, 4009).await;
    let mut resumed = Vec::new();
    for (mut client, id) in clients {
        client.expect_close(4009).await;
        let mut again = DiscordClient::greeted(&node, V10).await;
        again.resume(&key("bot"), &id, client.sequence()).await;
        again.expect_dispatch("RESUMED").await;
        resumed.push(again);
    }
    assert_eq!(
        order_all(&node, "root", "reconnect?spread_ms=50").await,
        (200, json!({ "sessions": 3 }))
    );
    for client in &mut resumed {
        client.expect_op(7).await;
    }
    for (who, what, status) in [
        ("bot", "reconnect", 403),
        ("root", "explode", 404),
        ("root", "close?spread_ms=0", 400),
        ("root", "cut?spread_ms=600001", 400),
        ("root", "cut?scope=world", 400),
        ("root", "deafen", 400),
    ] {
        assert_eq!(order_all(&node, who, what).await.0, status, "{what}");
    }
    let calm = self::node(false).await;
    assert_eq!(order_all(&calm, "root", "cut").await.0, 403);
    assert_eq!(
        order_all(&calm, "root", "reconnect").await,
        (200, json!({ "sessions": 0 }))
    );
}

#[tokio::test]
async fn an_order_for_all_is_spread_over_a_time() {
    let node = node(true).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(session(&node).await.0);
    }
    let start = Instant::now();
    assert_eq!(order_all(&node, "root", "close?code=4000&spread_ms=1000").await.0, 200);
    for client in &mut clients {
        client.expect_close(4000).await;
    }
    // That all of twenty moments lie in the first fifth happens once in 10^14 times.
    assert!(start.elapsed() > Duration::from_millis(200), "{:?}", start.elapsed());
}

#[tokio::test]
async fn an_order_for_the_cluster_reaches_the_sessions_of_every_node() {
    let redis = RedisProcess::start().await;
    let on = |is_chaotic| setup(is_chaotic).redis(&redis.url());
    let nodes = [on(true).start().await, on(true).start().await, on(false).start().await];
    let mut clients = Vec::new();
    for node in &nodes {
        ready(node).await;
        clients.push(session(node).await);
    }
    let all = (200, json!({ "nodes": 3 }));
    assert_eq!(
        order_all(&nodes[0], "root", "reconnect?scope=cluster&spread_ms=100").await,
        all
    );
    for (client, _) in &mut clients {
        client.expect_op(7).await;
    }
    // A fault is for those nodes alone that allow it.
    assert_eq!(order_all(&nodes[2], "root", "cut?scope=cluster").await.0, 403);
    assert_eq!(
        order_all(&nodes[0], "root", "invalidate?scope=cluster&spread_ms=0").await,
        all
    );
    let (mut calm, _) = clients.pop().expect("three of them");
    for (client, _) in &mut clients {
        assert_eq!(client.expect_op(9).await, json!(false));
    }
    calm.heartbeat().await;
}

#[tokio::test]
async fn hello_comes_later_for_a_while() {
    let node = node(true).await;
    for what in [
        "hello",
        "hello?delay_ms=1",
        "hello?delay_ms=60001&for_ms=1",
        "hello?delay_ms=1&for_ms=x",
    ] {
        assert_eq!(order_all(&node, "root", what).await.0, 400, "{what}");
    }
    assert_eq!(
        order_all(&self::node(false).await, "root", "hello?delay_ms=1&for_ms=1")
            .await
            .0,
        403
    );
    assert_eq!(order_all(&node, "bot", "hello?delay_ms=1&for_ms=1").await.0, 403);
    assert_eq!(order_all(&node, "root", "hello?delay_ms=700&for_ms=60000").await.0, 204);
    let start = Instant::now();
    let mut client = DiscordClient::connect(&node, V10).await;
    client.hello().await;
    assert!(start.elapsed() >= Duration::from_millis(700), "{:?}", start.elapsed());
    // Who is there already is not concerned, nor who comes when it is over.
    client.heartbeat().await;
    assert_eq!(order_all(&node, "root", "hello?delay_ms=60000&for_ms=0").await.0, 204);
    DiscordClient::greeted(&node, V10).await;
}
