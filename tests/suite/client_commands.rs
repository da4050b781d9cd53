//! The commands of the binary that are clients, against nodes with and without TLS.

use std::time::Duration;

use gateway_harness::{
    PacketEncoding, Ran, RedisProcess, Setup, V1Client, eventually, full_setup, gateway, key, ready, run,
};
use serde_json::Value;
use tokio::process::Command;

use crate::tls::{renew, secured_node};

/// The longest that a command may take.
const COMMAND: Duration = Duration::from_secs(30);

/// Runs a command with this key.
async fn with_key(key: &str, arguments: &[&str]) -> Ran {
    let mut command = Command::new(gateway());
    run(command.args(arguments).env("UTILBOT_KEY", key), COMMAND).await
}

/// Runs a command without a key.
async fn without_key(arguments: &[&str]) -> Ran {
    let mut command = Command::new(gateway());
    run(command.args(arguments).env_remove("UTILBOT_KEY"), COMMAND).await
}

#[tokio::test]
async fn clients_trust_the_given_certificates_and_no_others() {
    let (node, folder, _trusted) = secured_node().await;
    let ca = folder.path().join("chain.pem");
    let other = tempfile::tempdir().unwrap();
    renew(other.path());
    let other = other.path().join("chain.pem");
    let port = node.address().port();
    let (https, wss) = (format!("https://localhost:{port}"), format!("wss://localhost:{port}/"));
    let publish = |trust: Vec<&str>| {
        let arguments = [vec!["publish", "--url", &https], trust, vec!["announce", "{}"]].concat();
        let arguments: Vec<_> = arguments.into_iter().map(str::to_owned).collect();
        async move {
            let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
            with_key(&key("root"), &arguments).await
        }
    };
    let ca = ca.to_str().unwrap();
    let other = other.to_str().unwrap();

    let trusted = publish(vec!["--ca", ca]).await;
    assert_eq!(trusted.status.code(), Some(0), "{trusted:?}");
    for trust in [vec![], vec!["--ca", other]] {
        let refused = publish(trust).await;
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        assert!(refused.stderr.contains("no response from https://"), "{refused:?}");
    }
    let insecure = publish(vec!["--insecure"]).await;
    assert_eq!(insecure.status.code(), Some(0), "{insecure:?}");
    assert!(
        insecure
            .stderr
            .contains("--insecure: the node's certificate is not checked")
    );

    let health = |trust: Vec<&str>| {
        let url = format!("{https}/readyz");
        let arguments: Vec<_> = [vec!["healthcheck", "--url", &url], trust]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .collect();
        async move {
            let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
            without_key(&arguments).await.status.code()
        }
    };
    assert_eq!(health(vec!["--ca", ca]).await, Some(0));
    assert_eq!(health(vec![]).await, Some(1));

    // The event is published once the client is there.
    for (trust, code) in [
        (vec!["--ca", ca], 0),
        (vec!["--insecure"], 0),
        (vec!["--ca", other], 1),
        (vec![], 1),
    ] {
        let connect = [vec!["connect", "--url", &wss, "--exit-on-eof"], trust.clone()].concat();
        let connected = with_key(&key("bot"), &connect).await;
        assert_eq!(connected.status.code(), Some(code), "{trust:?}: {connected:?}");
        let greeted = connected.stdout.contains("bot_connect_success");
        assert_eq!(greeted, code == 0, "{connected:?}");
    }
}

#[tokio::test]
async fn a_configuration_names_the_node_and_its_readable_keys() {
    let (node, certificates, _trusted) = secured_node().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    // The file of the running node, but with its settings from the environment and its port.
    let (certificate, key_file) = (
        certificates.path().join("chain.pem"),
        certificates.path().join("key.pem"),
    );
    let text = std::fs::read_to_string(node.file()).unwrap();
    let place = format!(
        "[server]\nbind = \"0.0.0.0:{}\"\n[server.tls]\ncertificate = {certificate:?}\nkey = {key_file:?}\n",
        node.address().port(),
    );
    std::fs::write(folder.path().join("checked.json"), "{}").unwrap();
    std::fs::write(&file, place + &text).unwrap();
    let file = file.to_str().unwrap();

    let healthy = without_key(&["healthcheck", "--config", file, "--path", "/readyz"]).await;
    assert_eq!(healthy.status.code(), Some(0), "{healthy:?}");
    let published = without_key(&["publish", "--config", file, "announce", "{}"]).await;
    assert_eq!(published.status.code(), Some(0), "{published:?}");
    let connected = without_key(&["connect", "--config", file, "--type", "service", "--exit-on-eof"]).await;
    assert_eq!(connected.status.code(), Some(0), "{connected:?}");
}

#[tokio::test]
async fn healthcheck_follows_the_environment() {
    let node = Setup::new().start().await;
    let check = async |bind: String| {
        let mut command = Command::new(gateway());
        let command = command.arg("healthcheck").env("UTILBOT__SERVER__BIND", bind);
        run(command, COMMAND).await
    };
    let healthy = check(node.address().to_string()).await;
    assert_eq!(healthy.stdout, "healthy\n", "{healthy:?}");
    let port = node.address().port();
    drop(node);
    let unhealthy = check(format!("0.0.0.0:{port}")).await;
    assert_eq!(unhealthy.status.code(), Some(1));
    let expected = format!("unhealthy: no response from http://127.0.0.1:{port}/livez");
    assert!(unhealthy.stdout.starts_with(&expected), "{unhealthy:?}");
}

#[tokio::test]
async fn the_nodes_of_a_cluster_are_listed_from_any_node() {
    let redis = RedisProcess::start().await;
    let mut nodes = Vec::new();
    for name in ["alpha", "beta", "gamma"] {
        let setup = full_setup().redis(&redis.url()).set("node.name", name);
        let node = setup.set("cluster.lease_ms", 1000).start().await;
        ready(&node).await;
        nodes.push(node);
    }
    let _bot = V1Client::session(&nodes[1], "bot", &key("bot")).await;
    for node in &nodes {
        let url = format!("http://{}", node.address());
        let listed = eventually("every node is listed", async || {
            let listed = with_key(&key("root"), &["cluster", "--url", &url]).await;
            assert_eq!(listed.status.code(), Some(0), "{listed:?}");
            let lines: Vec<_> = listed.stdout.lines().map(str::to_owned).collect();
            (lines.len() == 5 && lines[4] == "1 sessions").then_some(lines)
        })
        .await;
        assert!(listed[0].starts_with("NODE   STATE  SESSIONS  LEASE"), "{listed:?}");
        for (line, start) in listed[1..4]
            .iter()
            .zip(["alpha  live   0 ", "beta   live   1 ", "gamma  live   0 "])
        {
            assert!(line.starts_with(start), "{listed:?}");
        }
        let json = with_key(&key("root"), &["cluster", "--url", &url, "--json"]).await;
        let body: Value = serde_json::from_str(&json.stdout).unwrap();
        assert_eq!(body["nodes"].as_array().map(Vec::len), Some(3), "{body}");
    }
}

#[tokio::test]
async fn sessions_are_listed_and_kicked_over_tls() {
    let (node, folder, trusted) = secured_node().await;
    let mut bot = V1Client::open_tls(node.address(), trusted, PacketEncoding::Plain)
        .await
        .unwrap();
    bot.next().await;
    let id = bot.identify("bot", &key("bot")).await;
    bot.event("GLOBAL_GUILD_COUNT").await;
    let ca = folder.path().join("chain.pem");
    let url = format!("https://localhost:{}", node.address().port());
    let reach = ["--url", url.as_str(), "--ca", ca.to_str().unwrap()];
    let ask = async |key: &str, arguments: &[&str]| with_key(key, &[arguments, &reach].concat()).await;

    let listed = ask(&key("root"), &["sessions"]).await;
    assert_eq!(listed.status.code(), Some(0), "{listed:?}");
    let rows: Vec<Vec<&str>> = listed
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        rows[0],
        [
            "SESSION", "TYPE", "KEY", "NODE", "ADDRESS", "OPEN", "IN", "OUT", "CLIENT"
        ]
    );
    assert_eq!(rows[1][..3], [id.as_str(), "bot", "bot"]);
    for (filter, count) in [
        (["--type", "bot"], 1),
        (["--type", "website"], 0),
        (["--with-key", "bot"], 1),
        (["--with-key", "other"], 0),
    ] {
        let listed = ask(&key("root"), &[&["sessions", "--json"], &filter[..]].concat()).await;
        assert_eq!(listed.stdout.lines().count(), count, "{filter:?}: {listed:?}");
    }

    let shown = ask(&key("root"), &["session", &id]).await;
    assert!(shown.stdout.contains("type          bot"), "{shown:?}");
    let cluster = ask(&key("root"), &["cluster"]).await;
    assert!(cluster.stdout.contains("a single node, without Redis"), "{cluster:?}");
    let good = ask(&key("bot"), &["check-key"]).await;
    assert!(good.stdout.contains("application   utilbot"), "{good:?}");
    let top = ask(&key("root"), &["top", "--count", "1", "--interval-ms", "100"]).await;
    assert!(
        top.stdout.contains("sessions 1 here, 1 in all") && top.stdout.contains(&id),
        "{top:?}"
    );
    let root = key("root");
    let tail = ask(&root, &["tail", "--count", "1", "--json"]);
    let publishing = async {
        loop {
            let published = ask(&root, &["publish", "announce", "{}"]).await;
            assert_eq!(published.status.code(), Some(0), "{published:?}");
        }
    };
    let tailed = tokio::select! {
        tailed = tail => tailed,
        () = publishing => unreachable!("it publishes until the command has ended"),
    };
    assert!(tailed.stdout.contains("\"t\":\"announce\""), "{tailed:?}");

    let refused = ask(&key("bot"), &["kick", &id]).await;
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(refused.stderr.contains("refused: HTTP 403 forbidden: "), "{refused:?}");
    let kicked = ask(&key("root"), &["kick", &id]).await;
    assert_eq!(kicked.stdout, format!("session {id} is ended\n"), "{kicked:?}");
    // The events that were published for `tail` come first.
    let last = loop {
        let payload = bot.next().await;
        if payload["t"] != "announce" {
            break payload;
        }
    };
    bot.put_back([last]);
    bot.error(1000, 1008).await;
    let gone = ask(&key("root"), &["kick", &id]).await;
    assert_eq!(gone.status.code(), Some(2), "{gone:?}");
    assert!(gone.stderr.contains("HTTP 404"), "{gone:?}");
}
