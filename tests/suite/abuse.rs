//! Clients that mean harm. Each ends as promised, and nobody else suffers.

use gateway_harness::{
    PacketEncoding, Raw, RawFrame, Setup, V1Client, deflate, eventually, frame, full_setup, header, key,
};
use serde_json::{Value, json};

#[tokio::test]
async fn a_frame_is_refused_by_the_length_that_it_declares() {
    let node = full_setup().start().await;
    // What one connection costs is there before it is measured.
    V1Client::session(&node, "website", &key("website"))
        .await
        .heartbeat()
        .await;
    let before = node.rss_kib();
    for first in [0x81, 0x82, 0x01] {
        for length in [1 << 40, u64::MAX >> 1, 65_537] {
            let mut raw = Raw::open(node.address(), "/?v=1").await;
            let mut bytes = header(first, length);
            bytes.extend_from_slice(&[0; 4096]);
            raw.send(&bytes).await;
            let frames = raw.rest().await;
            let [_hello, words, close] = &*frames else {
                panic!("{frames:?}")
            };
            assert_eq!(serde_json::from_str::<Value>(words.text()).unwrap()["e"], 1000);
            assert_eq!(close.close_code(), Some(1009), "{first:#x} {length}");
        }
    }
    let grown = node.rss_kib().saturating_sub(before);
    assert!(grown < 2048, "{grown} KiB");
}

#[tokio::test]
async fn fragments_count_together() {
    let node = full_setup().start().await;
    let mut raw = Raw::open(node.address(), "/?v=1").await;
    raw.send(&frame(0x01, &vec![b' '; 40_000])).await;
    raw.send(&frame(0x80, &vec![b' '; 40_000])).await;
    let frames = raw.rest().await;
    assert_eq!(frames.last().unwrap().close_code(), Some(1009), "{frames:?}");
    let mut raw = Raw::open(node.address(), "/?v=1").await;
    for (first, part) in [(0x01, "{\"o"), (0x00, "p\":"), (0x89, "ping"), (0x80, "10}")] {
        raw.send(&frame(first, part.as_bytes())).await;
    }
    let texts = [
        raw.frame().await.unwrap(),
        raw.frame().await.unwrap(),
        raw.frame().await.unwrap(),
    ];
    assert_eq!(
        texts[1],
        RawFrame {
            opcode: 10,
            payload: b"ping".to_vec()
        }
    );
    assert_eq!(texts[2].text(), r#"{"op":11}"#);
}

#[tokio::test]
async fn what_breaks_the_rules_of_frames_is_closed_with_the_code_of_the_rfc() {
    let node = full_setup().start().await;
    for (what, bytes, code) in [
        ("a frame without a mask", b"\x81\x02{}".to_vec(), 1002),
        ("a reserved bit", frame(0xc1, b"{}"), 1002),
        ("a reserved opcode", frame(0x83, b"{}"), 1002),
        ("a continuation of nothing", frame(0x80, b"{}"), 1002),
        (
            "a message within a message",
            [frame(0x01, b"{"), frame(0x81, b"}")].concat(),
            1002,
        ),
        ("a fragmented ping", frame(0x09, b""), 1002),
        ("a long ping", frame(0x89, &[0; 126]), 1002),
        ("a 16-bit length below 126", b"\x81\xfe\0\x7d".to_vec(), 1002),
        ("a 16-bit length of nothing", b"\x82\xfe\0\0".to_vec(), 1002),
        (
            "a 64-bit length below 65536",
            b"\x81\xff\0\0\0\0\0\0\xff\xff".to_vec(),
            1002,
        ),
        (
            "a 64-bit length with its top bit set",
            b"\x82\xff\x80\0\0\0\0\x01\0\0".to_vec(),
            1002,
        ),
        ("a short ping with a 16-bit length", b"\x89\xfe\0\x01".to_vec(), 1002),
        ("text that is not UTF-8", frame(0x81, b"\xff\xfe"), 1007),
        ("text that ends within a character", frame(0x81, b"\xe2\x82"), 1007),
        ("a close code of one byte", frame(0x88, b"\x03"), 1002),
        (
            "a close code that is not sent",
            frame(0x88, &1005_u16.to_be_bytes()),
            1002,
        ),
        ("a close reason that is not UTF-8", frame(0x88, b"\x03\xe8\xff"), 1007),
    ] {
        let mut raw = Raw::open(node.address(), "/?v=1").await;
        raw.send(&bytes).await;
        let frames = raw.rest().await;
        assert_eq!(
            frames.last().and_then(RawFrame::close_code),
            Some(code),
            "{what}: {frames:?}"
        );
        assert_eq!(frames.len(), 2, "{what}: {frames:?}");
    }
}

#[tokio::test]
async fn a_zlib_bomb_costs_no_memory() {
    let node = full_setup().start().await;
    let bomb = deflate(&vec![0; 48 << 20]);
    let attack = async || {
        let mut client = V1Client::greeted(&node, PacketEncoding::Zlib).await;
        client.send_binary(&bomb).await;
        client.error(1000, 1009).await;
    };
    attack().await;
    let before = node.rss_kib();
    for _ in 0..20 {
        attack().await;
    }
    let grown = node.rss_kib().saturating_sub(before);
    assert!(grown < 4096, "{grown} KiB");
}

/// A payload made of the words of the protocol, put together wrongly.
fn malformed(random: &mut fastrand::Rng) -> String {
    const VALUES: [&str; 22] = [
        "null",
        "true",
        "0",
        "1",
        "10",
        "-1",
        "1.5",
        "1e999",
        "99999999999999999999",
        "\"\"",
        "\"identify\"",
        "\"send_servers\"",
        "\"announce\"",
        "\"\\ud800\"",
        "{}",
        "[]",
        "[[[[]]]]",
        "{\"guilds\":[1,\"x\"]}",
        "{\"type\":\"bot\",\"key\":7}",
        "{\"guildId\":{}}",
        "{\"a\":",
        "\u{0}",
    ];
    let mut text = String::from("{");
    for index in 0..random.usize(0..6) {
        let key = ["op", "d", "t", "e", "m", "x"][random.usize(..6)];
        let comma = if index > 0 { "," } else { "" };
        text.extend([comma, "\"", key, "\":", VALUES[random.usize(..VALUES.len())]]);
    }
    match random.u8(..8) {
        0 => {}
        1 => text.push_str(&"[".repeat(random.usize(..20_000))),
        2 => text.insert(random.usize(..text.len()), '"'),
        _ => text.push('}'),
    }
    text
}

#[tokio::test]
async fn malformed_payloads_end_at_most_their_own_session() {
    const SESSIONS: usize = 60;
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut node = full_setup().start().await;
    let mut bystander = V1Client::session(&node, "service", &key("service")).await;
    for index in 0..SESSIONS {
        let encoding = PacketEncoding::ALL[index % 2];
        let mut client = match index % 3 {
            0 => V1Client::greeted(&node, encoding).await,
            1 => V1Client::session_in(&node, "bot", &key("bot"), encoding).await,
            _ => V1Client::session_in(&node, "website", &key("website"), encoding).await,
        };
        for _ in 0..100 {
            let text = malformed(&mut random);
            let message = match (encoding, random.bool()) {
                (PacketEncoding::Plain, true) | (PacketEncoding::Zlib, false) => text.as_str().into(),
                (PacketEncoding::Zlib, true) => deflate(text.as_bytes()).into(),
                (PacketEncoding::Plain, false) => text.as_bytes().to_vec().into(),
            };
            if client.try_send(message).await.is_err() {
                break;
            }
        }
        // It is over, or it lives and answers; what came in between are events, counts and one Error at most.
        let heartbeat = json!({ "op": 10, "m": "last" });
        client.try_send(heartbeat.to_string().into()).await.ok();
        loop {
            match client.next_text().await {
                Ok(text) if text == r#"{"op":11}"# => break,
                Ok(text) => {
                    let payload: Value = serde_json::from_str(&text).unwrap();
                    let e = &payload["e"];
                    assert!(
                        *e == Value::Null || [4001, 4003, 4004, 4005, 4007].map(Value::from).contains(e),
                        "{text}"
                    );
                }
                Err(code) => {
                    assert!(matches!(code, None | Some(4001 | 4003..=4005 | 4007)), "{code:?}");
                    break;
                }
            }
        }
    }
    bystander.send_event("announce", &json!({})).await;
    loop {
        let payload = {
            bystander.send(&json!({ "op": 10, "d": "still here" })).await;
            bystander.next().await
        };
        if payload["op"] == 11 {
            break;
        }
    }
    assert!(node.lives());
    assert!(!node.log().contains("panicked"), "{}", node.log());
}

#[tokio::test]
async fn random_bytes_after_the_handshake_end_at_most_their_own_connection() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut node = full_setup().start().await;
    let mut bystander = V1Client::session(&node, "service", &key("service")).await;
    for _ in 0..200 {
        let mut raw = Raw::open(node.address(), "/?v=1&compression=zlib").await;
        let mut bytes = vec![0; random.usize(1..3000)];
        random.fill(&mut bytes);
        if random.bool() {
            // Get past the first byte and the mask bit.
            bytes[0] = 0x80 | random.u8(1..3);
            if let Some(second) = bytes.get_mut(1) {
                *second |= 0x80;
            }
        }
        raw.try_send(&bytes).await.ok();
    }
    bystander.heartbeat().await;
    assert!(node.lives());
    assert!(!node.log().contains("panicked"), "{}", node.log());
}

#[tokio::test]
async fn one_address_gets_so_many_connections_and_no_more() {
    let node = full_setup().set("limits.connections_per_address", 5).start().await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(V1Client::greeted(&node, PacketEncoding::Plain).await);
    }
    let mut raw = Raw::connect(node.address()).await;
    raw.request("/?v=1", &[]).await;
    let head = raw.head_of_answer().await;
    assert!(head.starts_with("HTTP/1.1 429 "), "{head}");
    for client in &mut clients {
        client.heartbeat().await;
    }
    assert_eq!(clients.pop().unwrap().close(1000).await, Some(1000));
    eventually("a place is free again", async || {
        V1Client::open(node.address(), "/?v=1", PacketEncoding::Plain)
            .await
            .ok()
    })
    .await;
}

#[tokio::test]
async fn a_full_node_is_503_and_too_many_attempts_are_429() {
    for (setting, status) in [
        ("limits.connections", "503"),
        ("limits.connection_attempts_per_minute", "429"),
    ] {
        let node = full_setup().set(setting, 3).start().await;
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(V1Client::greeted(&node, PacketEncoding::Plain).await);
        }
        let mut raw = Raw::connect(node.address()).await;
        raw.request("/?v=1", &[]).await;
        let head = raw.head_of_answer().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        clients[0].heartbeat().await;
    }
}

#[tokio::test]
async fn trusted_proxies_count_against_no_limit_and_their_clients_do() {
    let file = format!(
        "{}\n[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n",
        gateway_harness::KEYS
    );
    let node = Setup::new()
        .file(&file)
        .set("limits.connections_per_address", 2)
        .start()
        .await;
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(Raw::open(node.address(), "/").await);
    }
    let ours = [("x-forwarded-for", "192.0.2.7")];
    for _ in 0..2 {
        open.push(Raw::open_with(node.address(), "/", &ours).await);
    }
    for (address, status) in [("192.0.2.7", "429"), ("192.0.2.8", "101")] {
        let mut raw = Raw::connect(node.address()).await;
        raw.request("/", &[("x-forwarded-for", address)]).await;
        let head = raw.head_of_answer().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{address}: {head}");
    }
}

#[tokio::test]
async fn five_hundred_wrong_keys_are_a_few_lines_in_the_log() {
    let node = full_setup().start().await;
    for n in 0..500 {
        let mut client = V1Client::greeted(&node, PacketEncoding::Plain).await;
        client.send_identify("bot", &format!("bot.guess-{n}")).await;
        client.error(4001, 4001).await;
    }
    // Nobody is locked out.
    V1Client::session(&node, "bot", &key("bot")).await;
    let log = node.log();
    assert!(log.contains("wrong auth key"), "{log}");
    assert!(log.lines().count() < 30, "{} lines: {log}", log.lines().count());
}

#[tokio::test]
async fn what_a_peer_sends_is_on_one_short_line_of_the_log() {
    let node = full_setup().set("log.level", "debug").start().await;
    let nasty = format!("\r\nINFO forged line\u{1b}[31m{}", "x".repeat(10_000));
    let mut client = V1Client::greeted(&node, PacketEncoding::Plain).await;
    client.send_identify(&nasty, &nasty).await;
    client.error(4001, 4001).await;
    let mut client = V1Client::session(&node, "website", &key("website")).await;
    client.send_event(&nasty, &json!({})).await;
    client.error(4005, 4005).await;
    node.logged("malformed data").await;
    let log = node.log();
    assert!(!log.contains('\u{1b}'), "{log}");
    for line in log.lines() {
        assert!(!line.starts_with("INFO forged") && line.len() < 1000, "{line}");
    }
}
