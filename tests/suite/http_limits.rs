//! What a client can take from a node over HTTP before it has shown a key, and with one.

use std::net::{Ipv4Addr, SocketAddr};

use gateway_harness::{
    NodeProcess, PacketEncoding, Raw, Setup, V1Client, eventually, full_setup, get, key, metric, post, request,
};
use serde_json::json;

use crate::tls::secured_node_with;

const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
/// The beginning of a request whose body never comes.
const UNFINISHED: &[u8] = b"POST /api/v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n";

const LIVEZ: &[u8] = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";

async fn from(source: Ipv4Addr, node: &NodeProcess) -> Raw {
    Raw::connect_from(source, node.address())
        .await
        .expect("the node accepts")
}

async fn is_alive(source: Ipv4Addr, node: &NodeProcess) -> bool {
    from(source, node)
        .await
        .ask("GET", "/livez", &[])
        .await
        .ends_with("\r\n\r\nok\n")
}

/// Opens connections that begin a request. Those that the node refuses are closed by it.
async fn unfinished(count: usize, source: Ipv4Addr, address: SocketAddr) -> Vec<Raw> {
    let mut open = Vec::new();
    for _ in 0..count {
        if let Some(mut raw) = Raw::connect_from(source, address).await {
            raw.try_send(UNFINISHED).await.ok();
            open.push(raw);
        }
    }
    open
}

#[tokio::test]
async fn unfinished_requests_count_against_their_address() {
    let node = full_setup().set("limits.connections_per_address", 20).start().await;
    let open = unfinished(20, STRANGER, node.address()).await;
    eventually("all of them are counted", async || {
        (metric(&node, "utilbot_connections").await >= 20).then_some(())
    })
    .await;
    let answer = from(STRANGER, &node).await.ask("GET", "/health", &[]).await;
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    assert!(answer.contains("\"code\":\"connections_per_address\""), "{answer}");
    // What an orchestrator asks is answered even then.
    assert!(is_alive(STRANGER, &node).await);
    assert!(is_alive(OTHER, &node).await);
    V1Client::session(&node, "bot", &key("bot")).await;
    let refused = "utilbot_connections_refused_total{reason=\"connections_per_address\"}";
    assert!(metric(&node, refused).await >= 2);
    drop(open);
    eventually("there is room again", async || {
        let answer = from(STRANGER, &node).await.ask("GET", "/health", &[]).await;
        answer.starts_with("HTTP/1.1 200 ").then_some(())
    })
    .await;
}

#[tokio::test]
async fn one_address_never_takes_the_descriptors_of_all() {
    let mut node = full_setup().descriptors(400).start().await;
    let open = unfinished(450, STRANGER, node.address()).await;
    for _ in 0..5 {
        assert!(is_alive(OTHER, &node).await);
        let mut client = V1Client::session(&node, "bot", &key("bot")).await;
        client.heartbeat().await;
    }
    assert!(metric(&node, "utilbot_connections").await <= 210);
    assert!(node.lives());
    drop(open);
}

#[tokio::test]
async fn a_full_node_answers_for_its_life_and_nothing_else() {
    let node = full_setup()
        .set("limits.connections", 10)
        .set("admin.bind", "127.0.0.1:0")
        .start()
        .await;
    let admin = node.banner()["admin_address"].as_str().unwrap().parse().unwrap();
    // More than there is room for, so that a question in between cannot take the last place.
    let _held = unfinished(20, STRANGER, node.address()).await;
    eventually("a full node", async || {
        let answer = from(OTHER, &node).await.ask("GET", "/health", &[]).await;
        answer.starts_with("HTTP/1.1 503 ").then_some(())
    })
    .await;
    assert!(is_alive(OTHER, &node).await);
    for target in ["/livez", "/metrics"] {
        assert_eq!(request(admin, "GET", target, &[], "").await.status, 200, "{target}");
    }
}

#[tokio::test]
async fn a_body_without_a_valid_key_is_refused_from_its_head() {
    let node = full_setup().start().await;
    let half = vec![b'x'; (1 << 20) - 1];
    let begin = async || {
        let mut raw = from(STRANGER, &node).await;
        raw.send(b"POST /api/v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1048576\r\n\r\n")
            .await;
        // The node may have answered and closed before it is all sent.
        raw.try_send(&half).await.ok();
        raw
    };
    let head = begin().await.head_of_answer().await;
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
    assert!(head.contains("connection: close\r\n"), "{head}");
    // Of many at once a few may read their answer, and the rest is cut.
    let attack = async |count: usize| {
        let mut open = Vec::new();
        for _ in 0..count {
            open.push(begin().await);
        }
        eventually("the node has ended all of them", async || {
            (metric(&node, "utilbot_connections").await == 1).then_some(())
        })
        .await;
    };
    attack(10).await;
    let before = node.rss_kib();
    attack(50).await;
    let grown = node.rss_kib().saturating_sub(before);
    assert!(grown < 8192, "{grown} KiB");
    assert_eq!(metric(&node, "utilbot_body_bytes").await, 0);
}

fn head_of_body(key: &str, length: usize) -> String {
    format!(
        "POST /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nContent-Length: {length}\r\n\r\n"
    )
}

#[tokio::test]
async fn bodies_of_a_key_stay_within_its_budget_and_those_of_all_within_the_nodes() {
    let node = full_setup()
        .set("http.body_bytes_per_key", 200_000)
        .set("http.body_bytes", 300_000)
        .start()
        .await;
    let begin = async |id: &str| {
        let mut raw = from(STRANGER, &node).await;
        raw.send(head_of_body(&key(id), 100_000).as_bytes()).await;
        raw
    };
    let mut open = Vec::new();
    for bytes in [100_000, 200_000] {
        open.push(begin("service").await);
        eventually("the body is charged before it is there", async || {
            (metric(&node, "utilbot_body_bytes").await == bytes).then_some(())
        })
        .await;
    }
    let head = begin("service").await.head_of_answer().await;
    assert!(
        head.starts_with("HTTP/1.1 429 ") && head.contains("retry-after: 1\r\n"),
        "{head}"
    );
    open.push(begin("root").await);
    eventually("another key has a budget of its own", async || {
        (metric(&node, "utilbot_body_bytes").await == 300_000).then_some(())
    })
    .await;
    let head = begin("root").await.head_of_answer().await;
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    drop(open);
    eventually("what was charged is given back", async || {
        (metric(&node, "utilbot_body_bytes").await == 0).then_some(())
    })
    .await;
    let event = json!({ "t": "announce", "d": {} }).to_string();
    assert_eq!(post(&node, &key("service"), &event).await.status, 202);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let node = full_setup().set("http.body_timeout_ms", 50).start().await;
    let mut raw = from(STRANGER, &node).await;
    raw.send(head_of_body(&key("service"), 1000).as_bytes()).await;
    let answer = raw.text_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(metric(&node, "utilbot_body_bytes").await, 0);
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_cut() {
    let node = full_setup().set("http.request_timeout_ms", 50).start().await;
    let mut raw = from(STRANGER, &node).await;
    raw.send(head_of_body(&key("service"), 1000).as_bytes()).await;
    assert_eq!(raw.text_to_end().await, "");
    node.logged("slow request").await;
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_request_and_not_for_ever() {
    let node = full_setup().set("http.keep_alive_ms", 300).start().await;
    let mut raw = from(STRANGER, &node).await;
    for _ in 0..2 {
        raw.send(LIVEZ).await;
        let head = raw.head_of_answer().await;
        assert!(head.trim_start_matches("ok\n").starts_with("HTTP/1.1 200 "), "{head}");
    }
    assert_eq!(raw.text_to_end().await, "ok\n");
}

#[tokio::test]
async fn a_publisher_without_keep_alive_costs_its_address_no_attempts() {
    let node = full_setup()
        .set("limits.connection_attempts_per_minute", 3)
        .start()
        .await;
    let event = json!({ "t": "announce", "d": {} }).to_string();
    for _ in 0..10 {
        assert_eq!(post(&node, &key("service"), &event).await.status, 202);
    }
    for expected in ["200", "200", "200", "429"] {
        let answer = from(STRANGER, &node).await.ask("GET", "/health", &[]).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{answer}");
    }
}

#[tokio::test]
async fn each_request_of_a_stranger_on_one_connection_is_an_attempt() {
    let node = full_setup()
        .set("limits.connection_attempts_per_minute", 3)
        .start()
        .await;
    let mut raw = from(STRANGER, &node).await;
    for expected in ["200", "200", "200", "429"] {
        raw.send(LIVEZ).await;
        let head = raw.head_of_answer().await;
        // The body of the answer before stands in front.
        let head = head.trim_start_matches("ok\n");
        assert!(head.starts_with(&format!("HTTP/1.1 {expected} ")), "{head}");
    }
}

#[tokio::test]
async fn requests_through_a_trusted_proxy_count_for_the_address_that_it_names() {
    let file = format!(
        "{}\n[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n",
        gateway_harness::KEYS
    );
    let node = Setup::new()
        .file(&file)
        .set("limits.connection_attempts_per_minute", 3)
        .start()
        .await;
    let ask = async |client: &str, bearer: Option<&str>| {
        let bearer = bearer.map(|key| format!("Bearer {key}"));
        let mut headers = vec![("x-forwarded-for", client)];
        headers.extend(bearer.iter().map(|bearer| ("authorization", bearer.as_str())));
        let answer = request(node.address(), "GET", "/api/v1/sessions", &headers, "").await;
        answer.status
    };
    for _ in 0..5 {
        assert_eq!(ask("192.0.2.7", Some(&key("root"))).await, 200);
    }
    for expected in [401, 401, 401, 429] {
        assert_eq!(ask("192.0.2.7", None).await, expected);
    }
    assert_eq!(ask("192.0.2.8", None).await, 401);
    // The proxy itself is exempt.
    for _ in 0..5 {
        assert_eq!(get(&node, "/livez").await.status, 200);
    }
}

#[tokio::test]
async fn handshakes_of_tls_count_against_their_address() {
    let (node, _folder, trusted) = secured_node_with(|setup| setup.set("limits.connections_per_address", 3)).await;
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(from(STRANGER, &node).await);
    }
    let one_more = from(STRANGER, &node).await.text_to_end().await;
    assert_eq!(one_more, "", "it is cut without a handshake");
    let mut client = V1Client::open_tls(node.address(), trusted, PacketEncoding::Plain)
        .await
        .unwrap();
    assert_eq!(client.next().await["op"], 5);
    drop(silent);
}
