//! What an administrator does to a connection on purpose, and that nobody else can.

use gateway_tests::{
    Client, KEYS, Node, Setup,
    discord::{ALL_INTENTS, DiscordClient},
    key, request,
};
use serde_json::{Value, json};

const V10: &str = "v=10&encoding=json";

async fn node(is_chaotic: bool) -> Node {
    let applications = "[[applications]]\nid = \"utilbot\"\nmax_concurrency = 1000\n";
    Setup::new()
        .file(&format!("{applications}{KEYS}"))
        .set("chaos.enabled", is_chaotic)
        .start()
        .await
}

async fn order(node: &Node, who: &str, id: &str, what: &str) -> u16 {
    let bearer = format!("Bearer {}", key(who));
    let target = format!("/api/v1/sessions/{id}/{what}");
    request(node.address(), "POST", &target, &[("authorization", &bearer)], "")
        .await
        .status
}

async fn session(node: &Node) -> (DiscordClient, String) {
    let (client, ready) = DiscordClient::session(node, V10, &key("bot"), ALL_INTENTS).await;
    (client, ready["session_id"].as_str().expect("an id").to_owned())
}

/// What a session answers that its client wants to go on with.
async fn resumes(node: &Node, id: &str) -> bool {
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
    let mut website = Client::session(&node, "website", &key("website")).await;
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
