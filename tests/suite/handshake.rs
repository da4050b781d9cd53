//! How a connection opens: paths, parameters, extensions.

use gateway_harness::{PacketEncoding, Raw, Setup, V1Client, get, request};
use serde_json::json;
use tokio_tungstenite::tungstenite::Error;

#[tokio::test]
async fn both_paths_and_every_spelling_of_version_1_open_a_session() {
    let node = Setup::new().start().await;
    for target in [
        "/",
        "//",
        "/?v=1",
        "//?v=1",
        "/?compression=zlib",
        "/?v=1&compression=zlib",
        "/?other=x",
    ] {
        let encoding = if target.contains("zlib") {
            PacketEncoding::Zlib
        } else {
            PacketEncoding::Plain
        };
        let mut client = V1Client::open(node.address(), target, encoding).await.unwrap();
        assert_eq!(client.next().await["op"], 5, "{target}");
    }
}

#[tokio::test]
async fn a_wrong_version_is_an_error_in_the_place_of_hello() {
    let node = Setup::new().start().await;
    for query in ["v=", "v=0", "v=2", "v=5", "v=11", "v=01", "v=1.0", "v=one", "v"] {
        for encoding in PacketEncoding::ALL {
            let compression = if encoding == PacketEncoding::Zlib {
                "&compression=zlib"
            } else {
                ""
            };
            let mut client = V1Client::connect(&node, &format!("{query}{compression}"), encoding).await;
            let error = client.error(4000, 4000).await;
            assert_eq!(error.get("d"), None, "{query}");
        }
    }
}

#[tokio::test]
async fn a_wrong_compression_is_named_in_an_error_in_the_place_of_hello() {
    let node = Setup::new().start().await;
    for compression in ["", "gzip", "ZLIB", "zlib-stream"] {
        let mut client =
            V1Client::connect(&node, &format!("v=1&compression={compression}"), PacketEncoding::Plain).await;
        let error = client.error(4005, 4005).await;
        let named = error["d"]["errors"][0].as_str().unwrap().to_lowercase();
        assert!(named.contains("compression"), "{error}");
        assert_eq!(error["d"]["data"], json!([compression]));
    }
}

#[tokio::test]
async fn no_extension_and_no_subprotocol_is_negotiated() {
    let node = Setup::new().start().await;
    let headers = [
        ("sec-websocket-extensions", "permessage-deflate"),
        ("sec-websocket-protocol", "utilbot"),
    ];
    let mut raw = Raw::open_with(node.address(), "/", &headers).await;
    let head = raw.head().to_lowercase();
    assert!(!head.contains("sec-websocket-extensions"), "{head}");
    assert!(!head.contains("sec-websocket-protocol"), "{head}");
    assert_eq!(raw.frame().await.unwrap().opcode, 1);
}

#[tokio::test]
async fn a_handshake_that_breaks_a_rule_gets_an_http_answer() {
    let node = Setup::new().start().await;
    let status = |target: &'static str| {
        let address = node.address();
        async move {
            match V1Client::open(address, target, PacketEncoding::Plain).await {
                Err(Error::Http(answer)) => answer.status().as_u16(),
                other => panic!("{target}: {other:?}"),
            }
        }
    };
    assert_eq!(status("/elsewhere").await, 404);
    assert_eq!(status("/health").await, 404);
    let mut bad = Raw::connect(node.address()).await;
    bad.send(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAA\r\nSec-WebSocket-Version: 13\r\n\r\n").await;
    assert!(bad.text_to_end().await.starts_with("HTTP/1.1 400 "));
    let mut old = Raw::connect(node.address()).await;
    old.send(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 8\r\n\r\n").await;
    let answer = old.text_to_end().await.to_lowercase();
    assert!(answer.starts_with("http/1.1 426 "), "{answer}");
    assert!(answer.contains("sec-websocket-version: 13"), "{answer}");
}

#[tokio::test]
async fn a_get_without_an_upgrade_is_426_and_a_page_for_a_browser() {
    let node = Setup::new().start().await;
    let answer = get(&node, "/").await;
    assert_eq!(answer.status, 426);
    assert_eq!(answer.header("upgrade"), Some("websocket"));
    let answer = request(node.address(), "GET", "/", &[("accept", "text/html,*/*;q=0.8")], "").await;
    assert_eq!(answer.status, 426);
    assert!(answer.header("content-type").unwrap().starts_with("text/html"));
    let version = node.banner()["version"].as_str().unwrap().to_owned();
    for part in ["Utilbot Gateway", &version, "/protocol"] {
        assert!(answer.body.contains(part), "{part} in {}", answer.body);
    }
    let protocol = get(&node, "/protocol").await;
    assert!(protocol.body.contains("_connect_success"), "{}", protocol.body);
}

#[tokio::test]
async fn only_allowed_origins_may_connect_where_some_are_listed() {
    let file = "[server]\nallowed_origins = [\"https://utilbot.example\"]\n";
    let node = Setup::new().file(file).start().await;
    for (origin, expected) in [("https://utilbot.example", "101"), ("https://evil.example", "403")] {
        let mut raw = Raw::connect(node.address()).await;
        raw.request("/", &[("origin", origin)]).await;
        assert!(
            raw.head_of_answer().await.starts_with(&format!("HTTP/1.1 {expected} ")),
            "{origin}"
        );
    }
    assert_eq!(
        V1Client::greeted(&node, PacketEncoding::Plain).await.close(1000).await,
        Some(1000)
    );
}
