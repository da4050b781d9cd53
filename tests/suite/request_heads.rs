//! Heads of HTTP requests on bare sockets: what a proxy could read in another way is refused, and a WebSocket may be one of
//! several protocols.

use std::net::SocketAddr;

use gateway_harness::{NodeProcess, Raw, full_setup, key};

/// A request that is answered with 200 on every listener.
const GOOD: &str = "GET /livez HTTP/1.1\r\nHost: h\r\n\r\n";
/// What a client tries to hide behind a malformed head.
const HIDDEN: &str = "GET /livez HTTP/1.1\r\nHost: hidden\r\n\r\n";
const KEY: &str = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Heads with one thing wrong, made from one that is right.
fn malformed(head: &str) -> Vec<String> {
    let host = "Host: h\r\n";
    let changes = [
        ("GET ", "\nGET "),
        ("GET ", "\r\n\nGET "),
        (" HTTP/1.1\r\n", " HTTP/1.1\n"),
        (host, "Host: h\n"),
        ("\r\n\r\n", "\r\n\n"),
        ("\r\n\r\n", "\n\r\n"),
        ("\r\n\r\n", "\n\n"),
        (" HTTP/1.1\r\n", " HTTP/1.1\r"),
        (host, "Host: h\rX: y\r\n"),
        (host, "Host: h\r\r\n"),
        (host, "Host: h\r\nX: a\0b\r\n"),
        (host, "Host: h\r\nX: a\r\n folded\r\n"),
        (host, "Host: h\r\n\tfolded\r\n"),
        (host, " Host: h\r\n"),
        (host, "Host : h\r\n"),
        (host, "Host: h\r\n: y\r\n"),
        (host, "Host: h\r\nX y: z\r\n"),
        (host, "Host: h\r\nX\r\n"),
        (host, "Host: h\r\nHost: h\r\n"),
        (host, ""),
        ("GET ", "GET  "),
        (" HTTP/1.1", "  HTTP/1.1"),
        (" HTTP/1.1", " HTTP/1.1 "),
        (" HTTP/1.1", " HTTP/2.0"),
        (host, "Host: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n"),
        (host, "Host: h\r\nContent-Length: +1\r\n"),
        (host, "Host: h\r\nContent-Length: 1, 1\r\n"),
        (host, "Host: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n"),
        (host, "Host: h\r\nTransfer-Encoding: gzip\r\n"),
        (
            host,
            "Host: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        ),
    ];
    let heads: Vec<_> = changes.iter().map(|(from, to)| head.replacen(from, to, 1)).collect();
    assert!(heads.iter().all(|malformed| malformed != head));
    heads
}

fn is_refused(answers: &str) -> bool {
    answers.starts_with("HTTP/1.1 400 ") && answers.matches("HTTP/1.1").count() == 1
}

async fn node() -> (NodeProcess, [SocketAddr; 2]) {
    let node = full_setup().set("admin.bind", "127.0.0.1:0").start().await;
    let admin = node.banner()["admin_address"].as_str().unwrap().parse().unwrap();
    let addresses = [node.address(), admin];
    (node, addresses)
}

#[tokio::test]
async fn a_malformed_head_is_400_and_ends_the_connection() {
    let (_node, addresses) = node().await;
    for address in addresses {
        for head in malformed(GOOD) {
            let mut client = Raw::connect(address).await;
            client.send([&*head, HIDDEN].concat().as_bytes()).await;
            let answers = client.text_to_end().await;
            assert!(is_refused(&answers), "{head:?}: {answers}");
        }
    }
}

#[tokio::test]
async fn a_malformed_head_opens_no_websocket() {
    let node = full_setup().start().await;
    let upgrade = format!("GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{KEY}\r\n");
    let mut client = Raw::connect(node.address()).await;
    client.send(upgrade.as_bytes()).await;
    assert!(client.head_of_answer().await.starts_with("HTTP/1.1 101 "));
    for head in malformed(&upgrade) {
        let mut client = Raw::connect(node.address()).await;
        client.send(head.as_bytes()).await;
        let answers = client.text_to_end().await;
        assert!(is_refused(&answers), "{head:?}: {answers}");
    }
}

#[tokio::test]
async fn every_head_of_a_kept_connection_is_checked() {
    let (_node, addresses) = node().await;
    let publish = |coding: &str, body: &str| {
        let authorization = format!("Authorization: Bearer {}\r\n", key("root"));
        format!("POST /api/v1/events HTTP/1.1\r\nHost: h\r\n{authorization}{coding}\r\n{body}")
    };
    let event = "{\"t\":\"MESSAGE_CREATE\",\r\n\"to\":\"all\",\n\"d\":{}}\n";
    let length = publish(&format!("Content-Length: {}\r\n", event.len()), event);
    let chunks = format!(
        "8;x=y\r\n{}\r\n{:x}\r\n{}\r\n0\r\nx: y\r\n\r\n",
        &event[..8],
        event.len() - 8,
        &event[8..]
    );
    let chunked = publish("Transfer-Encoding: chunked\r\n", &chunks);
    for (address, before, status) in [
        (addresses[0], GOOD, "200"),
        (addresses[1], GOOD, "200"),
        (addresses[0], &length, "202"),
        (addresses[0], &chunked, "202"),
    ] {
        let status = format!("HTTP/1.1 {status} ");
        for head in malformed(GOOD) {
            let mut client = Raw::connect(address).await;
            client.send(before.as_bytes()).await;
            let answer = client.head_of_answer().await;
            assert!(answer.starts_with(&status), "{before}: {answer}");
            client.send([&*head, HIDDEN].concat().as_bytes()).await;
            let answers = client.text_to_end().await;
            let (_body, refusal) = answers.split_once("HTTP/1.1").unwrap_or_default();
            assert!(is_refused(&format!("HTTP/1.1{refusal}")), "{head:?}: {answers}");
        }
        // What is right goes on, also without waiting for the answer.
        let mut client = Raw::connect(address).await;
        let last = GOOD.replacen("Host", "Connection: close\r\nHost", 1);
        client.send([before, before, &last].concat().as_bytes()).await;
        let answers = client.text_to_end().await;
        let statuses: Vec<_> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
        assert_eq!(statuses, [&status[9..12], &status[9..12], "200"], "{answers}");
    }
}

#[tokio::test]
async fn lines_of_a_chunked_body_end_with_crlf() {
    let node = full_setup().start().await;
    let head = format!(
        "POST /api/v1/events HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {}\r\nTransfer-Encoding: chunked\r\n\r\n",
        key("root")
    );
    for body in [
        "1\n{\r\n0\r\n\r\n",
        "1;x\n{\r\n0\r\n\r\n",
        "1\r\n{\n0\r\n\r\n",
        "1\r\n{\r\n0\r\n\n",
        "1\r\n{\r\n0\r\nx: y\n\r\n",
    ] {
        let mut client = Raw::connect(node.address()).await;
        client.send([&*head, body, HIDDEN].concat().as_bytes()).await;
        let answers = client.text_to_end().await;
        assert!(
            answers.starts_with("HTTP/1.1 400 ") && !answers.contains(" 200 "),
            "{body:?}: {answers}"
        );
    }
}

#[tokio::test]
async fn a_websocket_may_be_one_of_several_protocols() {
    let node = full_setup().start().await;
    for (upgrade, connection) in [
        ("h2c, websocket", "Upgrade"),
        ("WebSocket ,h2c", "keep-alive, Upgrade"),
        (
            "h2c\r\nUpgrade: a/1,websocket",
            "keep-alive\r\nConnection: upgrade, HTTP2-Settings",
        ),
        ("h2c\r\nupgrade: websocket", "Keep-Alive,UPGRADE"),
    ] {
        let head = format!("GET / HTTP/1.1\r\nHost: h\r\nUpgrade: {upgrade}\r\nConnection: {connection}\r\n{KEY}");
        // In one read, in several, and behind another request: each takes another way to the WebSocket.
        let whole = format!("{head}\r\n");
        let long = format!("{head}X: {}\r\n\r\n", "y".repeat(10_000));
        for (before, request) in [("", &whole), ("", &long), (GOOD, &whole)] {
            let mut client = Raw::connect(node.address()).await;
            if !before.is_empty() {
                client.send(before.as_bytes()).await;
                let answer = client.head_of_answer().await;
                assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            }
            client.send(request.as_bytes()).await;
            let answer = client.head_of_answer().await;
            let answer = answer.split_once("HTTP/1.1 ").map_or("", |(_body, answer)| answer);
            assert!(answer.starts_with("101 "), "{request}: {answer}");
            // Hello.
            assert_eq!(client.frame().await.unwrap().opcode, 1, "{request}");
        }
    }
}

#[tokio::test]
async fn another_protocol_is_no_websocket() {
    let node = full_setup().start().await;
    for upgrade in ["h2c", "websocket/13", "websockets", "h2c websocket"] {
        let mut client = Raw::connect(node.address()).await;
        let head = format!("GET / HTTP/1.1\r\nHost: h\r\nUpgrade: {upgrade}\r\nConnection: Upgrade\r\n{KEY}\r\n");
        client.send(head.as_bytes()).await;
        let answer = client.head_of_answer().await;
        assert!(answer.starts_with("HTTP/1.1 426 "), "{upgrade}: {answer}");
    }
}
