//! Hello, and the heartbeat that keeps a connection alive.

use std::time::{Duration, Instant};

use gateway_harness::{PacketEncoding, Setup, V1Client, within};
use serde_json::json;

#[tokio::test]
async fn hello_is_the_first_payload_and_has_both_spellings() {
    let node = Setup::new().start().await;
    for encoding in PacketEncoding::ALL {
        let mut client = V1Client::connect(&node, encoding.query(), encoding).await;
        let hello = client.next_text().await.unwrap();
        assert_eq!(hello, r#"{"op":5,"d":{"heartbeat":60000,"hearbeat":60000}}"#);
    }
}

#[tokio::test]
async fn hello_carries_the_configured_interval() {
    let node = Setup::new().set("v1.heartbeat_interval_ms", 41_250).start().await;
    let mut client = V1Client::connect(&node, "", PacketEncoding::Plain).await;
    client
        .expect(&json!({ "op": 5, "d": { "heartbeat": 41_250, "hearbeat": 41_250 } }))
        .await;
}

#[tokio::test]
async fn a_heartbeat_is_answered_before_and_after_identifying() {
    let node = Setup::new().start().await;
    for encoding in PacketEncoding::ALL {
        let mut client = V1Client::greeted(&node, encoding).await;
        client.send_json(r#"{"op":10}"#).await;
        assert_eq!(client.next_text().await.unwrap(), r#"{"op":11}"#);
        client.identify("website", &node.development_key()).await;
        client.heartbeat().await;
    }
}

#[tokio::test]
async fn a_heartbeat_may_have_other_fields() {
    let node = Setup::new().start().await;
    let mut client = V1Client::greeted(&node, PacketEncoding::Plain).await;
    for identified in [false, true] {
        if identified {
            client.identify("website", &node.development_key()).await;
        }
        for text in [r#"{"op":10,"d":null,"t":7}"#, r#" {"x":[{}],"d":{"op":1},"op":10} "#] {
            client.send_text(text).await;
            client.expect(&json!({ "op": 11 })).await;
        }
    }
}

#[tokio::test]
async fn a_connection_is_closed_once_its_heartbeat_is_overdue() {
    let node = Setup::new()
        .set("v1.heartbeat_interval_ms", 300)
        .set("v1.heartbeat_tolerance_ms", 200)
        .start()
        .await;
    for encoding in PacketEncoding::ALL {
        for identified in [false, true] {
            let begin = Instant::now();
            let mut client = V1Client::greeted(&node, encoding).await;
            if identified {
                client.identify("website", &node.development_key()).await;
            }
            let error = client.error(4006, 4006).await;
            assert_eq!(error.get("d"), None);
            assert!(begin.elapsed() >= Duration::from_millis(500), "{:?}", begin.elapsed());
        }
    }
}

#[tokio::test]
async fn only_heartbeats_extend_the_deadline() {
    let node = Setup::new()
        .set("v1.heartbeat_interval_ms", 300)
        .set("v1.heartbeat_tolerance_ms", 200)
        .set("limits.payloads_per_minute", 1_000_000)
        .start()
        .await;
    let key = node.development_key();
    let mut busy = V1Client::session(&node, "bot", &key).await;
    let mut heartbeating = V1Client::session(&node, "website", &key).await;
    let begin = Instant::now();
    // The busy client only sends reports. The other one heartbeats for three times its heartbeat deadline.
    let ended = tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    let report = r#"{"op":1,"t":"send_servers","d":{"guilds":0}}"#;
                    assert!(busy.try_send(report.into()).await.is_ok(), "the node closed without an Error");
                }
                text = busy.next_text() => return (text, busy.closed().await),
            }
        }
    });
    while begin.elapsed() < Duration::from_millis(1500) {
        heartbeating.heartbeat().await;
    }
    let (text, code) = within("the end of the busy session", ended).await.unwrap();
    assert_eq!(text.unwrap(), r#"{"op":-1,"e":4006,"m":"No heartbeat."}"#);
    assert_eq!(code, 4006);
    heartbeating.heartbeat().await;
}
