//! Compression in Discord's protocol: text messages if uncompressed, binary if compressed, one payload in each.

use gateway_harness::{
    KEYS, NodeProcess, Setup,
    discord::{ALL_INTENTS, DiscordClient, private_message},
    key, publish,
};
use serde_json::{Value, json};

/// Message lengths in characters: below and above the size worth compressing, and larger than a block of zlib or zstd.
const LENGTHS: [usize; 5] = [1, 1000, 70_000, 3, 200_000];

fn setup() -> Setup {
    Setup::new().file(KEYS).set("cluster.event_bytes", 1_000_000)
}

async fn node() -> NodeProcess {
    setup().start().await
}

async fn check_connection(query: &str, compress: Option<bool>) {
    check_connection_to(node().await, query, compress).await;
}

pub(crate) async fn check_connection_to(node: NodeProcess, query: &str, compress: Option<bool>) {
    let mut client = DiscordClient::greeted(&node, query).await;
    client.heartbeat().await;
    let identify = json!({ "token": key("bot"), "intents": ALL_INTENTS, "properties": {}, "compress": compress });
    client.identify(&identify).await;
    let ready = client.expect_dispatch("READY").await;
    let session = ready["session_id"].as_str().unwrap().to_owned();
    let messages: Vec<Value> = (1..)
        .zip(LENGTHS)
        .map(|(number, length)| private_message(number, &"grüße ".chars().cycle().take(length).collect::<String>()))
        .collect();
    for d in &messages {
        publish(
            &node,
            &key("root"),
            &json!({ "t": "MESSAGE_CREATE", "to": "all", "d": d }),
        )
        .await;
        assert_eq!(client.expect_dispatch("MESSAGE_CREATE").await, *d);
    }

    // A new connection begins a new stream, and the resume replays every event.
    drop(client);
    let mut client = DiscordClient::greeted(&node, query).await;
    client.resume(&key("bot"), &session, 1).await;
    for d in &messages {
        assert_eq!(client.expect_dispatch("MESSAGE_CREATE").await, *d);
    }
    assert_eq!(client.expect_dispatch("RESUMED").await, json!({}));
    assert_eq!(client.close(1000).await, Some(1000));
}

#[tokio::test]
async fn an_uncompressed_connection_gets_text() {
    check_connection("v=10&encoding=json", None).await;
}

#[tokio::test]
async fn a_url_with_zlib_stream_gets_a_zlib_stream() {
    check_connection("v=10&encoding=json&compress=zlib-stream", None).await;
}

#[tokio::test]
async fn a_url_with_zstd_stream_gets_a_zstd_stream() {
    check_connection("v=10&encoding=json&compress=zstd-stream", None).await;
}

/// Until a session has identified, Hello and other payloads still come from shared segments.
#[tokio::test]
async fn per_session_zlib_streams_keep_a_history() {
    for level in [0, 1, 6, 9] {
        let node = setup()
            .set("compression.zlib_stream", "per_session")
            .set("compression.zlib_level", level)
            .start()
            .await;
        check_connection_to(node, "v=10&encoding=json&compress=zlib-stream", Some(true)).await;
    }
}

/// `compression.zlib_stream = "per_session"` changes nothing for other connections.
#[tokio::test]
async fn the_per_session_setting_affects_only_zlib_streams() {
    for query in ["v=10", "v=10&compress=zstd-stream"] {
        let node = setup().set("compression.zlib_stream", "per_session").start().await;
        check_connection_to(node, query, None).await;
    }
}

/// discord.py always requests both.
#[tokio::test]
async fn a_stream_overrides_compress_in_identify() {
    check_connection("v=10&encoding=json&compress=zlib-stream", Some(true)).await;
    check_connection("v=10&encoding=json&compress=zstd-stream", Some(true)).await;
}

#[tokio::test]
async fn compress_in_identify_compresses_only_large_payloads() {
    let node = node().await;
    let mut client = DiscordClient::greeted(&node, "v=10&encoding=json").await;
    client
        .identify(&json!({ "token": key("bot"), "intents": ALL_INTENTS, "properties": {}, "compress": true }))
        .await;
    client.expect_dispatch("READY").await;
    for (number, length) in (1..).zip(LENGTHS) {
        let before = client.binary_messages();
        let d = private_message(number, &"g".repeat(length));
        publish(
            &node,
            &key("root"),
            &json!({ "t": "MESSAGE_CREATE", "to": "all", "d": d }),
        )
        .await;
        assert_eq!(client.expect_dispatch("MESSAGE_CREATE").await, d);
        let is_compressed = client.binary_messages() > before;
        assert!(is_compressed || length < 70_000, "{length} characters as text");
        client.heartbeat().await;
        assert_eq!(
            client.binary_messages(),
            before + usize::from(is_compressed),
            "a heartbeat ACK must not be compressed"
        );
    }
}
