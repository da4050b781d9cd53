//! Sessions that are told their positions, and that catch up on what they missed.

mod history;
mod losses;
mod missed_events;
mod positions;

use gateway_harness::{NodeProcess, PacketEncoding, RedisProcess, Setup, V1Client, full_setup, key, publish, ready};
use serde_json::{Value, json};

/// Events for every type: to all, to a guild, and to one session.
const EVENTS: &str = r#"
[[events]]
name = "note"
from = ["bot", "website", "service"]
to = ["bot", "website", "service"]

[[events]]
name = "guild_note"
from = ["bot", "website", "service"]
to = ["bot", "website", "service"]
deliver = { guild = "/guildId" }
require_receiver = false

[[events]]
name = "bot_note"
from = ["service"]
to = ["bot"]

[[events]]
name = "any_note"
from = ["service"]
to = ["bot", "website"]
deliver = "any"
require_receiver = false

[[events]]
name = "bot_any_note"
from = ["service"]
to = ["bot"]
deliver = "any"
"#;

fn setup() -> Setup {
    full_setup().more(EVENTS).set("cluster.lease_ms", 1000)
}

/// Opens a session. Returns it, and the data of its connect success.
async fn session(node: &NodeProcess, kind: &str, more: Value) -> (V1Client, Value) {
    session_in(node, kind, more, PacketEncoding::Plain).await
}

async fn session_in(node: &NodeProcess, kind: &str, more: Value, encoding: PacketEncoding) -> (V1Client, Value) {
    let mut client = V1Client::greeted(node, encoding).await;
    let mut d = json!({ "type": kind, "key": key(kind) });
    d.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    client.send_event("identify", &d).await;
    let success = client.event(&format!("{kind}_connect_success")).await;
    if kind == "bot" {
        client.event("GLOBAL_GUILD_COUNT").await;
    }
    (client, success)
}

fn position(d: &Value) -> &str {
    d["position"].as_str().expect("a position")
}

async fn note(node: &NodeProcess, n: u64) -> String {
    send(node, "note", json!({ "n": n })).await
}

async fn guild_note(node: &NodeProcess, guild: &str, n: u64) -> String {
    send(node, "guild_note", json!({ "guildId": guild, "n": n })).await
}

/// Publishes an event and returns its position.
async fn send(node: &NodeProcess, name: &str, d: Value) -> String {
    let answer = publish(node, &key("service"), &json!({ "t": name, "d": d })).await;
    position(&answer).to_owned()
}

/// Receives an event of the application, which must have this number. Returns its position.
async fn gets(client: &mut V1Client, n: u64) -> String {
    let payload = client.next().await;
    assert_eq!(payload["d"]["n"], n, "{payload}");
    payload["p"].as_str().expect("a position").to_owned()
}

/// Sends a heartbeat and returns the position of its acknowledgement.
async fn heartbeat(client: &mut V1Client) -> String {
    client.send(&json!({ "op": 10 })).await;
    let ack = client.next().await;
    assert_eq!(ack["op"], 11, "{ack}");
    ack["p"].as_str().unwrap_or_else(|| panic!("{ack}")).to_owned()
}

/// Starts two nodes that share a Redis.
async fn cluster(server: &RedisProcess) -> [NodeProcess; 2] {
    let nodes = [
        setup().redis(&server.url()).start().await,
        setup().redis(&server.url()).start().await,
    ];
    for node in &nodes {
        ready(node).await;
    }
    nodes
}
