//! Clients that read too slowly are evicted with an Error, without affecting other clients.

use std::{sync::Arc, time::Duration};

use gateway_harness::{NodeProcess, Raw, RawFrame, Setup, V1Client, eventually, full_setup, key, metric, post, within};
use serde_json::{Value, json};

const EVICTED: &str = "utilbot_sessions_ended_total{code=\"1013\"}";

/// Publishes large events until one session is evicted.
async fn publish_until_evicted(node: &NodeProcess) {
    let event = json!({ "t": "announce", "d": { "padding": "x".repeat(60_000) } });
    let batch = json!(vec![event; 15]).to_string();
    eventually("the slow reader is evicted", async || {
        let answer = post(node, &key("service"), &batch).await;
        assert!([202, 503].contains(&answer.status), "{answer:?}");
        (metric(node, EVICTED).await == 1).then_some(())
    })
    .await;
}

/// Asserts that the last two frames are the Error and the close for a slow reader.
fn assert_evicted(frames: &[RawFrame]) {
    let [.., words, close] = frames else {
        panic!("{} frames", frames.len())
    };
    let error: Value = serde_json::from_str(words.text()).unwrap();
    assert_eq!((&error["op"], &error["e"]), (&json!(-1), &json!(1000)), "{error}");
    assert_eq!(close.close_code(), Some(1013));
}

async fn slow_reader(node: &NodeProcess) -> Raw {
    let mut reader = Raw::open_small(node.address(), "/?v=1").await;
    let identify = json!({ "op": 1, "t": "identify", "d": { "type": "website", "key": key("website") } });
    reader.send_text(&identify.to_string()).await;
    // Hello and the connect success. The client reads nothing after them.
    for _ in 0..2 {
        assert_eq!(reader.frame().await.unwrap().opcode, 1);
    }
    reader
}

/// Starts a session that reads continuously. The task returns the number of events received.
fn healthy_reader(node: &Arc<NodeProcess>) -> tokio::task::JoinHandle<usize> {
    let node = Arc::clone(node);
    tokio::spawn(async move {
        let mut client = V1Client::session(&node, "bot", &key("bot")).await;
        let mut events = 0;
        while client.event("announce").await.get("end").is_none() {
            events += 1;
        }
        client.heartbeat().await;
        events
    })
}

async fn others_are_unaffected(node: &NodeProcess, healthy: tokio::task::JoinHandle<usize>) {
    let answer = post(node, &key("service"), r#"{"t":"announce","d":{"end":true}}"#).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let events = within("the healthy session", healthy).await.unwrap();
    assert!(events > 0);
    assert_eq!(metric(node, EVICTED).await, 1);
}

/// Settings for tests with one slow reader.
fn slow_setup() -> Setup {
    full_setup()
        .set("limits.evict_linger_ms", 5000)
        .set("drain.deadline_ms", 20_000)
}

async fn wait_until_identified(node: &NodeProcess, kind: &str, count: u64) {
    let name = format!("utilbot_sessions{{kind=\"{kind}\"}}");
    eventually("the healthy session has identified", async || {
        (metric(node, &name).await == count).then_some(())
    })
    .await;
}

/// Asserts that under these limits a stopped reader is evicted and can read the Error, and that a healthy one is not
/// affected.
async fn evict_stopped_reader(setup: Setup) {
    let node = Arc::new(setup.start().await);
    let healthy = healthy_reader(&node);
    wait_until_identified(&node, "bot", 1).await;
    let reader = slow_reader(&node).await;
    publish_until_evicted(&node).await;
    assert_evicted(&reader.rest().await);
    others_are_unaffected(&node, healthy).await;
}

#[tokio::test]
async fn a_stopped_reader_is_evicted_by_bytes_and_can_still_read_why() {
    let setup = slow_setup()
        .set("limits.outbox_bytes", 4 << 20)
        .set("limits.outbox_age_ms", 600_000);
    evict_stopped_reader(setup).await;
}

#[tokio::test]
async fn a_stopped_reader_is_evicted_by_age_and_can_still_read_why() {
    let setup = slow_setup()
        .set("limits.outbox_bytes", 1 << 30)
        .set("limits.outbox_age_ms", 1500);
    evict_stopped_reader(setup).await;
}

#[tokio::test]
async fn a_reader_of_64_kib_twice_a_second_is_evicted_too() {
    let setup = slow_setup()
        .set("limits.outbox_bytes", 1 << 30)
        .set("limits.outbox_age_ms", 1500);
    let node = Arc::new(setup.start().await);
    let healthy = healthy_reader(&node);
    wait_until_identified(&node, "bot", 1).await;
    let mut reader = slow_reader(&node).await;
    let slow_reading = async {
        // The read rate is what this test is about.
        let mut tick = tokio::time::interval(Duration::from_millis(500));
        loop {
            tick.tick().await;
            let mut left = 65_536;
            while left > 0 {
                let count = reader.read_some(left).await;
                assert!(count > 0, "cut before the Error");
                left -= count;
            }
        }
    };
    tokio::select! {
        () = publish_until_evicted(&node) => {}
        () = slow_reading => {}
    }
    assert_evicted(&reader.rest().await);
    others_are_unaffected(&node, healthy).await;
}
