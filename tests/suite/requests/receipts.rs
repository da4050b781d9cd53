//! The receipt of a request, which its reply has to name.

use gateway_harness::{V1Client, full_setup, key, metric, ready};
use serde_json::{Value, json};

use super::{answered_reply, ask, asked, backplanes, bot, reply, session, setup};

#[tokio::test]
async fn a_receipt_is_good_once_and_only_for_its_session() {
    let (pairs, _server) = backplanes().await;
    let [near, far] = &pairs[0];
    let mut website = session(near, "website", &json!({})).await;
    let (mut receiver, mut stranger) = (bot(far, &["1"]).await, bot(far, &[]).await);
    ask(&mut website, "ask_guild", 1, json!({ "guildId": "1" })).await;
    let (receipt, _) = asked(&mut receiver, "ask_guild").await;
    let over = |answer: Value| {
        let d = json!({ "code": "receipt_over", "message": "The receipt is unknown or done with." });
        assert_eq!(answer, json!({ "op": 0, "t": "event_refused", "n": "reply", "d": d }));
    };
    let dropped = metric(far, "utilbot_packets_dropped_total{reason=\"receipt_over\"}").await;
    for wrong in [receipt.clone(), "0".repeat(32), String::new(), receipt.to_uppercase()] {
        over(answered_reply(&mut stranger, "reply", &wrong, json!({ "from": "a stranger" })).await);
    }
    // Without a nonce it is dropped.
    reply(&mut stranger, "reply", &receipt, json!({})).await;
    stranger.heartbeat().await;
    let after = metric(far, "utilbot_packets_dropped_total{reason=\"receipt_over\"}").await;
    assert_eq!(after - dropped, 5);
    reply(&mut receiver, "reply", &receipt, json!({ "from": "the receiver" })).await;
    over(answered_reply(&mut receiver, "reply", &receipt, json!({ "from": "again" })).await);
    website
        .expect(&json!({ "op": 0, "t": "reply", "n": 1, "d": { "from": "the receiver" } }))
        .await;
    website.heartbeat().await;
}

#[tokio::test]
async fn a_faulty_reply_is_the_end_of_its_request() {
    let node = setup().set("cluster.event_bytes", 1000).start().await;
    ready(&node).await;
    let mut website = session(&node, "website", &json!({})).await;
    let mut receiver = bot(&node, &[]).await;
    let failed = |n: u64| json!({ "op": 0, "t": "reply_failed", "n": n, "d": { "code": "invalid_reply" } });
    let long = json!({ "prefix": "x".repeat(1000) });
    for (n, d, code, error) in [
        (1, json!({}), "invalid_data", Some("\"prefix\" is a required property")),
        (2, json!([]), "invalid_data", Some("Data must be an object.")),
        (3, long, "too_large", None),
    ] {
        ask(&mut website, "ask_settings", n, json!({})).await;
        let (receipt, _) = asked(&mut receiver, "ask_settings").await;
        let answer = answered_reply(&mut receiver, "reply", &receipt, d).await;
        assert_eq!(
            (&answer["t"], &answer["d"]["code"]),
            (&json!("event_refused"), &json!(code)),
            "{answer}"
        );
        assert_eq!(answer["d"]["errors"][0].as_str(), error, "{answer}");
        website.expect(&failed(n)).await;
        // The receipt is done with.
        let again = answered_reply(&mut receiver, "reply", &receipt, json!({ "prefix": "!" })).await;
        assert_eq!(again["d"]["code"], "receipt_over");
    }
    // An error needs no schema, but has to be an object.
    ask(&mut website, "ask_settings", 4, json!({})).await;
    let (receipt, _) = asked(&mut receiver, "ask_settings").await;
    reply(&mut receiver, "reply_error", &receipt, json!(7)).await;
    receiver.error(4005, 4005).await;
    website.expect(&failed(4)).await;
    let mut receiver = bot(&node, &[]).await;
    receiver.send(&json!({ "op": 1, "t": "reply", "d": {} })).await;
    let error = receiver.error(4005, 4005).await;
    assert_eq!(error["d"]["errors"], json!(["Receipt not provided."]));
}

#[tokio::test]
async fn a_receipt_that_is_over_costs_one_packet() {
    let node = full_setup().set("limits.payloads_per_minute", 60).start().await;
    ready(&node).await;
    let mut bot = V1Client::session(&node, "bot", &key("bot")).await;
    // With the identify and the last heartbeat they make sixty.
    for _ in 0..50 {
        bot.send(&json!({ "op": 1, "t": "reply", "r": "x", "d": {} })).await;
    }
    bot.heartbeat().await;
    assert_eq!(
        metric(&node, "utilbot_packets_dropped_total{reason=\"receipt_over\"}").await,
        50
    );
}
