//! What is dropped without a word: no answer, no close, no deadline moved. A heartbeat's answer that is the next thing
//! on the stream proves that nothing came before it.

use std::time::{Duration, Instant};

use gateway_harness::{PacketEncoding, Setup, V1Client, deflate, full_setup, key, metric};
use serde_json::json;

/// Texts that are no JSON object.
const NOT_OBJECTS: [&str; 16] = [
    "",
    " ",
    "hello",
    "{",
    "}",
    "{]",
    "[]",
    "[{\"op\":10}]",
    "null",
    "true",
    "10",
    "\"op\"",
    "{\"op\":10",
    "{\"op\":10}}",
    "{'op':10}",
    "{\"op\":10,}",
];

#[tokio::test]
async fn what_is_not_a_json_object_is_dropped_before_and_after_identifying() {
    let node = full_setup().start().await;
    for encoding in PacketEncoding::ALL {
        let mut client = V1Client::greeted(&node, encoding).await;
        for identified in [false, true] {
            if identified {
                client.identify("website", &key("website")).await;
            }
            for text in NOT_OBJECTS {
                client.send_json(text).await;
                client.send_text(text).await;
                client.heartbeat().await;
            }
        }
    }
    let dropped = metric(&node, "utilbot_packets_dropped_total{reason=\"not_json\"}").await;
    assert_eq!(dropped, 2 * 2 * 2 * NOT_OBJECTS.len() as u64);
}

#[tokio::test]
async fn binary_messages_without_compression_are_dropped() {
    let node = full_setup().start().await;
    let mut client = V1Client::greeted(&node, PacketEncoding::Plain).await;
    for identified in [false, true] {
        if identified {
            client.identify("website", &key("website")).await;
        }
        for packet in [
            b"".to_vec(),
            b"{\"op\":10}".to_vec(),
            deflate(b"{\"op\":10}"),
            vec![0xff; 1000],
        ] {
            client.send_binary(&packet).await;
            client.heartbeat().await;
        }
    }
}

#[tokio::test]
async fn binary_messages_that_do_not_inflate_are_dropped() {
    let node = full_setup().start().await;
    let mut client = V1Client::greeted(&node, PacketEncoding::Zlib).await;
    let whole = deflate(b"{\"op\":10,\"d\":{\"padding\":\"something to cut\"}}");
    let mut wrong_sum = whole.clone();
    *wrong_sum.last_mut().unwrap() ^= 1;
    let packets = [
        b"".to_vec(),
        b"{\"op\":10}".to_vec(),
        vec![0x78, 0x9c],
        vec![0xff; 1000],
        whole[..whole.len() / 2].to_vec(),
        wrong_sum,
        deflate(&[0xff, 0xfe, 0x00]),
    ];
    for identified in [false, true] {
        if identified {
            client.identify("website", &key("website")).await;
        }
        for packet in &packets {
            client.send_binary(packet).await;
            client.heartbeat().await;
        }
    }
}

#[tokio::test]
async fn before_identifying_everything_else_is_ignored_and_has_no_effect() {
    let node = full_setup().start().await;
    let mut bot = V1Client::session(&node, "bot", &key("bot")).await;
    for encoding in PacketEncoding::ALL {
        let mut client = V1Client::greeted(&node, encoding).await;
        for payload in [
            json!({}),
            json!({ "op": null }),
            json!({ "op": "10" }),
            json!({ "op": 10.5 }),
            json!({ "op": -1 }),
            json!({ "op": 0, "t": "announce", "d": {} }),
            json!({ "op": 5 }),
            json!({ "op": 11 }),
            json!({ "op": 99 }),
            json!({ "op": 1 }),
            json!({ "op": 1, "t": 7 }),
            json!({ "op": 1, "t": "nonsense", "d": {} }),
            json!({ "op": 1, "t": "announce", "d": { "from": "nobody" } }),
            json!({ "op": 1, "t": "send_servers", "d": { "guilds": 7 } }),
            json!({ "op": 1, "t": "send_servers" }),
            json!({ "t": "identify", "d": { "type": "bot", "key": key("bot") } }),
        ] {
            client.send(&payload).await;
            client.heartbeat().await;
        }
        client.identify("website", &key("website")).await;
        client.send_event("announce", &json!({ "from": "website" })).await;
        assert_eq!(bot.event("announce").await, json!({ "from": "website" }));
    }
}

#[tokio::test]
async fn a_client_with_compression_may_still_send_text() {
    let node = full_setup().start().await;
    let mut client = V1Client::greeted(&node, PacketEncoding::Zlib).await;
    client
        .send_text(&json!({ "op": 1, "t": "identify", "d": { "type": "website", "key": key("website") } }).to_string())
        .await;
    client.event("website_connect_success").await;
    client.send_text("{\"op\":10}").await;
    client.expect(&json!({ "op": 11 })).await;
    client.heartbeat().await;
}

#[tokio::test]
async fn dropped_packets_extend_no_deadline() {
    let node = Setup::new()
        .set("v1.heartbeat_interval_ms", 200)
        .set("v1.heartbeat_tolerance_ms", 200)
        .start()
        .await;
    let mut client = V1Client::greeted(&node, PacketEncoding::Plain).await;
    let begin = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let text = loop {
        tokio::select! {
            _ = tick.tick() => client.send_text("not json").await,
            text = client.next_text() => break text,
        }
        assert!(begin.elapsed() < Duration::from_secs(10), "the deadline moved");
    };
    assert_eq!(text.unwrap(), r#"{"op":-1,"e":4006,"m":"No heartbeat."}"#);
    assert_eq!(client.closed().await, 4006);
}

/// A packet of 91 bytes that inflates to 64 KiB of nothing.
fn bomb() -> Vec<u8> {
    deflate(&vec![b' '; 65_536])
}

#[tokio::test]
async fn junk_within_the_allowance_does_not_delay_an_identify() {
    // What exceeds the allowance would not be read within the test.
    let node = full_setup()
        .set("limits.unidentified_bytes_per_second", 1)
        .start()
        .await;
    let mut client = V1Client::greeted(&node, PacketEncoding::Zlib).await;
    for _ in 0..3 {
        client.send_binary(&bomb()).await;
    }
    client.send_text(&"x".repeat(8192)).await;
    client.identify("website", &key("website")).await;
    client.heartbeat().await;
}

#[tokio::test]
async fn what_exceeds_the_allowance_before_identify_is_not_read_and_deadlines_hold() {
    let node = full_setup()
        .set("limits.unidentified_bytes_per_second", 1)
        .set("session.identify_timeout_ms", 3000)
        .start()
        .await;
    let mut client = V1Client::greeted(&node, PacketEncoding::Zlib).await;
    for _ in 0..200 {
        client.send_binary(&bomb()).await;
    }
    client.error(4007, 4007).await;
    let dropped = metric(&node, "utilbot_packets_dropped_total{reason=\"not_json\"}").await;
    // Four use the allowance up; a second later there is a byte, for which the next one is read.
    assert!((4..=5).contains(&dropped), "{dropped}");
}

#[tokio::test]
async fn a_client_that_flooded_identifies_and_beats_later() {
    let node = full_setup()
        .set("limits.unidentified_bytes_per_second", 2_097_152)
        .set("limits.payloads_per_minute", 1200)
        .start()
        .await;
    let mut client = V1Client::greeted(&node, PacketEncoding::Zlib).await;
    for _ in 0..40 {
        client.send_binary(&bomb()).await;
    }
    client.identify("website", &key("website")).await;
    client.heartbeat().await;
}

#[tokio::test]
async fn dropped_packets_beyond_the_rate_are_read_later_and_understood_ones_close() {
    let node = full_setup().set("limits.payloads_per_minute", 600).start().await;
    let mut client = V1Client::session(&node, "website", &key("website")).await;
    for _ in 0..610 {
        client.send_text("junk").await;
    }
    client.heartbeat().await;
    for _ in 0..700 {
        // The node may have closed.
        client.try_send(json!({ "op": 10 }).to_string().into()).await.ok();
    }
    let close = loop {
        match client.next_text().await {
            Ok(text) if text == r#"{"op":11}"# => {}
            Ok(text) => assert_eq!(text, r#"{"op":-1,"e":1000,"m":"Rate limit exceeded."}"#),
            Err(code) => break code,
        }
    };
    assert_eq!(close, Some(1008));
}
