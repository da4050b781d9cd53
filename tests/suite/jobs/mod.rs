//! Jobs: each is delivered to one worker after the other, until one acknowledges it.

mod administration;
mod deliveries;
mod publishing;
mod survival;
mod workers;

use gateway_harness::{
    ApiResponse, NodeProcess, PacketEncoding, RedisProcess, Setup, V1Client, full_setup, key, ready, request,
};
use serde_json::{Value, json};

/// Jobs that a worker may take long for, and jobs that it may not.
const EVENTS: &str = r#"
[[events]]
name = "render"
from = ["website", "service"]
to = ["bot", "service"]
deliver = "any"
ack_timeout_ms = 60000
attempts = 3

[[events]]
name = "brief"
from = ["website", "service"]
to = ["bot"]
deliver = "any"
ack_timeout_ms = 300
attempts = 2

[[events]]
name = "mark"
from = ["bot", "website", "service"]
to = ["bot", "website", "service"]
"#;

fn setup() -> Setup {
    full_setup()
        .more(EVENTS)
        .set("cluster.lease_ms", 1000)
        .set("jobs.retry_ms", 50)
}

/// Two nodes of each kind: twice one in memory, and two that share a Redis.
struct Backplanes {
    single: NodeProcess,
    pair: [NodeProcess; 2],
    server: RedisProcess,
}

impl Backplanes {
    async fn start() -> Self {
        Self::with(|setup| setup).await
    }

    async fn with(change: impl Fn(Setup) -> Setup) -> Self {
        let server = RedisProcess::start().await;
        let single = change(setup()).start().await;
        let clustered = async || change(setup()).redis(&server.url()).start().await;
        let pair = [clustered().await, clustered().await];
        for node in pair.iter().chain([&single]) {
            ready(node).await;
        }
        Self { single, pair, server }
    }

    fn all(&self) -> [[&NodeProcess; 2]; 2] {
        [[&self.single, &self.single], [&self.pair[0], &self.pair[1]]]
    }
}

/// Opens a session that takes this many jobs at once.
async fn worker(node: &NodeProcess, kind: &str, jobs: u64) -> V1Client {
    let mut client = V1Client::greeted(node, PacketEncoding::Plain).await;
    client.expect_requests();
    client
        .send_event("identify", &json!({ "type": kind, "key": key(kind), "jobs": jobs }))
        .await;
    client.event(&format!("{kind}_connect_success")).await;
    if kind == "bot" {
        client.event("GLOBAL_GUILD_COUNT").await;
    }
    client
}

async fn call(node: &NodeProcess, method: &str, target: &str, body: &Value) -> ApiResponse {
    let headers = [("authorization", &*format!("Bearer {}", key("root")))];
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    request(node.address(), method, target, &headers, &body).await
}

/// Publishes a job over HTTP and returns its id.
async fn publish(node: &NodeProcess, name: &str, n: u64) -> String {
    let answer = call(node, "POST", "/api/v1/events", &json!({ "t": name, "d": { "n": n } })).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.json()["job"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer:?}"))
        .to_owned()
}

/// Receives a job. Returns its receipt, its attempt and its number.
async fn job(client: &mut V1Client) -> (String, u64, u64) {
    loop {
        let payload = client.next().await;
        if payload["t"] != "GLOBAL_GUILD_COUNT" {
            let receipt = payload["r"].as_str().unwrap_or_else(|| panic!("{payload}"));
            assert!(payload["p"].is_null(), "{payload}");
            let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{payload}"));
            return (receipt.to_owned(), number(&payload["a"]), number(&payload["d"]["n"]));
        }
    }
}

/// Sends a verdict with a nonce. Returns the name of the answer and the code of a refusal. The next job may come first.
async fn settle(client: &mut V1Client, event: &str, receipt: &str, d: &Value) -> (String, Value) {
    client
        .send(&json!({ "op": 1, "t": event, "n": "settle", "r": receipt, "d": d }))
        .await;
    let mut others = Vec::new();
    loop {
        let payload = client.next().await;
        if payload["n"] == "settle" {
            client.put_back(others);
            return (payload["t"].as_str().unwrap().to_owned(), payload["d"]["code"].clone());
        }
        others.push(payload);
    }
}

async fn ack(client: &mut V1Client, receipt: &str) {
    let (answer, code) = settle(client, "ack", receipt, &json!({})).await;
    assert_eq!((&*answer, code), ("event_accepted", Value::Null));
}

async fn is_over(client: &mut V1Client, event: &str, receipt: &str) {
    let (answer, code) = settle(client, event, receipt, &json!({})).await;
    assert_eq!((&*answer, code), ("event_refused", json!("receipt_over")));
}

/// Returns the listed jobs: id, state and attempts.
async fn listed(node: &NodeProcess, query: &str) -> Vec<(String, String, u64)> {
    let answer = call(node, "GET", &format!("/api/v1/jobs{query}"), &Value::Null).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let jobs = answer.json()["jobs"].as_array().unwrap().clone();
    let entry = |job: &Value| {
        (
            text(&job["job"]),
            text(&job["state"]),
            job["attempts"].as_u64().unwrap(),
        )
    };
    jobs.iter().map(entry).collect()
}
