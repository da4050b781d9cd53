//! Requests without a reply: they fail once.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use gateway_harness::{NodeProcess, Raw, eventually, key, metric, ready};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{answered_reply, ask, asked, backplanes, bot, one_node, session, setup};

#[tokio::test]
async fn a_request_that_gets_no_reply_fails_once() {
    let (pairs, _server) = backplanes().await;
    let single = one_node().await;
    let mut all: Vec<[&NodeProcess; 2]> = pairs.iter().map(|[one, other]| [one, other]).collect();
    all.push([&single, &single]);
    for [near, far] in all {
        let mut website = session(near, "website", &json!({})).await;
        ask(&mut website, "ask_briefly", 1, json!({})).await;
        let refused = json!({ "code": "no_receiver", "message": "No receiver.", "errors": ["No receiver."], "data": ["ask_briefly"] });
        website
            .expect(&json!({ "op": 0, "t": "event_refused", "n": 1, "d": refused }))
            .await;
        let mut bot = bot(far, &[]).await;
        ask(&mut website, "ask_briefly", 2, json!({})).await;
        let (receipt, _) = asked(&mut bot, "ask_briefly").await;
        website
            .expect(&json!({ "op": 0, "t": "reply_failed", "n": 2, "d": { "code": "timeout" } }))
            .await;
        // The receipt is over, too: the receiver's node counts from the delivery, so not much later.
        ask(&mut website, "ask_briefly", 3, json!({})).await;
        asked(&mut bot, "ask_briefly").await;
        website
            .expect(&json!({ "op": 0, "t": "reply_failed", "n": 3, "d": { "code": "timeout" } }))
            .await;
        let late = answered_reply(&mut bot, "reply", &receipt, json!({})).await;
        assert_eq!(
            (&late["t"], &late["d"]["code"]),
            (&json!("event_refused"), &json!("receipt_over"))
        );
        // The end of the receiver's session is told at once.
        ask(&mut website, "ask_any", 4, json!({})).await;
        asked(&mut bot, "ask_any").await;
        bot.close(1000).await;
        website
            .expect(&json!({ "op": 0, "t": "reply_failed", "n": 4, "d": { "code": "gone" } }))
            .await;
    }
}

#[tokio::test]
async fn a_request_is_refused_at_once_while_the_log_is_unavailable() {
    let (pairs, mut server) = backplanes().await;
    let [near, far] = &pairs[0];
    let mut website = session(near, "website", &json!({})).await;
    let mut receiver = bot(far, &[]).await;
    server.kill().await;
    eventually("a node that knows of the outage", async || {
        ask(&mut website, "ask_briefly", 1, json!({})).await;
        let answer = website.next().await;
        // Right after the kill it is not known yet whether the log has it.
        (answer["d"]["code"] == "unavailable").then_some(())
    })
    .await;
    server.restart().await;
    for node in [near, far] {
        ready(node).await;
    }
    eventually("a request after the restart", async || {
        ask(&mut website, "ask_any", 2, json!({})).await;
        tokio::select! {
            answer = website.next() => {
                assert_eq!(answer["t"], "event_refused", "{answer}");
                None
            }
            request = asked(&mut receiver, "ask_any") => Some(request.0),
        }
    })
    .await;
}

#[tokio::test]
async fn the_death_of_the_receivers_node_is_a_timeout() {
    let (mut pairs, _server) = backplanes().await;
    let [near, mut far] = pairs.remove(0);
    let mut website = session(&near, "website", &json!({})).await;
    let mut receiver = bot(&far, &[]).await;
    ask(&mut website, "ask_briefly", 1, json!({})).await;
    asked(&mut receiver, "ask_briefly").await;
    far.signal(Signal::SIGKILL);
    far.ended(Duration::from_secs(5)).await;
    website
        .expect(&json!({ "op": 0, "t": "reply_failed", "n": 1, "d": { "code": "timeout" } }))
        .await;
    // The node is not judged at once, but then its bot is no receiver any more.
    eventually("a refusal", async || {
        ask(&mut website, "ask_briefly", 2, json!({})).await;
        let answer = website.next().await;
        (answer["d"]["code"] == "no_receiver").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_request_that_waits_too_long_for_a_slow_bot_is_not_written() {
    // Frames that the bot does not read, larger than the buffers of the sockets.
    let node = setup()
        .set("limits.outbox_age_ms", 60_000)
        .set("limits.outbox_bytes", 64 << 20)
        .start()
        .await;
    ready(&node).await;
    let mut slow = Raw::open_small(node.address(), "/?v=1").await;
    slow.frame().await.expect("a Hello");
    slow.send_text(&json!({ "op": 1, "t": "identify", "d": { "type": "bot", "key": key("bot") } }).to_string())
        .await;
    for _ in 0..2 {
        slow.frame().await.expect("a connect success and the counts");
    }
    let mut website = session(&node, "website", &json!({})).await;
    let big = "x".repeat(60_000);
    for n in 0..100 {
        website
            .send(&json!({ "op": 1, "t": "mark", "n": n, "d": { "big": big } }))
            .await;
        while website.next().await["n"] != n {}
    }
    assert!(
        metric(&node, "utilbot_outbox_bytes").await > 0,
        "the bot has read everything"
    );
    ask(&mut website, "ask_briefly", 100, json!({})).await;
    website
        .expect(&json!({ "op": 0, "t": "reply_failed", "n": 100, "d": { "code": "timeout" } }))
        .await;
    website.send(&json!({ "op": 1, "t": "mark", "n": 101, "d": {} })).await;
    while website.next().await["n"] != 101 {}
    let mut names = BTreeMap::<String, usize>::new();
    let began = Instant::now();
    while names.get("mark").is_none_or(|marks| *marks < 101) {
        let frame = slow.frame().await.expect("a frame");
        let payload: Value = serde_json::from_str(frame.text()).unwrap();
        *names
            .entry(payload["t"].as_str().unwrap_or_default().to_owned())
            .or_default() += 1;
        assert!(began.elapsed() < Duration::from_secs(60), "{names:?}");
    }
    assert_eq!(names.get("ask_briefly"), None, "{names:?}");
}
