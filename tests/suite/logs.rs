//! The log: it costs a node nothing that nobody reads it, and no client can fill it.

use gateway_harness::{NodeProcess, PacketEncoding, Raw, Setup, V1Client, eventually, full_setup, get, key, metric};

/// Opens a session that fails to identify.
async fn fail_to_identify(node: &NodeProcess) {
    let mut client = V1Client::connect(node, "v=1", PacketEncoding::Plain).await;
    client.next().await;
    client.send_identify("bot", "bot.wrong").await;
    client.error(4001, 4001).await;
}

#[tokio::test]
async fn a_log_that_nobody_reads_stops_nothing_and_its_lost_lines_are_counted() {
    let node = full_setup()
        .unread_log()
        .set("log.level", "debug")
        .set("limits.connection_attempts_per_minute", 1_000_000)
        .start()
        .await;
    // At this level each session that identifies is a line.
    while metric(&node, "utilbot_log_lines_dropped_total").await == 0 {
        for _ in 0..100 {
            V1Client::session(&node, "bot", &key("bot")).await;
        }
    }
    fail_to_identify(&node).await;
    assert_eq!(get(&node, "/livez").await.status, 200);
    V1Client::session(&node, "bot", &key("bot")).await.heartbeat().await;
    let mut node = node;
    assert!(node.stop().await.success(), "what nobody reads does not hold the end");
}

#[tokio::test]
async fn broken_connections_are_few_lines_and_all_counted() {
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
