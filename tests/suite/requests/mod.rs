//! Requests and replies: one session gets the request, and the requester gets one outcome.

mod failures;
mod http;
mod limits;
mod receipts;
mod receivers;

use gateway_harness::{
    ApiResponse, NodeProcess, PacketEncoding, RedisProcess, Setup, V1Client, full_setup, key, ready, request,
};
use serde_json::{Value, json};

/// Requests with every kind of delivery.
const EVENTS: &str = r#"
[[events]]
name = "ask_any"
from = ["bot", "website", "service"]
to = ["bot", "service"]
deliver = "any"
reply = true
reply_timeout_ms = 20000

[[events]]
name = "ask_guild"
from = ["website", "service"]
to = ["bot", "website"]
deliver = { guild = "/guildId" }
reply = true
reply_timeout_ms = 20000

[[events]]
name = "ask_user"
from = ["website", "service"]
to = ["website"]
deliver = { user = "/userId" }
reply = true

[[events]]
name = "ask_briefly"
from = ["website", "service"]
to = ["bot"]
deliver = "any"
reply = true
reply_timeout_ms = 300

[[events]]
name = "ask_settings"
from = ["website", "service"]
to = ["bot"]
deliver = "any"
reply = true
reply_schema = "reply.json"

[[events]]
name = "mark"
from = ["bot", "website", "service"]
to = ["bot", "website", "service"]
"#;

const REPLY: &str = r#"{"type":"object","required":["prefix"]}"#;

fn setup() -> Setup {
    full_setup()
        .more(EVENTS)
        .beside("reply.json", REPLY)
        .set("cluster.lease_ms", 1000)
}

/// Starts two nodes on each backplane: twice the same one in memory, and two that share a Redis.
async fn backplanes() -> (Vec<[NodeProcess; 2]>, RedisProcess) {
    let server = RedisProcess::start().await;
    let pair = async |setup: fn(&str) -> Setup| {
        let nodes = [setup(&server.url()).start().await, setup(&server.url()).start().await];
        for node in &nodes {
            ready(node).await;
        }
        nodes
    };
    let clustered = pair(|url| setup().redis(url)).await;
    (vec![clustered], server)
}

async fn one_node() -> NodeProcess {
    let node = setup().start().await;
    ready(&node).await;
    node
}

/// Opens a session that can receive requests.
async fn session(node: &NodeProcess, kind: &str, more: &Value) -> V1Client {
    let mut client = V1Client::greeted(node, PacketEncoding::Plain).await;
    client.expect_requests();
    let mut d = json!({ "type": kind, "key": key(kind) });
    d.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    client.send_event("identify", &d).await;
    client.event(&format!("{kind}_connect_success")).await;
    client
}

/// Opens a bot that has reported these guilds.
async fn bot(node: &NodeProcess, guilds: &[&str]) -> V1Client {
    let mut bot = session(node, "bot", &json!({})).await;
    bot.event("GLOBAL_GUILD_COUNT").await;
    let report = json!({ "op": 1, "t": "send_servers", "n": "report", "d": { "guilds": guilds } });
    bot.send(&report).await;
    while bot.next().await["n"] != "report" {}
    bot
}

async fn ask(client: &mut V1Client, name: &str, n: u64, d: Value) {
    client.send(&json!({ "op": 1, "t": name, "n": n, "d": d })).await;
}

/// Receives a request, and returns its receipt and data. Skips guild counts.
async fn asked(client: &mut V1Client, name: &str) -> (String, Value) {
    let mut payload = client.payload_after_counts(name).await;
    let receipt = payload["r"].as_str().unwrap_or_else(|| panic!("{payload}")).to_owned();
    assert_eq!(receipt.len(), 32, "{payload}");
    (receipt, payload["d"].take())
}

async fn reply(client: &mut V1Client, event: &str, receipt: &str, d: Value) {
    client.send(&json!({ "op": 1, "t": event, "r": receipt, "d": d })).await;
}

/// Sends a reply with a nonce, and returns the answer of the gateway.
async fn answered_reply(client: &mut V1Client, event: &str, receipt: &str, d: Value) -> Value {
    client
        .send(&json!({ "op": 1, "t": event, "n": "reply", "r": receipt, "d": d }))
        .await;
    loop {
        let payload = client.next().await;
        if payload["n"] == "reply" {
            return payload;
        }
    }
}

async fn over_http(node: &NodeProcess, name: &str, d: Value) -> ApiResponse {
    let headers = [("authorization", &*format!("Bearer {}", key("service")))];
    let body = json!({ "t": name, "d": d }).to_string();
    request(node.address(), "POST", "/api/v1/requests", &headers, &body).await
}
