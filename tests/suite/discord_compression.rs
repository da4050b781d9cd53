//! What the gateway sends in Discord's protocol, frame by frame: text where nothing is compressed, binary where it is,
//! and one payload in each.

use gateway_harness::{
    KEYS, NodeProcess, Setup,
    discord::{ALL_INTENTS, DiscordClient, private_message},
    key, publish,
};
use serde_json::{Value, json};

/// Characters of a message: less and more than is worth compressing, more than a block of either method.
const LENGTHS: [usize; 5] = [1, 1000, 70_000, 3, 200_000];

fn setup() -> Setup {
    Setup::new().file(KEYS).set("cluster.event_bytes", 1_000_000)
}

async fn node() -> NodeProcess {
    setup().start().await
}

async fn speaks(query: &str, compress: Option<bool>) {
    speaks_to(node().await, query, compress).await;
}

async fn speaks_to(node: NodeProcess, query: &str, compress: Option<bool>) {
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

    // A new connection is a new stream, and everything comes again.
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
async fn sends_text_where_nothing_is_compressed() {
    speaks("v=10&encoding=json", None).await;
}

#[tokio::test]
async fn sends_a_zlib_stream_where_the_url_asks_for_it() {
    speaks("v=10&encoding=json&compress=zlib-stream", None).await;
}

#[tokio::test]
async fn sends_a_zstd_stream_where_the_url_asks_for_it() {
    speaks("v=10&encoding=json&compress=zstd-stream", None).await;
}

/// The hello and whatever else comes before there is a session is still put together from what all share.
#[tokio::test]
async fn sends_a_zlib_stream_with_a_history_where_that_is_set() {
    for level in [0, 1, 6, 9] {
        let node = setup()
            .set("compression.zlib_stream", "per_session")
            .set("compression.zlib_level", level)
            .start()
            .await;
        speaks_to(node, "v=10&encoding=json&compress=zlib-stream", Some(true)).await;
    }
}

/// A session without a stream of its own is written to as before, beside one that has one.
#[tokio::test]
async fn a_history_is_for_zlib_streams_alone() {
    for query in ["v=10", "v=10&compress=zstd-stream"] {
        let node = setup().set("compression.zlib_stream", "per_session").start().await;
        speaks_to(node, query, None).await;
    }
}

/// discord.py always asks for both.
#[tokio::test]
async fn a_stream_leaves_no_packets_to_compress() {
    speaks("v=10&encoding=json&compress=zlib-stream", Some(true)).await;
    speaks("v=10&encoding=json&compress=zstd-stream", Some(true)).await;
}

#[tokio::test]
async fn packs_what_is_large_and_nothing_small_where_identify_asks_for_it() {
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
        let is_packed = client.binary_messages() > before;
        assert!(is_packed || length < 70_000, "{length} characters as text");
        client.heartbeat().await;
        assert_eq!(
            client.binary_messages(),
            before + usize::from(is_packed),
            "an acknowledgement is packed"
        );
    }
}
