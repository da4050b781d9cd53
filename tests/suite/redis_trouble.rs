//! A Redis that a node cannot use: the node logs the problem once, is not ready, keeps retrying, and recovers without a
//! restart when the cause is gone.

use std::{fs, net::SocketAddr};

use gateway_harness::{
    NodeProcess, RedisProcess, Setup, V1Client, WAIT, documented_redis_rights, eventually, full_setup, get, key, post,
    publish, ready, within,
};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// A node on this server, with a lease short enough for a test to wait for.
fn setup_on(url: &str) -> Setup {
    full_setup().redis(url).set("cluster.lease_ms", 1000)
}

/// Waits until the node reports this problem and is not ready. Then checks that it logged the problem once and refuses
/// events and identifies.
async fn expect_problem(node: &NodeProcess, problem: &str) {
    eventually(&format!("the node reports: {problem}"), async || {
        let health = get(node, "/health").await;
        let shown = health.json()["backplane"]["problem"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        (health.status == 503 && shown.contains(problem)).then_some(())
    })
    .await;
    assert_eq!(get(node, "/readyz").await.status, 503);
    assert_eq!(get(node, "/livez").await.status, 200);
    // The problem is logged once, however often the node retries.
    let lines = node.log().lines().filter(|line| line.contains(problem)).count();
    assert_eq!(lines, 1, "{}", node.log());
    let published = post(node, &key("service"), r#"{"t":"announce","d":{}}"#).await;
    assert_eq!(
        (published.status, &published.json()["code"]),
        (503, &json!("unavailable"))
    );
    let mut client = V1Client::greeted(node, gateway_harness::PacketEncoding::Plain).await;
    client.send_identify("bot", &key("bot")).await;
    assert_eq!(client.error(1000, 1013).await["m"], "Redis is unavailable.");
}

/// Waits until the node is ready, and checks that it delivers events.
async fn expect_recovery(node: &NodeProcess) {
    ready(node).await;
    let mut bot = V1Client::session(node, "bot", &key("bot")).await;
    let published = post(node, &key("service"), r#"{"t":"announce","d":{"n":1}}"#).await;
    assert_eq!(published.status, 202, "{published:?}");
    assert_eq!(bot.event("announce").await, json!({ "n": 1 }));
    assert!(get(node, "/health").await.json()["backplane"]["problem"].is_null());
}

#[tokio::test]
async fn a_node_recovers_once_redis_is_reachable() {
    let mut server = RedisProcess::start_with(&[]).await;
    server.kill().await;
    let node = setup_on(&server.url()).start().await;
    expect_problem(&node, "cannot be reached").await;
    server.restart().await;
    expect_recovery(&node).await;
}

#[tokio::test]
async fn a_node_recovers_once_the_redis_password_is_right() {
    let server = RedisProcess::start_with(&[("requirepass", "right")]).await;
    let node = setup_on(&server.url().replace("://", "://:wrong@")).start().await;
    expect_problem(&node, "refuses the user or the password").await;
    assert!(!node.log().contains("wrong"), "{}", node.log());
    server.cli(&["CONFIG", "SET", "requirepass", "wrong"]).await;
    expect_recovery(&node).await;
}

#[tokio::test]
async fn a_node_recovers_once_redis_no_longer_evicts() {
    let server = RedisProcess::start_with(&[("maxmemory-policy", "allkeys-lru")]).await;
    let node = setup_on(&server.url()).start().await;
    expect_problem(&node, "evicts keys (maxmemory-policy allkeys-lru)").await;
    server.cli(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    expect_recovery(&node).await;
}

#[tokio::test]
async fn an_eviction_policy_set_at_run_time_is_detected() {
    let server = RedisProcess::start_with(&[]).await;
    let node = setup_on(&server.url()).start().await;
    expect_recovery(&node).await;
    server.cli(&["CONFIG", "SET", "maxmemory-policy", "volatile-ttl"]).await;
    expect_problem(&node, "evicts keys (maxmemory-policy volatile-ttl)").await;
    let ready = get(&node, "/readyz").await.body;
    assert!(ready.contains("maxmemory-policy volatile-ttl"), "{ready}");
    server.cli(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    expect_recovery(&node).await;
}

#[tokio::test]
async fn a_node_recovers_once_redis_is_a_primary() {
    let (primary, server) = (RedisProcess::start_with(&[]).await, RedisProcess::start_with(&[]).await);
    server
        .cli(&["REPLICAOF", "127.0.0.1", &primary.port().to_string()])
        .await;
    let node = setup_on(&server.url()).start().await;
    expect_problem(&node, "is a replica").await;
    server.cli(&["REPLICAOF", "NO", "ONE"]).await;
    expect_recovery(&node).await;
}

#[tokio::test]
async fn a_node_recovers_once_redis_is_recent_enough() {
    let server = RedisProcess::start_with(&[]).await;
    let (old, is_old) = watch::channel(true);
    let address = version_proxy(server.port(), is_old).await;
    let node = setup_on(&format!("redis://{address}/")).start().await;
    expect_problem(&node, "too old: 6.2 is the oldest that works").await;
    old.send_replace(false);
    expect_recovery(&node).await;
}

#[tokio::test]
async fn a_node_recovers_once_redis_has_memory_again() {
    let server = RedisProcess::start_with(&[]).await;
    let node = setup_on(&server.url()).start().await;
    expect_recovery(&node).await;
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]).await;
    expect_problem(&node, "is out of memory").await;
    server.cli(&["CONFIG", "SET", "maxmemory", "0"]).await;
    expect_recovery(&node).await;
}

#[tokio::test]
async fn a_node_recovers_once_its_redis_user_has_the_documented_rights() {
    let server = RedisProcess::start_with(&[]).await;
    server
        .cli(&[
            "ACL",
            "SETUSER",
            "gateway",
            "on",
            ">secret",
            "~mine:*",
            "&mine:*",
            "+@all",
            "-@scripting",
        ])
        .await;
    let url = server.url().replace("://", "://gateway:secret@");
    let url = format!("{}/1", url.trim_end_matches('/'));
    let node = setup_on(&url).set("redis.prefix", "mine").start().await;
    expect_problem(&node, "NOPERM").await;
    let rights = documented_redis_rights();
    let commands = rights
        .iter()
        .map(String::as_str)
        .filter(|rule| rule.starts_with(['+', '-']));
    let commands: Vec<_> = commands.collect();
    server
        .cli(&[&["ACL", "SETUSER", "gateway"], &commands[..]].concat())
        .await;
    server.cli(&["ACL", "LOG", "RESET"]).await;
    expect_recovery(&node).await;
    let mut bot = V1Client::session(&node, "bot", &key("bot")).await;
    publish(&node, &key("root"), &json!({ "t": "announce", "d": { "n": 1 } })).await;
    assert_eq!(bot.event_among_others("announce").await, json!({ "n": 1 }));
    assert_eq!(server.cli(&["ACL", "LOG"]).await, "", "nothing was denied");
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_gets_the_configured_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    for name in ["server", "node"] {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        fs::write(path(&format!("{name}.pem")), cert.pem()).unwrap();
        fs::write(path(&format!("{name}.key")), signing_key.serialize_pem()).unwrap();
    }
    let server = RedisProcess::start_with(&[
        ("tls-cert-file", &path("server.pem")),
        ("tls-key-file", &path("server.key")),
        // The authority of the clients: each of these certificates is its own.
        ("tls-ca-cert-file", &path("node.pem")),
        ("tls-auth-clients", "no"),
    ])
    .await;
    server.cli(&["CONFIG", "SET", "tls-auth-clients", "yes"]).await;
    let setup = || setup_on(&server.url()).set("redis.ca", path("server.pem"));
    let node = setup().start().await;
    expect_problem(&node, "cannot be reached").await;
    drop(node);
    let with_certificate = setup()
        .set("redis.certificate", path("node.pem"))
        .set("redis.key", path("node.key"));
    expect_recovery(&with_certificate.start().await).await;
}

#[tokio::test]
async fn a_redis_certificate_of_another_authority_is_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let write = |name: &str| {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        fs::write(path(&format!("{name}.pem")), cert.pem()).unwrap();
        fs::write(path(&format!("{name}.key")), signing_key.serialize_pem()).unwrap();
    };
    write("right");
    write("wrong");
    let (certificate, private, client) = (path("right.pem"), path("right.key"), "no");
    let server = RedisProcess::start_with(&[
        ("tls-cert-file", &certificate),
        ("tls-key-file", &private),
        ("tls-ca-cert-file", &certificate),
        ("tls-auth-clients", client),
    ])
    .await;
    let node = setup_on(&server.url()).set("redis.ca", path("wrong.pem")).start().await;
    expect_problem(&node, "cannot be reached").await;
    drop(node);
    expect_recovery(&setup_on(&server.url()).set("redis.ca", &certificate).start().await).await;
}

/// Starts a proxy to the server on `port`. While `is_old`, it makes the server report version 5.
async fn version_proxy(port: u16, is_old: watch::Receiver<bool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = within("the server", TcpStream::connect(("127.0.0.1", port)))
                .await
                .unwrap();
            let is_old = is_old.clone();
            let (mut from_node, mut to_node) = near.into_split();
            let (mut from_server, mut to_server) = far.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_node, &mut to_server).await });
            tokio::spawn(async move {
                let mut buffer = vec![0; 1 << 16];
                while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
                    if *is_old.borrow() {
                        set_version_5(&mut buffer[..length]);
                    }
                    if to_node.write_all(&buffer[..length]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

/// Replaces the major version by 5.
fn set_version_5(bytes: &mut [u8]) {
    const FIELD: &[u8] = b"redis_version:";
    if let Some(place) = bytes.windows(FIELD.len()).position(|window| window == FIELD) {
        bytes[place + FIELD.len()] = b'5';
    }
}

#[tokio::test]
async fn connected_sessions_survive_a_short_redis_outage() {
    let mut server = RedisProcess::start_with(&[]).await;
    let node = setup_on(&server.url())
        .set("v1.heartbeat_interval_ms", 500)
        .start()
        .await;
    ready(&node).await;
    let mut bot = V1Client::session(&node, "bot", &key("bot")).await;
    let mut website = V1Client::session(&node, "website", &key("website")).await;
    server.kill().await;
    website.send_event("announce", &json!({ "n": 1 })).await;
    // The node holds the event, and its sender stays connected.
    eventually("the node is not ready", async || {
        bot.heartbeat().await;
        website.heartbeat().await;
        (get(&node, "/readyz").await.status == 503).then_some(())
    })
    .await;
    server.restart().await;
    let event = tokio::time::timeout(WAIT, async {
        loop {
            let next = bot.next().await;
            if next["t"] == "announce" {
                return next["d"].clone();
            }
        }
    });
    assert_eq!(event.await.unwrap(), json!({ "n": 1 }));
    website.heartbeat().await;
}

#[tokio::test]
async fn senders_of_events_that_can_no_longer_be_held_get_redis_is_unavailable() {
    let mut server = RedisProcess::start_with(&[]).await;
    let setup = setup_on(&server.url()).set("cluster.hold_bytes", 256);
    let node = setup.set("cluster.hold_ms", 2000).start().await;
    ready(&node).await;
    let mut first = V1Client::session(&node, "website", &key("website")).await;
    let mut second = V1Client::session(&node, "website", &key("website")).await;
    server.kill().await;
    eventually("the node has lost Redis", async || {
        let health = get(&node, "/health").await.json();
        (health["backplane"]["available"] == false).then_some(())
    })
    .await;
    let event = json!({ "text": "x".repeat(200) });
    first.send_event("announce", &event).await;
    first.heartbeat().await;
    // The second event does not fit beside the first, and the first is dropped after `cluster.hold_ms`.
    second.send_event("announce", &event).await;
    for sender in [&mut second, &mut first] {
        assert_eq!(sender.error(1000, 1013).await["m"], "Redis is unavailable.");
    }
}
