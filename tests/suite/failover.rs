//! A lagging replica becomes the primary while the old primary still serves a node. Offsets go back, but no event is
//! mistaken for an earlier one, and no session receives the diverging events of both primaries.

use std::net::SocketAddr;

use gateway_harness::{
    NodeProcess, Proxy, RedisProcess, V1Client, eventually, full_setup, key, metric, publish, ready,
};
use serde_json::{Value, json};

async fn node(proxy: &Proxy) -> NodeProcess {
    let node = full_setup()
        .redis(&format!("redis://{}/", proxy.address()))
        .set("cluster.lease_ms", 1000)
        .set("drain.spread_ms", 100)
        .start()
        .await;
    ready(&node).await;
    node
}

fn address(server: &RedisProcess) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], server.port()))
}

async fn announce(node: &NodeProcess, number: u64) -> Value {
    publish(node, &key("service"), &json!({ "t": "announce", "d": { "n": number } })).await
}

async fn expect(client: &mut V1Client, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        assert_eq!(client.event("announce").await, json!({ "n": number }));
    }
}

#[tokio::test]
async fn a_lagging_replica_takes_over_while_the_old_primary_serves_a_node() {
    let (old, new) = (RedisProcess::start_with(&[]).await, RedisProcess::start_with(&[]).await);
    new.cli(&["REPLICAOF", "127.0.0.1", &old.port().to_string()]).await;
    eventually("the replica is in sync", async || {
        let info = new.cli(&["INFO", "replication"]).await;
        info.contains("master_link_status:up").then_some(())
    })
    .await;
    let (left_behind_proxy, moving_proxy) = (Proxy::start(address(&old)).await, Proxy::start(address(&old)).await);
    let (left_behind, moving) = (node(&left_behind_proxy).await, node(&moving_proxy).await);
    let mut on_left_behind = V1Client::session(&left_behind, "website", &key("website")).await;
    let mut on_moving = V1Client::session(&moving, "website", &key("website")).await;
    for number in 0..10 {
        announce(&left_behind, number).await;
    }
    expect(&mut on_left_behind, 0..10).await;
    expect(&mut on_moving, 0..10).await;
    // The replica has everything up to now, and gets nothing from now on.
    eventually("the replica has the whole log", async || {
        let length = ["XLEN", "utilbot:{utilbot}:log"];
        (new.cli(&length).await == old.cli(&length).await).then_some(())
    })
    .await;
    new.cli(&["REPLICAOF", "NO", "ONE"]).await;
    moving_proxy.retarget(address(&new));
    moving_proxy.reset();

    // The old primary still accepts events, which only its own node receives.
    for number in 100..105 {
        announce(&left_behind, number).await;
    }
    expect(&mut on_left_behind, 100..105).await;
    eventually("the node uses the new primary", async || {
        let body = json!({ "t": "announce", "d": { "n": 200 } }).to_string();
        let answer = gateway_harness::post(&moving, &key("service"), &body).await;
        (answer.status == 202).then_some(())
    })
    .await;
    // The old primary has assigned the same offsets.
    for number in 201..205 {
        announce(&moving, number).await;
    }
    expect(&mut on_moving, 200..205).await;

    left_behind_proxy.retarget(address(&new));
    left_behind_proxy.reset();
    // A session that received events of the old primary gets none that the new one accepted meanwhile, because their
    // order is unknown. It is closed instead.
    on_left_behind.error(1000, 1012).await;
    let mut again = V1Client::session(&left_behind, "website", &key("website")).await;
    announce(&left_behind, 300).await;
    expect(&mut again, [300]).await;
    assert_eq!(metric(&left_behind, "utilbot_entries_lost_total").await, 5);
    // A session that never received the events of the old primary is closed too.
    let missed = loop {
        match on_moving.next_text().await {
            Ok(text) if text.contains("announce") => {}
            Ok(text) => break text,
            Err(code) => panic!("closed with {code:?} and without an Error"),
        }
    };
    assert!(missed.contains("\"e\":1000"), "{missed}");
    assert_eq!(on_moving.closed().await, 1012);
}
