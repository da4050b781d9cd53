//! Every HTTP refusal for size or rate names the setting that decides it.

use std::{collections::BTreeSet, net::Ipv4Addr};

use gateway_harness::{NodeProcess, Raw, V1Client, eventually, full_setup, key, metric, post, request};
use gateway_node::config::reference;
use serde_json::{Value, json};

/// The action that causes a refusal.
enum Trigger {
    /// Publishes an event with this many bytes of text.
    Publishes(usize),
    /// Issues two tickets, one after another.
    IssuesTwoTickets,
    /// Publishes two jobs, one after another.
    PublishesTwoJobs,
    /// Sends a request while another one waits for its reply.
    AsksTwice,
    /// Publishes two events, one after another.
    PublishesTwice,
    /// Sends two requests with an `Idempotency-Key` each.
    PublishesWithTwoNames,
    /// Sends many publish requests in one packet.
    PublishesAtOnce,
    /// Puts a guild with a long name.
    PutsAGuild,
    /// Puts a member with a long name.
    PutsAMember,
    /// Begins two bodies of 100,000 bytes each.
    BeginsTwoBodies,
    /// Begins a body and does not continue.
    BeginsABody,
    /// Opens connections until one is refused.
    Connects,
}

/// A setting, a value that causes the refusal, the action, and the status and code of the response.
type RefusalCase = (&'static str, u64, Trigger, u16, &'static str);

const REFUSAL_CASES: [RefusalCase; 22] = [
    ("cluster.event_bytes", 100, Trigger::Publishes(200), 413, "too_large"),
    ("cluster.event_bytes", 100, Trigger::PutsAGuild, 413, "too_large"),
    ("cluster.event_bytes", 100, Trigger::PutsAMember, 413, "too_large"),
    ("http.request_bytes", 100, Trigger::Publishes(200), 413, "too_large"),
    ("http.request_bytes", 100, Trigger::PutsAGuild, 413, "too_large"),
    (
        "http.body_bytes_per_key",
        100,
        Trigger::Publishes(200),
        413,
        "too_large",
    ),
    ("http.body_bytes", 100, Trigger::Publishes(200), 413, "too_large"),
    (
        "http.body_bytes_per_key",
        150_000,
        Trigger::BeginsTwoBodies,
        429,
        "rate_limited",
    ),
    ("http.body_bytes", 150_000, Trigger::BeginsTwoBodies, 503, "overloaded"),
    ("http.body_timeout_ms", 50, Trigger::BeginsABody, 408, "timeout"),
    ("http.body_bytes_per_second", 1, Trigger::BeginsABody, 408, "timeout"),
    (
        "limits.publish_events_per_minute",
        2,
        Trigger::PublishesTwice,
        429,
        "rate_limited",
    ),
    (
        "limits.publish_bytes_per_minute",
        60,
        Trigger::PublishesTwice,
        429,
        "rate_limited",
    ),
    (
        "limits.idempotency_keys",
        1,
        Trigger::PublishesWithTwoNames,
        429,
        "too_many_idempotency_keys",
    ),
    ("jobs.entries", 1, Trigger::PublishesTwoJobs, 429, "overloaded"),
    ("jobs.bytes", 300, Trigger::PublishesTwoJobs, 429, "overloaded"),
    ("limits.requests_in_flight", 1, Trigger::AsksTwice, 429, "overloaded"),
    ("tickets.unused", 1, Trigger::IssuesTwoTickets, 429, "overloaded"),
    ("cluster.hold_bytes", 1, Trigger::PublishesAtOnce, 503, "overloaded"),
    ("limits.connections", 3, Trigger::Connects, 503, "full"),
    (
        "limits.connections_per_address",
        3,
        Trigger::Connects,
        429,
        "connections_per_address",
    ),
    (
        "limits.connection_attempts_per_minute",
        3,
        Trigger::Connects,
        429,
        "connection_attempts",
    ),
];

/// An event that is a request, and one that is a job.
const REQUEST: &str = r#"
[[events]]
name = "ask"
from = ["service"]
to = ["bot"]
deliver = "any"
reply = true

[[events]]
name = "work"
from = ["service"]
to = ["bot"]
deliver = "any"
ack_timeout_ms = 60000
"#;

fn event(bytes: usize) -> String {
    json!({ "t": "announce", "d": { "text": "x".repeat(bytes) } }).to_string()
}

/// Returns the status and the body of a response.
fn split(answer: &str) -> (u16, Value) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("a status"), serde_json::from_str(body).expect("JSON"))
}

fn head_of_body(length: usize) -> String {
    let key = key("root");
    format!("POST /api/v1/events HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {key}\r\ncontent-length: {length}\r\n")
}

async fn put(node: &NodeProcess, path: &str, body: &Value) -> (u16, Value) {
    let bearer = format!("Bearer {}", key("root"));
    let target = format!("/api/v1/applications/utilbot/guilds{path}");
    let answer = request(
        node.address(),
        "PUT",
        &target,
        &[("authorization", &bearer)],
        &body.to_string(),
    )
    .await;
    (answer.status, answer.json())
}

async fn publish_as(node: &NodeProcess, name: Option<&str>, bytes: usize) -> (u16, Value) {
    let bearer = format!("Bearer {}", key("root"));
    let mut headers = vec![("authorization", bearer.as_str())];
    headers.extend(name.map(|name| ("idempotency-key", name)));
    let answer = request(node.address(), "POST", "/api/v1/events", &headers, &event(bytes)).await;
    (answer.status, answer.json())
}

/// Sends this body with the key of an administrator. Returns the status and the answer.
async fn administer(node: &NodeProcess, target: &str, body: &str) -> (u16, Value) {
    let bearer = format!("Bearer {}", key("root"));
    let headers = [("authorization", bearer.as_str())];
    let answer = request(node.address(), "POST", target, &headers, body).await;
    (answer.status, answer.json())
}

async fn refusal(node: &NodeProcess, trigger: &Trigger) -> (u16, Value) {
    let long = "x".repeat(200);
    match trigger {
        Trigger::Publishes(bytes) => publish_as(node, None, *bytes).await,
        Trigger::PublishesTwice => {
            publish_as(node, None, 1).await;
            publish_as(node, None, 1).await
        }
        Trigger::IssuesTwoTickets => {
            administer(node, "/api/v1/tickets", "{}").await;
            administer(node, "/api/v1/tickets", "{}").await
        }
        Trigger::PublishesTwoJobs => {
            let body = r#"{"t":"work","d":{}}"#;
            administer(node, "/api/v1/events", body).await;
            administer(node, "/api/v1/events", body).await
        }
        Trigger::AsksTwice => {
            let mut bot = V1Client::session(node, "bot", &key("bot")).await;
            bot.expect_requests();
            let ask = async || administer(node, "/api/v1/requests", r#"{"t":"ask","d":{}}"#).await;
            let (_, answer) = tokio::join!(ask(), async {
                let mut asked = bot.next().await;
                while asked["t"] != "ask" {
                    asked = bot.next().await;
                }
                let refused = ask().await;
                bot.send(&json!({ "op": 1, "t": "reply", "r": asked["r"], "d": {} }))
                    .await;
                refused
            });
            answer
        }
        Trigger::PublishesWithTwoNames => {
            publish_as(node, Some("a"), 1).await;
            publish_as(node, Some("b"), 1).await
        }
        Trigger::PublishesAtOnce => {
            let body = event(1);
            let one = format!("{}\r\n{body}", head_of_body(body.len()));
            let last = one.replace("host: h", "host: h\r\nconnection: close");
            let mut raw = Raw::connect(node.address()).await;
            raw.send(format!("{}{last}", one.repeat(9)).as_bytes()).await;
            let answers = raw.text_to_end().await;
            let refused = answers.find("HTTP/1.1 503 ").unwrap_or_else(|| panic!("{answers}"));
            let refused = &answers[refused..];
            split(refused.split_inclusive('}').next().expect("an answer"))
        }
        Trigger::PutsAGuild => put(node, "/7", &json!({ "name": long })).await,
        Trigger::PutsAMember => {
            put(
                node,
                "/7/members",
                &json!([{ "user": { "id": "1", "username": long } }]),
            )
            .await
        }
        Trigger::BeginsTwoBodies => {
            let begin = format!("{}connection: close\r\n\r\n", head_of_body(100_000));
            let mut first = Raw::connect(node.address()).await;
            first.send(begin.as_bytes()).await;
            eventually("the first body is charged", async || {
                (metric(node, "utilbot_body_bytes").await == 100_000).then_some(())
            })
            .await;
            let mut second = Raw::connect(node.address()).await;
            second.send(begin.as_bytes()).await;
            split(&second.text_to_end().await)
        }
        Trigger::BeginsABody => {
            let mut raw = Raw::connect(node.address()).await;
            raw.send(format!("{}\r\n", head_of_body(1000)).as_bytes()).await;
            split(&raw.text_to_end().await)
        }
        Trigger::Connects => {
            // Open more than fit, so that a request of this test cannot take the last place.
            let mut open = Vec::new();
            for _ in 0..10 {
                open.extend(Raw::connect_from(Ipv4Addr::LOCALHOST, node.address()).await);
            }
            eventually("a refusal", async || {
                let raw = Raw::connect_from(Ipv4Addr::LOCALHOST, node.address()).await?;
                let answer = raw.ask("GET", "/health", &[]).await;
                // The open connections may not all be counted yet.
                (!answer.is_empty() && !answer.starts_with("HTTP/1.1 200 ")).then(|| split(&answer))
            })
            .await
        }
    }
}

#[tokio::test]
async fn every_refusal_for_size_or_rate_names_its_setting() {
    for (setting, value, trigger, status, code) in REFUSAL_CASES {
        let mut setup = full_setup().set(setting, value);
        if matches!(trigger, Trigger::BeginsABody) {
            setup = setup.set("http.body_timeout_ms", 50);
        }
        if matches!(trigger, Trigger::AsksTwice | Trigger::PublishesTwoJobs) {
            setup = setup.more(REQUEST);
        }
        let node = setup.start().await;
        let (known, body) = refusal(&node, &trigger).await;
        assert_eq!(
            (known, body["code"].as_str()),
            (status, Some(code)),
            "{setting}: {body}"
        );
        let message = body["message"].as_str().expect("a message");
        assert!(message.contains(&format!("`{setting}`")), "{setting}: {message}");
    }
}

#[test]
fn every_setting_that_can_refuse_an_http_request_is_listed() {
    let listed: BTreeSet<_> = REFUSAL_CASES.iter().map(|(setting, ..)| *setting).collect();
    for doc in reference() {
        let refuses = ["408", "413", "429", "503"]
            .iter()
            .any(|status| doc.meaning.contains(status));
        assert!(!refuses || listed.contains(&*doc.key), "{}", doc.key);
    }
}

#[tokio::test]
async fn a_fixed_limit_says_that_no_setting_changes_it() {
    let node = full_setup().start().await;
    let events = vec![json!({ "t": "announce", "d": {} }); 1001];
    let answer = post(&node, &key("root"), &json!(events).to_string()).await;
    assert_eq!(answer.status, 413);
    let message = "a request may hold 1000 events, whatever the settings";
    assert_eq!(answer.json()["message"], message);
}
