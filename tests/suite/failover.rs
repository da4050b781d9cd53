//! A replica that lagged becomes the primary while the old one still serves a node: offsets go back, no event is taken for one
//! that was there before, and no session receives what both have accepted.

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
async fn a_replica_that_lagged_takes_over_while_the_old_primary_still_serves_a_node() {
    let (old, new) = (RedisProcess::start().await, RedisProcess::start().await);
    new.cli(&["REPLICAOF", "127.0.0.1", &old.port().to_string()]).await;
    eventually("a replica in step", async || {
        let info = new.cli(&["INFO", "replication"]).await;
        info.contains("master_link_status:up").then_some(())
    })
    .await;
    let (left_behind_way, moving_way) = (Proxy::start(address(&old)).await, Proxy::start(address(&old)).await);
    let (left_behind, moving) = (node(&left_behind_way).await, node(&moving_way).await);
    let mut on_left_behind = V1Client::session(&left_behind, "website", &key("website")).await;
    let mut on_moving = V1Client::session(&moving, "website", &key("website")).await;
    for number in 0..10 {
        announce(&left_behind, number).await;
    }
    expect(&mut on_left_behind, 0..10).await;
    expect(&mut on_moving, 0..10).await;
    // Everything until now is on the replica; nothing from now on is.
    eventually("a replica that has it all", async || {
        let length = ["XLEN", "utilbot:{utilbot}:log"];
        (new.cli(&length).await == old.cli(&length).await).then_some(())
    })
    .await;
    new.cli(&["REPLICAOF", "NO", "ONE"]).await;
    moving_way.retarget(address(&new));
    moving_way.reset();

    // The old primary goes on accepting; only its own node sees it.
    for number in 100..105 {
        announce(&left_behind, number).await;
    }
    expect(&mut on_left_behind, 100..105).await;
    eventually("a node on the new primary", async || {
        let body = json!({ "t": "announce", "d": { "n": 200 } }).to_string();
        let answer = gateway_harness::post(&moving, &key("service"), &body).await;
        (answer.status == 202).then_some(())
    })
    .await;
    // Offsets that the old primary has given as well.
    for number in 201..205 {
        announce(&moving, number).await;
    }
    expect(&mut on_moving, 200..205).await;

    left_behind_way.retarget(address(&new));
    left_behind_way.reset();
    // Whoever has what the old primary accepted gets nothing of what the new one did meanwhile: their order is unknown.
    on_left_behind.error(1000, 1012).await;
    let mut again = V1Client::session(&left_behind, "website", &key("website")).await;
    announce(&left_behind, 300).await;
    expect(&mut again, [300]).await;
    assert_eq!(metric(&left_behind, "utilbot_entries_lost_total").await, 5);
    // Who never saw what the old primary had accepted is told to connect again.
    let missed = loop {
        match on_moving.next_text().await {
            Ok(text) if text.contains("announce") => {}
            Ok(text) => break text,
            Err(code) => panic!("closed with {code:?} and without a word"),
        }
    };
    assert!(missed.contains("\"e\":1000"), "{missed}");
    assert_eq!(on_moving.closed().await, 1012);
}
