//! Discord sessions on nodes that share a Redis: if a node or Redis fails, a session resumes elsewhere with every event
//! once and contiguous sequence numbers, or gets op 9.
//!
//! The client counts the dispatches itself, so any gap in their sequence numbers fails the test.

mod losses;

use std::time::Duration;

use gateway_harness::{
    KEYS, NodeProcess, PacketEncoding, RedisProcess, Setup, V1Client,
    discord::{ALL_INTENTS, DiscordClient},
    eventually, key, post, publish, ready,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

const V10: &str = "v=10&encoding=json";
const ZLIB: &str = "v=10&encoding=json&compress=zlib-stream";
/// How long a node may take to stop on a busy machine.
const SLACK: Duration = Duration::from_secs(10);

fn setup(redis: &RedisProcess) -> Setup {
    let applications = "[[applications]]\nid = \"utilbot\"\nmax_concurrency = 1000\n";
    Setup::new()
        .file(&format!("{applications}{KEYS}"))
        .redis(&redis.url())
        .set("cluster.lease_ms", 2000)
}

async fn start(setup: Setup) -> NodeProcess {
    let node = setup.start().await;
    ready(&node).await;
    node
}

async fn node(redis: &RedisProcess) -> NodeProcess {
    start(setup(redis)).await
}

fn token() -> String {
    key("bot")
}

async fn session(node: &NodeProcess, query: &str) -> (DiscordClient, String) {
    let (client, ready) = DiscordClient::session(node, query, &token(), ALL_INTENTS).await;
    (client, ready["session_id"].as_str().expect("an id").to_owned())
}

/// Connects to a node and sends a Resume.
async fn resumed(node: &NodeProcess, query: &str, id: &str, seq: u64) -> DiscordClient {
    let mut client = DiscordClient::greeted(node, query).await;
    client.resume(&token(), id, seq).await;
    client
}

async fn publish_numbers(node: &NodeProcess, numbers: impl IntoIterator<Item = u64>) {
    for n in numbers {
        let event = json!({ "t": "X", "to": "all", "d": { "n": n } });
        publish(node, &key("root"), &event).await;
    }
}

async fn expect_numbers(client: &mut DiscordClient, numbers: impl IntoIterator<Item = u64>) {
    for n in numbers {
        assert_eq!(client.expect_dispatch("X").await["n"], n);
    }
}

/// Waits until the node accepts events again after a Redis outage, by publishing `Y` until that succeeds.
async fn wait_until_accepting(node: &NodeProcess) {
    eventually("the node accepts events again", async || {
        let event = json!({ "t": "Y", "to": "all", "d": {} }).to_string();
        (post(node, &key("root"), &event).await.status == 202).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_session_survives_the_death_of_its_node() {
    let redis = RedisProcess::start().await;
    let (mut dying, second, third) = (node(&redis).await, node(&redis).await, node(&redis).await);
    for query in [V10, ZLIB] {
        let (mut client, id) = session(&second, query).await;
        publish_numbers(&third, 0..5).await;
        expect_numbers(&mut client, 0..5).await;
        client.heartbeat().await;
        publish_numbers(&second, 5..10).await;
        expect_numbers(&mut client, 5..8).await;
        // The client has not read the events after these.
        let seen = client.sequence();
        drop(client);
        // This is the first session on the third node, which has not followed the log so far.
        let mut again = resumed(&third, query, &id, seen).await;
        expect_numbers(&mut again, 8..10).await;
        assert_eq!(again.expect_dispatch("RESUMED").await, json!({}));
        publish_numbers(&second, 10..12).await;
        expect_numbers(&mut again, 10..12).await;
    }
    let (mut client, id) = session(&dying, V10).await;
    publish_numbers(&third, 0..20).await;
    expect_numbers(&mut client, 0..20).await;
    let seen = client.sequence();
    dying.signal(Signal::SIGKILL);
    dying.ended(SLACK).await;
    publish_numbers(&third, 20..40).await;
    let mut again = resumed(&second, V10, &id, seen).await;
    expect_numbers(&mut again, 20..40).await;
    again.expect_dispatch("RESUMED").await;
    publish_numbers(&third, 40..42).await;
    expect_numbers(&mut again, 40..42).await;
    // Resume once more, from a position that the first node never reached.
    let seen = again.sequence();
    drop(again);
    publish_numbers(&second, 42..44).await;
    let mut third_time = resumed(&third, V10, &id, seen).await;
    expect_numbers(&mut third_time, 42..44).await;
    third_time.expect_dispatch("RESUMED").await;
}

#[tokio::test]
async fn a_session_resumes_on_a_node_that_had_no_receiver() {
    let redis = RedisProcess::start().await;
    let events = "[[events]]\nname = \"X\"\nfrom = [\"service\"]\nto = [\"bot\", \"discord\"]\n";
    let [mut first, second] = [
        start(setup(&redis).more(events)).await,
        start(setup(&redis).more(events)).await,
    ];
    // The second node follows the log because of a website, which receives none of the events.
    let mut website = V1Client::greeted(&second, PacketEncoding::Plain).await;
    website.identify("website", &key("website")).await;
    let (mut client, id) = session(&first, V10).await;
    for n in 0..300 {
        publish(&second, &key("service"), &json!({ "t": "X", "d": { "n": n } })).await;
    }
    expect_numbers(&mut client, 0..100).await;
    let seen = client.sequence();
    first.signal(Signal::SIGKILL);
    first.ended(SLACK).await;
    let mut again = resumed(&second, V10, &id, seen).await;
    expect_numbers(&mut again, 100..300).await;
    again.expect_dispatch("RESUMED").await;
}

#[tokio::test]
async fn a_session_resumed_on_another_node_is_closed_on_the_first() {
    let redis = RedisProcess::start().await;
    let (one, two) = (node(&redis).await, node(&redis).await);
    let (mut first, id) = session(&one, V10).await;
    let mut second = resumed(&two, V10, &id, 1).await;
    second.expect_dispatch("RESUMED").await;
    first.expect_close(4000).await;
    publish_numbers(&one, 0..3).await;
    expect_numbers(&mut second, 0..3).await;
    // The end of the first connection does not end the session.
    drop(first);
    publish_numbers(&one, 3..5).await;
    expect_numbers(&mut second, 3..5).await;
    assert_eq!(second.close(1000).await, Some(1000));
    let mut gone = resumed(&one, V10, &id, 1).await;
    assert_eq!(gone.expect_op(9).await, json!(false));
}

#[tokio::test]
async fn a_draining_node_asks_to_reconnect_and_loses_nothing() {
    let redis = RedisProcess::start().await;
    let (mut leaving, staying) = (node(&redis).await, node(&redis).await);
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(session(&leaving, V10).await);
    }
    publish_numbers(&staying, 0..3).await;
    leaving.signal(Signal::SIGTERM);
    let mut moved = Vec::new();
    for (mut client, id) in clients {
        expect_numbers(&mut client, 0..3).await;
        assert_eq!(client.expect_op(7).await, Value::Null);
        let seen = client.sequence();
        drop(client);
        moved.push(resumed(&staying, V10, &id, seen).await);
    }
    for client in &mut moved {
        client.expect_dispatch("RESUMED").await;
    }
    publish_numbers(&staying, 3..6).await;
    for client in &mut moved {
        expect_numbers(client, 3..6).await;
    }
    assert!(leaving.ended(SLACK).await.success());
}

#[tokio::test]
async fn a_redis_restart_with_its_data_loses_no_session() {
    let mut redis = RedisProcess::start().await;
    let (one, two) = (node(&redis).await, node(&redis).await);
    let mut sessions = [
        (session(&one, V10).await, V10, &two),
        (session(&two, ZLIB).await, ZLIB, &one),
    ];
    publish_numbers(&two, 0..5).await;
    for ((client, _), ..) in &mut sessions {
        expect_numbers(client, 0..5).await;
        client.heartbeat().await;
    }
    redis.kill().await;
    redis.restart().await;
    wait_until_accepting(&two).await;
    // No client has lost its connection or an event.
    for ((client, _), ..) in &mut sessions {
        client.expect_dispatch("Y").await;
    }
    publish_numbers(&two, 5..8).await;
    let mut left = Vec::new();
    for ((mut client, id), query, other) in sessions {
        expect_numbers(&mut client, 5..8).await;
        // The client has to acknowledge the events of the new epoch: without that, another node cannot tell them from
        // lost ones.
        client.heartbeat().await;
        left.push((id, client.sequence(), query, other));
    }
    publish_numbers(&one, 8..10).await;
    for (id, seen, query, other) in left {
        let mut again = resumed(other, query, &id, seen).await;
        expect_numbers(&mut again, 8..10).await;
        assert_eq!(again.expect_dispatch("RESUMED").await, json!({}));
    }
}

/// Runs the tool `rolling` with few sessions: each of three nodes is restarted under load.
#[tokio::test]
async fn load_a_rolling_deploy_loses_nothing_and_every_session_resumes() {
    let options = gateway_chaos::rolling::RollingOptions {
        sessions: 60,
        shards: 6,
        rate: 60,
        rounds: 1,
        json: None,
    };
    let report = gateway_chaos::rolling::run(&options).await.expect("the run completes");
    println!("{report}");
    assert_eq!(gateway_harness::ToolReport::failures(&report), Vec::<String>::new());
}
