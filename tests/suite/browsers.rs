//! Web pages and foreign host names: in development mode, only loopback and allowed hosts may reach a node.

use std::net::SocketAddr;

use gateway_harness::{Raw, Setup, full_setup};

/// Sends a `GET` with exactly these headers. Returns the whole response as text.
async fn get(address: SocketAddr, target: &str, headers: &[(&str, &str)]) -> String {
    let mut raw = Raw::connect(address).await;
    let mut request = format!("GET {target} HTTP/1.1\r\nConnection: close\r\n");
    for (name, value) in headers {
        request.extend([*name, ": ", *value, "\r\n"]);
    }
    raw.send((request + "\r\n").as_bytes()).await;
    let answer = raw.text_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
    answer
}

#[tokio::test]
async fn development_mode_refuses_foreign_origins_and_hosts_everywhere() {
    let node = Setup::new()
        .set("server.allowed_hosts", "box")
        .set("admin.bind", "127.0.0.1:0")
        .start()
        .await;
    let admin = node.banner()["admin_address"].as_str().unwrap().parse().unwrap();
    for (host, origin, status) in [
        ("localhost", None, "200"),
        ("127.0.0.1:8080", Some("http://localhost:3000"), "200"),
        ("box:8080", Some("https://box"), "200"),
        ("evil.example", None, "403"),
        ("localhost", Some("https://evil.example"), "403"),
        ("localhost", Some("null"), "403"),
    ] {
        let mut headers = vec![("Host", host)];
        headers.extend(origin.map(|origin| ("Origin", origin)));
        for address in [node.address(), admin] {
            let answer = get(address, "/metrics", &headers).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{host} {origin:?}: {answer}"
            );
        }
    }
    for (headers, status, code) in [
        (vec![], "101", ""),
        (vec![("Origin", "http://127.0.0.1:3000")], "101", ""),
        (vec![("Origin", "https://evil.example")], "403", "\"code\":\"origin\""),
    ] {
        let mut raw = Raw::connect(node.address()).await;
        raw.request_of("localhost", "/?v=1", &headers).await;
        let head = raw.head_of_answer().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{headers:?}: {head}");
        if !code.is_empty() {
            let answer = raw.text_to_end().await;
            assert!(answer.contains(code), "{answer}");
        }
    }
    let mut raw = Raw::connect(node.address()).await;
    raw.request_of("evil.example", "/?v=1", &[]).await;
    let answer = raw.text_to_end().await;
    assert!(
        answer.starts_with("HTTP/1.1 403 ") && answer.contains("\"code\":\"host\""),
        "{answer}"
    );
}

#[tokio::test]
async fn with_keys_any_origin_may_connect_and_only_listed_hosts_are_served() {
    let node = full_setup().start().await;
    let foreign = [("Host", "any.example"), ("Origin", "https://evil.example")];
    let answer = get(node.address(), "/metrics", &foreign).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");

    let node = full_setup()
        .set("server.allowed_hosts", "gateway.example")
        .start()
        .await;
    for (host, target, status) in [
        ("gateway.example", "/metrics", "200"),
        ("other.example", "/metrics", "403"),
        ("10.0.0.7:8080", "/livez", "200"),
    ] {
        let answer = get(node.address(), target, &[("Host", host)]).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{host}: {answer}");
    }
}
