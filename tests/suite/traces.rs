//! The trace of a publication in the logs of all nodes.

use gateway_harness::{
    NodeProcess, PacketEncoding, RedisProcess, V1Client,
    discord::{ALL_INTENTS, DiscordClient},
    full_setup, key, ready, request,
};
use serde_json::{Value, json};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

const EVENTS: &str = r#"
[[events]]
name = "render"
from = ["service"]
to = ["bot"]
deliver = "any"
ack_timeout_ms = 60000

[[events]]
name = "lookup"
from = ["service"]
to = ["bot"]
deliver = "any"
reply = true
"#;

/// Sends a request with these `traceparent` headers. Returns the body of the response.
async fn send(node: &NodeProcess, target: &str, traces: &[&str], body: &str) -> Value {
    let bearer = format!("Bearer {}", key("service"));
    let mut headers = vec![("authorization", bearer.as_str()), ("content-type", "application/json")];
    headers.extend(traces.iter().map(|trace| ("traceparent", *trace)));
    let answer = request(node.address(), "POST", target, &headers, body).await;
    assert!([200, 202].contains(&answer.status), "{answer:?}");
    answer.json()
}

/// Returns the lines of a node's log with this message.
fn lines(node: &NodeProcess, message: &str) -> Vec<String> {
    let log = node.log();
    log.lines()
        .filter(|line| line.contains(message))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn the_trace_of_an_event_is_in_the_log_of_every_node() {
    let redis = RedisProcess::start().await;
    let start = async || {
        let node = full_setup().set("log.level", "debug").redis(&redis.url()).start().await;
        ready(&node).await;
        node
    };
    let nodes = [start().await, start().await, start().await];
    let mut bots = Vec::new();
    for node in &nodes {
        let mut bot = V1Client::greeted(node, PacketEncoding::Plain).await;
        bot.identify("bot", &key("bot")).await;
        bots.push(bot);
    }
    let (mut discord, _) = DiscordClient::session(&nodes[2], "v=10", &key("bot"), ALL_INTENTS).await;
    let event = json!({ "t": "announce", "d": { "text": "traced" } });
    // An event without a trace, and two whose header is not valid, come first.
    send(&nodes[0], "/api/v1/events", &[], &event.to_string()).await;
    send(&nodes[0], "/api/v1/events", &["00-1-2-03"], &event.to_string()).await;
    send(&nodes[0], "/api/v1/events", &[TRACE, TRACE], &event.to_string()).await;
    let publications = json!([event, { "t": "PRESENCE_NOTE", "d": {}, "to": "all" }]);
    let positions = send(&nodes[0], "/api/v1/events", &[TRACE], &publications.to_string()).await;
    for bot in &mut bots {
        for _ in 0..4 {
            bot.payload_after_counts("announce").await;
        }
    }
    discord.dispatch_among_others("PRESENCE_NOTE").await;

    for (index, name) in [(0, "announce"), (1, "PRESENCE_NOTE")] {
        let position = positions[index]["position"].as_str().unwrap();
        let parts = format!("event={name} application=utilbot position={position}");
        nodes[0]
            .logged(&format!("event accepted {parts} key=service traceparent={TRACE}"))
            .await;
        for node in &nodes {
            node.logged(&format!("event taken from the log {parts} traceparent={TRACE}"))
                .await;
        }
    }
    for node in &nodes {
        node.logged("event delivered event=announce").await;
        assert_eq!(lines(node, "event taken from the log").len(), 2, "{}", node.log());
        // A worker writes a line for its sessions.
        let delivered = lines(node, "event delivered event=announce");
        assert!(
            delivered.iter().all(|line| line.contains(" deliveries=1 ")),
            "{delivered:?}"
        );
    }
    nodes[2].logged("event delivered event=PRESENCE_NOTE").await;
    assert!(lines(&nodes[1], "event accepted").is_empty());
}

#[tokio::test]
async fn jobs_and_requests_keep_their_trace() {
    let redis = RedisProcess::start().await;
    let debug = || full_setup().more(EVENTS).set("log.level", "debug");
    let single = debug().start().await;
    let clustered = debug().redis(&redis.url()).start().await;
    for node in [&single, &clustered] {
        ready(node).await;
        let mut bot = V1Client::greeted(node, PacketEncoding::Plain).await;
        bot.expect_requests();
        bot.send_event("identify", &json!({ "type": "bot", "key": key("bot"), "jobs": 1 }))
            .await;
        bot.event("bot_connect_success").await;
        let job = json!({ "t": "render", "d": {} }).to_string();
        send(node, "/api/v1/events", &[TRACE], &job).await;
        bot.payload_after_counts("render").await;
        node.logged(&format!(
            "event accepted event=render application=utilbot key=service traceparent={TRACE}"
        ))
        .await;
        node.logged("event delivered event=render").await;
        let [line] = &lines(node, "event delivered event=render")[..] else {
            panic!("{}", node.log())
        };
        assert!(line.ends_with(&format!("deliveries=1 traceparent={TRACE}")), "{line}");

        let question = json!({ "t": "lookup", "d": {} }).to_string();
        let reply = async {
            let receipt = bot.payload_after_counts("lookup").await["r"].take();
            bot.send(&json!({ "op": 1, "t": "reply", "r": receipt, "d": { "found": 1 } }))
                .await;
        };
        let (answer, ()) = tokio::join!(send(node, "/api/v1/requests", &[TRACE], &question), reply);
        assert_eq!(answer["d"]["found"], 1);
        node.logged("event delivered event=lookup").await;
        let [line] = &lines(node, "event delivered event=lookup")[..] else {
            panic!("{}", node.log())
        };
        assert!(line.ends_with(&format!("deliveries=1 traceparent={TRACE}")), "{line}");
    }
}
