//! The log: an unread log does not block a node, and clients cannot fill the log.

use gateway_harness::{NodeProcess, PacketEncoding, Raw, Setup, V1Client, eventually, full_setup, get, key, metric};

/// Opens a connection that fails to identify.
async fn fail_to_identify(node: &NodeProcess) {
    let mut client = V1Client::connect(node, "v=1", PacketEncoding::Plain).await;
    client.next().await;
    client.send_identify("bot", "bot.wrong").await;
    client.error(4001, 4001).await;
}

#[tokio::test]
async fn an_unread_log_does_not_block_the_node_and_dropped_lines_are_counted() {
    let node = full_setup()
        .unread_log()
        .set("log.level", "debug")
        .set("limits.connection_attempts_per_minute", 1_000_000)
        .start()
        .await;
    // At this level, each session that identifies is logged.
    while metric(&node, "utilbot_log_lines_dropped_total").await == 0 {
        for _ in 0..100 {
            V1Client::session(&node, "bot", &key("bot")).await;
        }
    }
    fail_to_identify(&node).await;
    assert_eq!(get(&node, "/livez").await.status, 200);
    V1Client::session(&node, "bot", &key("bot")).await.heartbeat().await;
    let mut node = node;
    assert!(node.stop().await.success(), "the unread log must not delay the stop");
}

#[tokio::test]
async fn malformed_requests_log_few_lines_and_are_all_counted() {
    let mut node = Setup::new()
        .set("limits.connection_attempts_per_minute", 1_000_000)
        .start()
        .await;
    let before = node.log().lines().count();
    for _ in 0..300 {
        for garbage in [
            &b"SSH-2.0-scan\r\n"[..],
            &[0, 1, 2, 3],
            b"\x16\x03\x01\0\xc8\x01\0\0\xc4\x03\x03",
        ] {
            let mut raw = Raw::connect(node.address()).await;
            raw.try_send(garbage).await.ok();
            raw.text_to_end().await;
        }
    }
    let counted = || metric(&node, r#"utilbot_client_errors_total{reason="malformed request"}"#);
    eventually("every error counted", async || (counted().await == 900).then_some(())).await;
    assert!(node.stop().await.success());
    node.logged("more client problems: 895 malformed request").await;
    let log = node.log();
    assert!(log.lines().count() - before <= 20, "{log}");
    assert!(!log.contains("ERROR"), "{log}");
    assert!(
        log.lines()
            .filter(|line| line.contains("problem="))
            .all(|line| line.contains("address=127.0.0.1"))
    );
}

/// Returns the message of each logging macro in a source text, up to its first placeholder.
fn messages(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (start, _) in source.match_indices("log::") {
        let Some((name, rest)) = source[start + 5..].split_once("!(") else {
            continue;
        };
        if !["error", "warn", "info", "debug", "trace", "log"].contains(&name) {
            continue;
        }
        // The message is the first argument, or follows the fields and a semicolon.
        let is_message = |(at, _): &(usize, &str)| {
            let before = rest[..*at].trim_end();
            before.is_empty() || before.ends_with(';')
        };
        let Some((quote, _)) = rest.match_indices('"').find(is_message) else {
            continue;
        };
        let text = &rest[quote + 1..];
        let end = text.find(['"', '{']).unwrap_or(text.len());
        found.push(text[..end].trim_end().to_owned());
    }
    found
}

#[test]
fn the_catalogue_has_every_message_of_the_node() {
    let catalogue = include_str!("../../docs/log-events.md");
    let mut folders = vec![std::path::PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../gateway-node/src"
    ))];
    let mut count = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            for message in messages(&std::fs::read_to_string(&path).unwrap()) {
                count += 1;
                let is_listed = message.is_empty() || catalogue.contains(&format!("`{message}"));
                assert!(
                    is_listed,
                    "{message:?} of {} is not in docs/log-events.md",
                    path.display()
                );
            }
        }
    }
    assert!(count > 50, "only {count} messages were found");
}
