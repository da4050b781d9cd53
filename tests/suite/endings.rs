//! Why a session ended, in the words of the log.

use gateway_harness::{NodeProcess, PacketEncoding, Raw, Setup, V1Client, WAIT, full_setup, key, post, request};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// Sessions that miss a heartbeat end quickly.
fn impatient() -> Setup {
    full_setup()
        .set("v1.heartbeat_interval_ms", 300)
        .set("v1.heartbeat_tolerance_ms", 300)
}

fn setup() -> Setup {
    full_setup().set("log.level", "info,gateway_node::session=debug")
}

/// Connects a bot. Returns it and the id of its session.
async fn bot(node: &NodeProcess) -> (V1Client, String) {
    let mut bot = V1Client::greeted(node, PacketEncoding::Plain).await;
    let id = bot.identify("bot", &key("bot")).await;
    (bot, id)
}

/// Waits for the line about the end of a session, and checks that it says these things.
async fn ends(node: &NodeProcess, session: &str, level: &str, parts: &[&str]) {
    let mark = format!("session={session}");
    node.logged(&format!("{mark} key=bot address=127.0.0.1")).await;
    let log = node.log();
    let is_end = |line: &&str| line.contains("session ended") && line.contains(&mark);
    let lines: Vec<_> = log.lines().filter(is_end).collect();
    let [line] = lines[..] else {
        panic!("{} lines about session {session}: {log}", lines.len())
    };
    for part in [level, "protocol=v1", "seconds=", "received=", "sent="]
        .iter()
        .chain(parts)
    {
        assert!(line.contains(part), "{part} is not in {line}");
    }
}

#[tokio::test]
async fn a_client_that_closes_is_a_line_for_developers() {
    let node = setup().start().await;
    let (client, id) = bot(&node).await;
    client.close(1000).await;
    ends(&node, &id, "DEBUG", &["reason=\"client closed\"", "code=1000"]).await;
    let (client, id) = bot(&node).await;
    client.close(1001).await;
    ends(&node, &id, "DEBUG", &["reason=\"client closed\"", "code=1001"]).await;
}

#[tokio::test]
async fn a_missed_heartbeat_is_named_with_the_time_of_silence() {
    let node = impatient().start().await;
    let (mut client, id) = bot(&node).await;
    client.event("GLOBAL_GUILD_COUNT").await;
    client.error(4006, 4006).await;
    let parts = [
        "reason=\"no heartbeat\"",
        "code=4006",
        "silent_seconds=0.",
        "received=1",
    ];
    ends(&node, &id, "INFO", &parts).await;
}

#[tokio::test]
async fn a_client_that_reads_too_slowly_is_named() {
    let node = setup().set("limits.outbox_bytes", 300_000).start().await;
    let mut reader = Raw::open_small(node.address(), "/?v=1").await;
    let identify = json!({ "op": 1, "t": "identify", "d": { "type": "bot", "key": key("bot") } });
    reader.send_text(&identify.to_string()).await;
    let mut id = None;
    while id.is_none() {
        let frame = reader.frame().await.unwrap();
        let payload: Value = serde_json::from_str(frame.text()).unwrap();
        if payload["t"] == "bot_connect_success" {
            id = Some(payload["d"]["id"].to_string());
        }
    }
    let event = json!({ "t": "announce", "d": { "padding": "x".repeat(60_000) } });
    let batch = json!(vec![event; 15]).to_string();
    let id = id.unwrap().trim_matches('"').to_owned();
    gateway_harness::eventually("the slow reader is evicted", async || {
        post(&node, &key("service"), &batch).await;
        node.log().contains("session ended").then_some(())
    })
    .await;
    ends(&node, &id, "INFO", &["reason=\"reads too slowly\"", "code=1013"]).await;
}

#[tokio::test]
async fn a_kicked_session_is_named() {
    let node = setup().start().await;
    let (mut client, id) = bot(&node).await;
    client.event("GLOBAL_GUILD_COUNT").await;
    let path = format!("/api/v1/sessions/{id}");
    assert_eq!(
        request(node.address(), "DELETE", &path, &bearer(), "").await.status,
        204
    );
    client.error(1000, 1008).await;
    let parts = ["reason=\"kicked by an administrator\"", "code=1008"];
    ends(&node, &id, "INFO", &parts).await;
}

fn bearer() -> [(&'static str, &'static str); 1] {
    static KEY: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| format!("Bearer {}", key("root")));
    [("authorization", KEY.as_str())]
}

#[tokio::test]
async fn a_revoked_key_is_named() {
    let node = setup().start().await;
    let (mut client, id) = bot(&node).await;
    client.event("GLOBAL_GUILD_COUNT").await;
    let text = std::fs::read_to_string(node.file()).unwrap();
    std::fs::write(node.file(), text.replace("id = \"bot\"", "id = \"other\"")).unwrap();
    node.signal(Signal::SIGHUP);
    client.error(4001, 4001).await;
    ends(&node, &id, "INFO", &["reason=\"key revoked\"", "code=4001"]).await;
}

#[tokio::test]
async fn a_draining_node_is_named() {
    let mut node = setup().set("drain.spread_ms", 10).start().await;
    let (mut client, id) = bot(&node).await;
    client.event("GLOBAL_GUILD_COUNT").await;
    node.signal(Signal::SIGTERM);
    client.error(1000, 1012).await;
    node.ended(WAIT).await;
    ends(&node, &id, "DEBUG", &["reason=\"node stopping\"", "code=1012"]).await;
    assert!(node.log().contains("INFO drain draining signal=SIGTERM connections=1"));
}

#[tokio::test]
async fn a_broken_connection_is_named() {
    let node = setup().start().await;
    let (client, id) = bot(&node).await;
    drop(client);
    ends(&node, &id, "INFO", &["reason=\"connection lost\""]).await;
    assert!(!node.log().contains("code="), "{}", node.log());
}

#[tokio::test]
async fn strangers_leave_no_line_at_info() {
    let node = full_setup().start().await;
    let mut stranger = V1Client::greeted(&node, PacketEncoding::Plain).await;
    stranger.send_identify("bot", "bot.wrong").await;
    stranger.error(4001, 4001).await;
    drop(V1Client::greeted(&node, PacketEncoding::Plain).await);
    // A later session of a client with a key.
    let (client, id) = bot(&node).await;
    drop(client);
    ends(&node, &id, "INFO", &["reason=\"connection lost\""]).await;
    let log = node.log();
    assert_eq!(log.matches("session ended").count(), 1, "{log}");
}

#[tokio::test]
async fn a_node_says_when_it_listens_and_when_it_is_ready() {
    let node = full_setup().set("node.name", "alpha").start().await;
    node.logged("ready for clients").await;
    let log = node.log();
    let listening = format!("listening address={} node=alpha", node.address());
    let (before, after) = log.split_once(&listening).unwrap_or_else(|| panic!("{log}"));
    assert!(!before.contains("ready for clients") && after.contains("ready for clients waited_ms="));
}
