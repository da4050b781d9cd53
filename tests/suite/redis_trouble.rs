//! A Redis that cannot be used: the node says so in one line and in its readiness, keeps trying, and goes on without a
//! restart when the cause is gone.

use std::{fs, net::SocketAddr};

use gateway_harness::{
    NodeProcess, RedisProcess, Setup, V1Client, WAIT, eventually, full_setup, get, key, post, ready, within,
};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// A node on this server that waits no longer for older leases than a test can.
fn on(url: &str) -> Setup {
    full_setup().redis(url).set("cluster.lease_ms", 1000)
}

/// Waits until the node says that it should get no clients, because of this.
async fn troubled(node: &NodeProcess, problem: &str) {
    eventually(&format!("a node that says: {problem}"), async || {
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
    // Once, however often it was tried.
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

/// Waits until the node is ready, and shows that it works.
async fn recovered(node: &NodeProcess) {
    ready(node).await;
    let mut bot = V1Client::session(node, "bot", &key("bot")).await;
    let published = post(node, &key("service"), r#"{"t":"announce","d":{"n":1}}"#).await;
    assert_eq!(published.status, 202, "{published:?}");
    assert_eq!(bot.event("announce").await, json!({ "n": 1 }));
    assert!(get(node, "/health").await.json()["backplane"]["problem"].is_null());
}

#[tokio::test]
async fn one_that_is_not_there_yet() {
    let mut server = RedisProcess::start().await;
    server.kill().await;
    let node = on(&server.url()).start().await;
    troubled(&node, "cannot be reached").await;
    server.restart().await;
    recovered(&node).await;
}

#[tokio::test]
async fn one_with_another_password() {
    let server = RedisProcess::start_with(&[("requirepass", "right")]).await;
    let node = on(&server.url().replace("://", "://:wrong@")).start().await;
    troubled(&node, "refuses the user or the password").await;
    assert!(!node.log().contains("wrong"), "{}", node.log());
    server.cli(&["CONFIG", "SET", "requirepass", "wrong"]).await;
    recovered(&node).await;
}

#[tokio::test]
async fn one_that_evicts_keys() {
    let server = RedisProcess::start_with(&[("maxmemory-policy", "allkeys-lru")]).await;
    let node = on(&server.url()).start().await;
    troubled(&node, "evicts keys (maxmemory-policy allkeys-lru)").await;
    server.cli(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    recovered(&node).await;
}

#[tokio::test]
async fn one_that_begins_to_evict_keys_while_it_is_used() {
    let server = RedisProcess::start().await;
    let node = on(&server.url()).start().await;
    recovered(&node).await;
    server.cli(&["CONFIG", "SET", "maxmemory-policy", "volatile-ttl"]).await;
    troubled(&node, "evicts keys (maxmemory-policy volatile-ttl)").await;
    let ready = get(&node, "/readyz").await.body;
    assert!(ready.contains("maxmemory-policy volatile-ttl"), "{ready}");
    server.cli(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    recovered(&node).await;
}

#[tokio::test]
async fn one_that_is_a_replica() {
    let (primary, server) = (RedisProcess::start().await, RedisProcess::start().await);
    server
        .cli(&["REPLICAOF", "127.0.0.1", &primary.port().to_string()])
        .await;
    let node = on(&server.url()).start().await;
    troubled(&node, "is a replica").await;
    server.cli(&["REPLICAOF", "NO", "ONE"]).await;
    recovered(&node).await;
}

#[tokio::test]
async fn one_that_is_too_old() {
    let server = RedisProcess::start().await;
    let (age, is_old) = watch::channel(true);
    let address = aged(server.port(), is_old).await;
    let node = on(&format!("redis://{address}/")).start().await;
    troubled(&node, "too old: 6.2 is the oldest that works").await;
    age.send_replace(false);
    recovered(&node).await;
}

#[tokio::test]
async fn one_that_runs_out_of_memory() {
    let server = RedisProcess::start().await;
    let node = on(&server.url()).start().await;
    recovered(&node).await;
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]).await;
    troubled(&node, "is out of memory").await;
    server.cli(&["CONFIG", "SET", "maxmemory", "0"]).await;
    recovered(&node).await;
}

#[tokio::test]
async fn a_user_without_the_rights() {
    let server = RedisProcess::start().await;
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
    let node = on(&url).set("redis.prefix", "mine").start().await;
    troubled(&node, "NOPERM").await;
    // What the operations page names, and nothing else.
    let rights = [
        "-@all",
        "+info",
        "+hello",
        "+auth",
        "+ping",
        "+client",
        "+subscribe",
        "+unsubscribe",
        "+script|load",
        "+evalsha",
        "+time",
        "+@stream",
        "+@hash",
        "+@set",
        "+@sortedset",
        "+@string",
        "+@list",
        "+publish",
        "+exists",
        "+del",
        "+pexpire",
        "+pttl",
        "+multi",
        "+exec",
    ];
    server
        .cli(&[&["ACL", "SETUSER", "gateway"], &rights[..]].concat())
        .await;
    recovered(&node).await;
}

#[tokio::test]
async fn one_whose_certificate_is_of_another_authority() {
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
    let node = on(&server.url()).set("redis.ca", path("wrong.pem")).start().await;
    troubled(&node, "cannot be reached").await;
    drop(node);
    recovered(&on(&server.url()).set("redis.ca", &certificate).start().await).await;
}

/// A way to the server at this port on which it claims to be of an earlier age.
async fn aged(port: u16, is_old: watch::Receiver<bool>) -> SocketAddr {
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
                        age(&mut buffer[..length]);
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

/// Puts a 5 where the major version is.
fn age(bytes: &mut [u8]) {
    const FIELD: &[u8] = b"redis_version:";
    if let Some(place) = bytes.windows(FIELD.len()).position(|window| window == FIELD) {
        bytes[place + FIELD.len()] = b'5';
    }
}

#[tokio::test]
async fn one_that_stops_for_a_while_is_not_an_outage_for_who_is_connected() {
    let mut server = RedisProcess::start().await;
    let node = on(&server.url()).set("v1.heartbeat_interval_ms", 500).start().await;
    ready(&node).await;
    let mut bot = V1Client::session(&node, "bot", &key("bot")).await;
    let mut website = V1Client::session(&node, "website", &key("website")).await;
    server.kill().await;
    website.send_event("announce", &json!({ "n": 1 })).await;
    // Its sender lives on; the event is held.
    eventually("a node that is not ready", async || {
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
async fn senders_of_events_that_are_not_held_any_longer_are_told_that_redis_is_unavailable() {
    let mut server = RedisProcess::start().await;
    let setup = on(&server.url()).set("cluster.hold_bytes", 256);
    let node = setup.set("cluster.hold_ms", 2000).start().await;
    ready(&node).await;
    let mut first = V1Client::session(&node, "website", &key("website")).await;
    let mut second = V1Client::session(&node, "website", &key("website")).await;
    server.kill().await;
    eventually("a node without a server", async || {
        let health = get(&node, "/health").await.json();
        (health["backplane"]["available"] == false).then_some(())
    })
    .await;
    let event = json!({ "text": "x".repeat(200) });
    first.send_event("announce", &event).await;
    first.heartbeat().await;
    // There is no room beside the first, and after a while the first is not held either.
    second.send_event("announce", &event).await;
    for sender in [&mut second, &mut first] {
        assert_eq!(sender.error(1000, 1013).await["m"], "Redis is unavailable.");
    }
}
