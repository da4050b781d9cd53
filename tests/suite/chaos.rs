//! Fault injection over HTTP: what an administrator can do to sessions, and that no other key can.

use std::time::{Duration, Instant};

use gateway_harness::{
    KEYS, NodeProcess, RedisProcess, Setup, V1Client,
    discord::{ALL_INTENTS, DiscordClient},
    key, ready, request,
};
use serde_json::{Value, json};

const V10: &str = "v=10&encoding=json";

fn setup(has_chaos: bool) -> Setup {
    let applications = "[[applications]]\nid = \"utilbot\"\nmax_concurrency = 1000\n";
    Setup::new()
        .file(&format!("{applications}{KEYS}"))
        .set("chaos.enabled", has_chaos)
}

async fn node(has_chaos: bool) -> NodeProcess {
    setup(has_chaos).start().await
}

/// Sends a command for all sessions. Returns the status and, if it is 200, the body with the number reached.
async fn command_all(node: &NodeProcess, who: &str, what: &str) -> (u16, Value) {
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

async fn command(node: &NodeProcess, who: &str, id: &str, what: &str) -> u16 {
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

/// Tries to resume a session. Returns whether it succeeded.
async fn resumes(node: &NodeProcess, id: &str) -> bool {
    let mut again = DiscordClient::greeted(node, V10).await;
    again.resume(&key("bot"), id, 1).await;
    again.next().await.t.as_deref() == Some("RESUMED")
}

#[tokio::test]
async fn faults_need_an_admin_key_and_chaos_enabled() {
    let (without_chaos, with_chaos) = (node(false).await, node(true).await);
    let (_client, id) = session(&without_chaos).await;
    for what in ["cut", "forget", "invalidate", "deafen?ms=1"] {
        assert_eq!(command(&without_chaos, "root", &id, what).await, 403, "{what}");
    }
    let (_client, id) = session(&with_chaos).await;
    for (who, what, status) in [
        ("bot", "cut", 403),
        ("root", "explode", 404),
        ("root", "close", 400),
        ("root", "close?code=1005", 400),
        ("root", "close?code=x", 400),
        ("root", "deafen", 400),
    ] {
        assert_eq!(command(&with_chaos, who, &id, what).await, status, "{what}");
    }
    assert_eq!(command(&with_chaos, "root", "5", "cut").await, 404);
}

#[tokio::test]
async fn a_closed_or_cut_connection_leaves_its_session_resumable() {
    let node = node(true).await;
    let (mut client, id) = session(&node).await;
    assert_eq!(command(&node, "root", &id, "close?code=4009").await, 204);
    client.expect_close(4009).await;
    assert!(resumes(&node, &id).await);
    let (mut client, id) = session(&node).await;
    assert_eq!(command(&node, "root", &id, "cut").await, 204);
    assert_eq!(client.try_next().await, Err(None), "cut without a close frame");
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
        command(&node, "root", id.as_str().expect("an id"), "close?code=3999").await,
        204
    );
    website.error(1000, 3999).await;
}

#[tokio::test]
async fn a_session_is_invalidated_as_resumable_or_not() {
    let node = node(true).await;
    for is_resumable in [true, false] {
        let (mut client, id) = session(&node).await;
        let what = format!("invalidate?resumable={is_resumable}");
        assert_eq!(command(&node, "root", &id, &what).await, 204);
        assert_eq!(client.expect_op(9).await, json!(is_resumable));
        // On the same connection, as discord.js does.
        client.resume(&key("bot"), &id, 1).await;
        let answer = client.next().await;
        assert_eq!(answer.op == 0, is_resumable, "{answer:?}");
    }
}

#[tokio::test]
async fn a_session_ended_by_the_forget_command_keeps_its_connection_but_cannot_resume() {
    let node = node(true).await;
    let (mut client, id) = session(&node).await;
    assert_eq!(command(&node, "root", &id, "forget").await, 204);
    client.heartbeat().await;
    drop(client);
    assert!(!resumes(&node, &id).await);
}

#[tokio::test]
async fn a_deafened_session_gets_no_heartbeat_acks() {
    let node = node(true).await;
    let (mut client, id) = session(&node).await;
    assert_eq!(command(&node, "root", &id, "deafen?ms=3600000").await, 204);
    client.send(1, &Value::Null).await;
    client.send(43, &json!({"guild_id": "5"})).await;
    client.expect_dispatch("CHANNEL_INFO").await;
    assert_eq!(command(&node, "root", &id, "deafen?ms=0").await, 204);
    client.heartbeat().await;
}

#[tokio::test]
async fn session_commands_work_for_all_sessions() {
    let node = node(true).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(session(&node).await);
    }
    assert_eq!(
        command_all(&node, "root", "invalidate?resumable=true&scope=node&spread_ms=0")
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
        command_all(&node, "root", "close?code=4009&spread_ms=0").await,
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
        command_all(&node, "root", "reconnect?spread_ms=50").await,
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
        assert_eq!(command_all(&node, who, what).await.0, status, "{what}");
    }
    let without_chaos = self::node(false).await;
    assert_eq!(command_all(&without_chaos, "root", "cut").await.0, 403);
    assert_eq!(
        command_all(&without_chaos, "root", "reconnect").await,
        (200, json!({ "sessions": 0 }))
    );
}

#[tokio::test]
async fn a_command_for_all_sessions_is_spread_over_time() {
    let node = node(true).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(session(&node).await.0);
    }
    let start = Instant::now();
    assert_eq!(
        command_all(&node, "root", "close?code=4000&spread_ms=1000").await.0,
        200
    );
    for client in &mut clients {
        client.expect_close(4000).await;
    }
    // The chance that all twenty random times fall into the first fifth is 1 in 10^14.
    assert!(start.elapsed() > Duration::from_millis(200), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_cluster_command_reaches_the_sessions_of_every_node() {
    let redis = RedisProcess::start().await;
    let on = |has_chaos| setup(has_chaos).redis(&redis.url());
    let nodes = [on(true).start().await, on(true).start().await, on(false).start().await];
    let mut clients = Vec::new();
    for node in &nodes {
        ready(node).await;
        clients.push(session(node).await);
    }
    let all = (200, json!({ "nodes": 3 }));
    assert_eq!(
        command_all(&nodes[0], "root", "reconnect?scope=cluster&spread_ms=100").await,
        all
    );
    for (client, _) in &mut clients {
        client.expect_op(7).await;
    }
    // Only nodes with `chaos.enabled` apply faults.
    assert_eq!(command_all(&nodes[2], "root", "cut?scope=cluster").await.0, 403);
    assert_eq!(
        command_all(&nodes[0], "root", "invalidate?scope=cluster&spread_ms=0").await,
        all
    );
    let (mut without_chaos, _) = clients.pop().expect("three clients");
    for (client, _) in &mut clients {
        assert_eq!(client.expect_op(9).await, json!(false));
    }
    without_chaos.heartbeat().await;
}

#[tokio::test]
async fn hello_is_delayed_while_a_delay_is_set() {
    let node = node(true).await;
    for what in [
        "hello",
        "hello?delay_ms=1",
        "hello?delay_ms=60001&for_ms=1",
        "hello?delay_ms=1&for_ms=x",
    ] {
        assert_eq!(command_all(&node, "root", what).await.0, 400, "{what}");
    }
    assert_eq!(
        command_all(&self::node(false).await, "root", "hello?delay_ms=1&for_ms=1")
            .await
            .0,
        403
    );
    assert_eq!(command_all(&node, "bot", "hello?delay_ms=1&for_ms=1").await.0, 403);
    assert_eq!(
        command_all(&node, "root", "hello?delay_ms=700&for_ms=60000").await.0,
        204
    );
    let start = Instant::now();
    let mut client = DiscordClient::connect(&node, V10).await;
    client.hello().await;
    assert!(start.elapsed() >= Duration::from_millis(700), "{:?}", start.elapsed());
    // Existing connections are not affected, nor are new ones once the delay is over.
    client.heartbeat().await;
    assert_eq!(command_all(&node, "root", "hello?delay_ms=60000&for_ms=0").await.0, 204);
    DiscordClient::greeted(&node, V10).await;
}
