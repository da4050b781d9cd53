//! Unix sockets: the public listener on one, and a Redis on one.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, time::Duration};

use gateway_harness::{
    Balancer, Nginx, NodeProcess, PacketEncoding, Ran, RedisProcess, Setup, V1Client,
    discord::{ALL_INTENTS, DiscordClient},
    eventually, full_setup, gateway, get, key, post, publish, ready, request, run,
};
use nix::sys::signal::Signal;
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;

/// The longest that a command may take.
const COMMAND: Duration = Duration::from_secs(30);

/// A folder, and the path of a socket in it.
fn socket() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.sock");
    (folder, path)
}

/// Sets the socket at `path` as the public listener.
fn on(path: &std::path::Path, setup: Setup) -> Setup {
    setup.set("server.bind", format!("unix:{}", path.display()))
}

/// Connects a bot, publishes an event over HTTP, and checks that the bot gets it.
async fn assert_delivers(node: &NodeProcess) {
    let mut bot = V1Client::session(node, "bot", &key("bot")).await;
    publish(node, &key("service"), &json!({ "t": "announce", "d": { "n": 1 } })).await;
    assert_eq!(bot.event("announce").await, json!({ "n": 1 }));
    bot.heartbeat().await;
}

#[tokio::test]
async fn a_unix_socket_serves_every_protocol() {
    let (_folder, path) = socket();
    let node = on(&path, full_setup()).start().await;
    assert_eq!(node.banner()["address"], format!("unix:{}", path.display()));
    assert_delivers(&node).await;
    let mut zipped = V1Client::session_in(&node, "website", &key("website"), PacketEncoding::Zlib).await;
    let announcement = json!({ "n": "x".repeat(100_000) });
    publish(&node, &key("root"), &json!({ "t": "announce", "d": announcement })).await;
    assert_eq!(zipped.event("announce").await, announcement);

    let query = "v=10&encoding=json&compress=zlib-stream";
    let (mut client, opened) = DiscordClient::session(&node, query, &key("bot"), ALL_INTENTS).await;
    let session = opened["session_id"].as_str().unwrap().to_owned();
    client.heartbeat().await;
    let seen = client.sequence();
    drop(client);
    let event = |n: u32| json!({ "t": "X", "to": "all", "d": { "n": n } });
    publish(&node, &key("root"), &event(2)).await;
    let mut again = DiscordClient::greeted(&node, query).await;
    again.resume(&key("bot"), &session, seen).await;
    assert_eq!(again.expect_dispatch("X").await["n"], 2);
    again.expect_dispatch("RESUMED").await;
}

#[tokio::test]
async fn the_proxy_in_front_of_a_unix_socket_names_the_clients() {
    let (_folder, path) = socket();
    let setup = on(&path, full_setup()).set("limits.connection_attempts_per_minute", 6);
    let node = setup.start().await;
    let status = async |headers: &[(&str, &str)]| {
        let answer = request(node.address(), "GET", "/api/v1/counts", headers, "").await;
        answer.status
    };
    // Each attempt is charged to the address that the proxy names: a sixth of a minute's attempts at once.
    let one = [("x-forwarded-for", "192.0.2.1")];
    assert_eq!(status(&one).await, 401);
    eventually("the address has used up its attempts", async || {
        (status(&one).await == 429).then_some(())
    })
    .await;
    assert_eq!(status(&[("x-forwarded-for", "192.0.2.2")]).await, 401);
    // Without an address, a request is the proxy's own, which has no limit.
    for _ in 0..20 {
        assert_eq!(status(&[]).await, 401);
    }
    let url = request(
        node.address(),
        "GET",
        "/api/v10/gateway",
        &[("x-forwarded-proto", "https")],
        "",
    )
    .await;
    let url = url.json()["url"].as_str().unwrap().to_owned();
    assert!(url.starts_with("wss://"), "{url}");
    // Only a proxy reaches the socket, so the metrics need a key.
    assert_eq!(get(&node, "/metrics").await.status, 401);
}

#[tokio::test]
async fn the_file_of_a_unix_socket_is_replaced_if_stale_and_removed_at_a_clean_stop() {
    let (_folder, path) = socket();
    let setup = || on(&path, full_setup()).set("server.unix_mode", "660");
    let mut node = setup().start().await;
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    // Another node does not take it.
    let bind = format!("unix:{}", path.display());
    let mut second = Command::new(gateway());
    let refused = run(second.env_clear().args(["--bind", &bind]), COMMAND).await;
    assert_eq!(refused.status.code(), Some(69), "{refused:?}");
    assert!(
        refused.stderr.contains(&format!("cannot listen on {bind}: ")),
        "{refused:?}"
    );
    assert_delivers(&node).await;
    node.signal(Signal::SIGKILL);
    node.ended(COMMAND).await;
    assert!(path.exists());
    let mut node = setup().start().await;
    assert_delivers(&node).await;
    assert!(node.stop().await.success());
    assert!(!path.exists());
}

/// Starts three nodes on sockets in `folder`. Returns them and their paths.
async fn three_nodes(folder: &TempDir) -> (Vec<NodeProcess>, [String; 3]) {
    let paths = [1, 2, 3].map(|number| folder.path().join(format!("{number}.sock")));
    let mut nodes = Vec::new();
    for path in &paths {
        nodes.push(on(path, full_setup()).start().await);
    }
    (nodes, paths.map(|path| path.display().to_string()))
}

#[tokio::test]
async fn nginx_and_haproxy_reach_nodes_over_unix_sockets() {
    let folder = tempfile::tempdir().unwrap();
    let (_nodes, paths) = three_nodes(&folder).await;
    let nginx = Nginx::start(paths.clone().map(|path| format!("unix:{path}"))).await;
    let haproxy = Balancer::start(paths.map(|path| format!("unix@{path}"))).await;
    for address in [nginx.address(), haproxy.address()] {
        let mut bot = V1Client::open(address, "/", PacketEncoding::Plain).await.unwrap();
        bot.next().await;
        bot.identify("bot", &key("bot")).await;
        let gateway = request(address, "GET", "/api/v10/gateway", &[], "").await;
        assert_eq!(gateway.json()["url"], format!("ws://{address}"), "{gateway:?}");
    }
}

/// Runs a command of the binary with this configuration.
async fn command(file: &std::path::Path, arguments: &[&str]) -> Ran {
    let (name, rest) = arguments.split_first().unwrap();
    let mut command = Command::new(gateway());
    command.env_clear().arg(name).arg("--config").arg(file).args(rest);
    run(&mut command, COMMAND).await
}

#[tokio::test]
async fn commands_reach_the_unix_socket_of_a_configuration() {
    let (folder, path) = socket();
    let node = on(&path, full_setup()).start().await;
    // The file of the running node, but with its settings from the environment.
    let text = fs::read_to_string(node.file()).unwrap();
    let file = folder.path().join("gateway.toml");
    fs::write(folder.path().join("checked.json"), "{}").unwrap();
    fs::write(&file, format!("server.bind = \"unix:{}\"\n{text}", path.display())).unwrap();
    let mut bot = V1Client::session(&node, "bot", &key("bot")).await;
    for (arguments, expected) in [
        (&["healthcheck"][..], "healthy"),
        (&["healthcheck", "--path", "/readyz"], "healthy"),
        (&["publish", "announce", "{\"n\":1}"], ""),
        (&["sessions"], "bot"),
        (&["connect", "--exit-on-eof"], "bot_connect_success"),
    ] {
        let ran = command(&file, arguments).await;
        assert!(ran.status.success(), "{arguments:?}: {ran:?}");
        assert!(ran.stdout.contains(expected), "{arguments:?}: {ran:?}");
    }
    assert_eq!(bot.event("announce").await, json!({ "n": 1 }));
    drop(node);
    let ran = command(&file, &["healthcheck"]).await;
    assert_eq!(ran.status.code(), Some(1), "{ran:?}");
}

#[tokio::test]
async fn nodes_share_a_redis_on_a_unix_socket() {
    let mut server = RedisProcess::start().await;
    let url = format!(
        "redis+unix://{}?db=1&user=gateway&pass=node-password",
        server.unix_socket().display()
    );
    let setup = || full_setup().redis(&url).set("cluster.lease_ms", 1000);
    let nodes = [setup().start().await, setup().start().await];
    for node in &nodes {
        ready(node).await;
    }
    // Pub/sub carries the event to the other node.
    let mut bot = V1Client::session(&nodes[1], "bot", &key("bot")).await;
    publish(&nodes[0], &key("service"), &json!({ "t": "announce", "d": { "n": 1 } })).await;
    assert_eq!(bot.event("announce").await, json!({ "n": 1 }));
    eventually("both nodes have subscribed", async || {
        let clients = server.cli(&["CLIENT", "LIST", "TYPE", "pubsub"]).await;
        let count = clients
            .lines()
            .filter(|line| line.contains("addr=") && line.contains(".sock:0"))
            .count();
        (count == 2).then_some(())
    })
    .await;
    server.kill().await;
    eventually("a node notices", async || {
        (get(&nodes[0], "/readyz").await.status == 503).then_some(())
    })
    .await;
    let problem = get(&nodes[0], "/health").await.json()["backplane"]["problem"].to_string();
    assert!(
        problem.contains("redis.sock") && !problem.contains("node-password"),
        "{problem}"
    );
    server.restart().await;
    for node in &nodes {
        ready(node).await;
    }
    let answer = post(&nodes[1], &key("service"), r#"{"t":"announce","d":{"n":2}}"#).await;
    assert_eq!(answer.status, 202);
    assert_eq!(bot.event("announce").await, json!({ "n": 2 }));
}
