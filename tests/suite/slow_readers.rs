//! Clients that read too slowly: evicted, told why, and nobody else suffers.

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

/// The last two frames say that the client read too slowly.
fn says_too_slow(frames: &[RawFrame]) {
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
    // Hello and the connect success; from here on it reads nothing.
    for _ in 0..2 {
        assert_eq!(reader.frame().await.unwrap().opcode, 1);
    }
    reader
}

/// A session that reads all the time and says how many events came.
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

/// Limits for one slow reader; the healthy one is never behind by so much.
fn slow_setup() -> Setup {
    full_setup()
        .set("limits.evict_linger_ms", 5000)
        .set("drain.deadline_ms", 20_000)
}

async fn identified(node: &NodeProcess, kind: &str, count: u64) {
    let name = format!("utilbot_sessions{{kind=\"{kind}\"}}");
    eventually("the healthy session is there", async || {
        (metric(node, &name).await == count).then_some(())
    })
    .await;
}

/// Under these limits a reader that stops is evicted and reads why, and the healthy one misses nothing.
async fn stopped_reader_is_told(setup: Setup) {
    let node = Arc::new(setup.start().await);
    let healthy = healthy_reader(&node);
    identified(&node, "bot", 1).await;
    let reader = slow_reader(&node).await;
    publish_until_evicted(&node).await;
    says_too_slow(&reader.rest().await);
    others_are_unaffected(&node, healthy).await;
}

#[tokio::test]
async fn a_stopped_reader_is_evicted_by_bytes_and_can_still_read_why() {
    let setup = slow_setup()
        .set("limits.outbox_bytes", 4 << 20)
        .set("limits.outbox_age_ms", 600_000);
    stopped_reader_is_told(setup).await;
}

#[tokio::test]
async fn a_stopped_reader_is_evicted_by_age_and_can_still_read_why() {
    let setup = slow_setup()
        .set("limits.outbox_bytes", 1 << 30)
        .set("limits.outbox_age_ms", 1500);
    stopped_reader_is_told(setup).await;
}

#[tokio::test]
async fn a_reader_that_sips_64_kib_twice_a_second_is_evicted_too() {
    let setup = slow_setup()
        .set("limits.outbox_bytes", 1 << 30)
        .set("limits.outbox_age_ms", 1500);
    let node = Arc::new(setup.start().await);
    let healthy = healthy_reader(&node);
    identified(&node, "bot", 1).await;
    let mut reader = slow_reader(&node).await;
    let sips = async {
        // The pace is what is tested.
        let mut tick = tokio::time::interval(Duration::from_millis(500));
        loop {
            tick.tick().await;
            let mut left = 65_536;
            while left > 0 {
                let count = reader.read_some(left).await;
                assert!(count > 0, "cut off before it was told");
                left -= count;
            }
        }
    };
    tokio::select! {
        () = publish_until_evicted(&node) => {}
        () = sips => {}
    }
    says_too_slow(&reader.rest().await);
    others_are_unaffected(&node, healthy).await;
}
