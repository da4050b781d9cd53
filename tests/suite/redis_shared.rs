//! A Redis that is shared: with other clusters in other databases, and with programs that publish or subscribe to its
//! channels.

use std::time::Duration;

use gateway_harness::{
    NodeProcess, RedisProcess, V1Client, eventually, full_setup, key, publish, ready, request, within,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const HEAD: &str = "utilbot:{utilbot}:log:head";

/// Starts a node that uses this database of the server.
async fn node_in(redis: &RedisProcess, database: u8) -> NodeProcess {
    let url = format!("{}{database}", redis.url());
    let setup = full_setup().redis(&url).set("redis.prefix", "utilbot");
    let node = setup.set("cluster.lease_ms", 1000).start().await;
    ready(&node).await;
    node
}

async fn website(node: &NodeProcess) -> V1Client {
    V1Client::session(node, "website", &key("website")).await
}

async fn announce(node: &NodeProcess, n: u32) {
    publish(node, &key("service"), &json!({ "t": "announce", "d": { "n": n } })).await;
}

/// Sends the reconnect command to all sessions of the cluster. Returns the response body.
async fn reconnect_all(node: &NodeProcess) -> Value {
    let bearer = format!("Bearer {}", key("root"));
    let target = "/api/v1/sessions/reconnect?scope=cluster&spread_ms=0";
    let answer = request(node.address(), "POST", target, &[("authorization", &bearer)], "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

async fn identity(redis: &RedisProcess, database: u8) -> String {
    let database = database.to_string();
    redis.cli(&["-n", &database, "HGET", HEAD, "identity"]).await
}

/// Subscribes to a channel, as a program that is not a node.
async fn subscriber(redis: &RedisProcess, channel: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", redis.port())).await.unwrap();
    let subscribe = format!("SUBSCRIBE {channel}\r\n");
    stream.write_all(subscribe.as_bytes()).await.unwrap();
    let mut answer = [0; 64];
    assert_ne!(within("a subscription", stream.read(&mut answer)).await.unwrap(), 0);
    stream
}

#[tokio::test]
async fn clusters_in_two_databases_are_isolated() {
    let redis = RedisProcess::start_with(&[]).await;
    let nodes = [node_in(&redis, 0).await, node_in(&redis, 1).await];
    let mut clients = [website(&nodes[0]).await, website(&nodes[1]).await];
    for n in 0..5 {
        announce(&nodes[0], n).await;
        assert_eq!(clients[0].event("announce").await, json!({ "n": n }));
    }
    announce(&nodes[1], 9).await;
    assert_eq!(clients[1].event("announce").await, json!({ "n": 9 }));
    assert_eq!(reconnect_all(&nodes[0]).await, json!({ "nodes": 1 }));
    clients[0].error(1000, 1012).await;
    clients[1].heartbeat().await;
    assert_eq!(reconnect_all(&nodes[0]).await, json!({ "nodes": 0 }));
}

#[tokio::test]
async fn messages_without_the_identity_are_dropped_and_other_subscribers_are_not_counted_as_nodes() {
    let redis = RedisProcess::start_with(&[]).await;
    let node = node_in(&redis, 0).await;
    let mut client = website(&node).await;
    let own = identity(&redis, 0).await;
    assert!(own.ends_with(".0") && own.len() == 18, "{own}");
    let channel = format!("utilbot:{{utilbot}}:events:{own}");
    let receivers = ["PUBSUB", "NUMSUB", &channel];
    eventually("the node has subscribed", async || {
        redis.cli(&receivers).await.ends_with('1').then_some(())
    })
    .await;
    let epoch = redis.cli(&["HGET", HEAD, "epoch"]).await;
    let order = "order 00 close 4000 0";
    let forged_order = format!("{:016x}.0 {order}", 7);
    let entry = format!("{epoch} 1\na 255 - - 0 8\nannounce{{\"forged\":true}}");
    for (to, message) in [
        (channel.as_str(), order),
        (&channel, &forged_order),
        (&channel, &entry),
        (&channel, "order"),
        (&channel, ""),
        ("utilbot:{utilbot}:events", &forged_order),
    ] {
        redis.cli(&["PUBLISH", to, message]).await;
    }
    announce(&node, 1).await;
    assert_eq!(client.event("announce").await, json!({ "n": 1 }));
    client.heartbeat().await;
    let _listeners = (subscriber(&redis, &channel).await, subscriber(&redis, &channel).await);
    assert_eq!(reconnect_all(&node).await, json!({ "nodes": 1 }));
    client.error(1000, 1012).await;
}

#[tokio::test]
async fn nodes_follow_a_regenerated_identity() {
    let redis = RedisProcess::start_with(&[]).await;
    let nodes = [node_in(&redis, 0).await, node_in(&redis, 0).await];
    let _clients = [website(&nodes[0]).await, website(&nodes[1]).await];
    let first = identity(&redis, 0).await;
    // First everything is lost, then only the identity.
    for loss in [&["FLUSHALL"][..], &["HDEL", HEAD, "identity"]] {
        let before = identity(&redis, 0).await;
        redis.cli(loss).await;
        eventually("a new identity", async || {
            let now = identity(&redis, 0).await;
            (!now.is_empty() && now != before).then_some(())
        })
        .await;
        eventually("two nodes are subscribed to its channel", async || {
            let channel = format!("utilbot:{{utilbot}}:events:{}", identity(&redis, 0).await);
            redis
                .cli(&["PUBSUB", "NUMSUB", &channel])
                .await
                .ends_with('2')
                .then_some(())
        })
        .await;
    }
    assert_ne!(identity(&redis, 0).await, first);
    for node in &nodes {
        ready(node).await;
    }
    assert_eq!(reconnect_all(&nodes[0]).await, json!({ "nodes": 2 }));
}

#[tokio::test]
async fn data_copied_into_another_database_gets_its_own_identity() {
    let redis = RedisProcess::start_with(&[]).await;
    let _first = node_in(&redis, 0).await;
    redis.cli(&["COPY", HEAD, HEAD, "DB", "1"]).await;
    let copied = identity(&redis, 1).await;
    assert_eq!(copied, identity(&redis, 0).await);
    let _second = node_in(&redis, 1).await;
    let own = identity(&redis, 1).await;
    assert!(own.ends_with(".1") && own[..16] != copied[..16], "{own} {copied}");
}

#[tokio::test]
async fn a_command_is_answered_without_a_node_that_does_not_confirm_it() {
    let redis = RedisProcess::start_with(&[]).await;
    let nodes = [node_in(&redis, 0).await, node_in(&redis, 0).await];
    let _clients = [website(&nodes[0]).await, website(&nodes[1]).await];
    nodes[1].signal(Signal::SIGSTOP);
    let begin = tokio::time::Instant::now();
    assert_eq!(reconnect_all(&nodes[0]).await, json!({ "nodes": 1 }));
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    nodes[1].signal(Signal::SIGCONT);
}
