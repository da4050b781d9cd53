//! What the HTTP API and the commands say about the sessions of a cluster, from any of its nodes.

use std::time::Duration;

use gateway_harness::{
    ApiResponse, NodeProcess, PacketEncoding, Ran, Raw, RedisProcess, V1Client, WAIT, discord::DiscordClient,
    eventually, full_setup, gateway, get, key, publish, ready, request, run,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::process::Command;

/// The longest that a command may take.
const COMMAND: Duration = Duration::from_secs(30);

async fn cluster(redis: &RedisProcess) -> Vec<NodeProcess> {
    cluster_with_lease(redis, 2000).await
}

async fn cluster_with_lease(redis: &RedisProcess, lease_ms: u64) -> Vec<NodeProcess> {
    let mut nodes = Vec::new();
    for name in ["alpha", "beta", "gamma"] {
        let setup = full_setup().redis(&redis.url()).set("cluster.lease_ms", lease_ms);
        let node = setup.set("node.name", name).start().await;
        ready(&node).await;
        nodes.push(node);
    }
    nodes
}

async fn ask(node: &NodeProcess, method: &str, target: &str) -> ApiResponse {
    let bearer = format!("Bearer {}", key("root"));
    request(node.address(), method, target, &[("authorization", &bearer)], "").await
}

/// Returns the sessions that a node lists, from all pages of `limit`.
async fn listed(node: &NodeProcess, query: &str) -> Vec<Value> {
    let (mut sessions, mut after) = (Vec::new(), String::new());
    loop {
        let page = ask(node, "GET", &format!("/api/v1/sessions?{query}{after}"))
            .await
            .json();
        assert_eq!(page["complete"], true, "{page}");
        sessions.extend(page["sessions"].as_array().expect("a list").iter().cloned());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return sessions,
        }
    }
}

fn ids(sessions: &[Value]) -> Vec<&str> {
    sessions.iter().filter_map(|session| session["id"].as_str()).collect()
}

/// Runs a command of the binary against a node.
async fn tool(node: &NodeProcess, arguments: &[&str]) -> Ran {
    let url = format!("http://{}", node.address());
    let mut command = Command::new(gateway());
    let command = command.args(arguments).args(["--url", &url]);
    run(command.env("UTILBOT_KEY", key("root")), COMMAND).await
}

#[tokio::test]
async fn every_node_lists_the_sessions_of_all_nodes() {
    let redis = RedisProcess::start().await;
    let nodes = cluster(&redis).await;
    let mut clients = Vec::new();
    let mut known = Vec::new();
    for (node, kind) in nodes.iter().zip(["bot", "website", "service"]).cycle().take(9) {
        let mut client = V1Client::greeted(node, PacketEncoding::Plain).await;
        known.push(client.identify(kind, &key(kind)).await);
        clients.push(client);
    }
    known.sort_by_key(|id| id.parse::<u64>().expect("an id"));
    for node in &nodes {
        for query in ["limit=1000", "limit=2"] {
            let sessions = listed(node, query).await;
            assert_eq!(ids(&sessions), known, "{query}");
        }
        for (filter, count) in [
            ("type=bot", 3),
            ("key=website", 3),
            ("node=gamma", 3),
            ("node=gamma&type=bot", 0),
            ("user=nobody", 0),
        ] {
            assert_eq!(listed(node, filter).await.len(), count, "{filter}");
        }
    }
    for wrong in ["limit=0", "limit=1001", "after=x", "kind=bot"] {
        let answer = ask(&nodes[0], "GET", &format!("/api/v1/sessions?{wrong}")).await;
        assert_eq!(answer.status, 400, "{wrong}: {answer:?}");
    }
}

#[tokio::test]
async fn a_list_is_marked_as_incomplete_when_a_node_does_not_answer_or_redis_is_away() {
    let mut redis = RedisProcess::start().await;
    // The lease of a node must not end while it is asked twice and does not answer.
    let mut nodes = cluster_with_lease(&redis, 8000).await;
    let _first = V1Client::session(&nodes[0], "bot", &key("bot")).await;
    let _second = V1Client::session(&nodes[1], "bot", &key("bot")).await;
    assert_eq!(listed(&nodes[0], "").await.len(), 2);

    eventually("the nodes know each other's sessions", async || {
        let health = get(&nodes[0], "/health").await.json();
        (health["cluster"]["sessions"] == 2).then_some(())
    })
    .await;
    nodes[1].signal(Signal::SIGSTOP);
    let page = ask(&nodes[0], "GET", "/api/v1/sessions").await.json();
    let other = ask(&nodes[0], "GET", "/api/v1/sessions/1").await;
    nodes[1].signal(Signal::SIGCONT);
    assert_eq!(page["sessions"].as_array().map(Vec::len), Some(1), "{page}");
    assert_eq!(page["complete"], false, "{page}");
    assert_eq!(other.status, 503, "{other:?}");
    eventually("both nodes answer again", async || {
        let page = ask(&nodes[0], "GET", "/api/v1/sessions").await.json();
        (page["sessions"].as_array().map(Vec::len) == Some(2)).then_some(())
    })
    .await;

    redis.stop().await;
    let page = eventually("the node knows that redis is away", async || {
        let page = ask(&nodes[0], "GET", "/api/v1/sessions").await.json();
        (page["complete"] == false).then_some(page)
    })
    .await;
    assert_eq!(page["sessions"].as_array().map(Vec::len), Some(1), "its own: {page}");
    assert_eq!(ask(&nodes[0], "GET", "/api/v1/sessions/1").await.status, 503);
    for node in &mut nodes {
        node.signal(Signal::SIGKILL);
        node.ended(WAIT).await;
    }
}

#[tokio::test]
async fn a_v1_session_says_what_it_is_doing() {
    let redis = RedisProcess::start().await;
    let nodes = cluster(&redis).await;
    let mut bot = V1Client::greeted(&nodes[1], PacketEncoding::Zlib).await;
    let id = bot.identify("bot", &key("bot")).await;
    bot.event("GLOBAL_GUILD_COUNT").await;
    let fresh = ask(&nodes[0], "GET", &format!("/api/v1/sessions/{id}")).await.json();
    assert_eq!(fresh["heartbeat_at"], Value::Null, "{fresh}");
    bot.heartbeat().await;
    bot.send_event("send_servers", &json!({"guilds": ["1", "2", "3"], "users": 1}))
        .await;
    let seen = eventually("the node has the report", async || {
        let seen = ask(&nodes[2], "GET", &format!("/api/v1/sessions/{id}")).await.json();
        (seen["guilds"] == 3).then_some(seen)
    })
    .await;
    for (field, value) in [
        ("id", json!(id)),
        ("type", json!("bot")),
        ("key", json!("bot")),
        ("node", json!("beta")),
        ("address", json!("127.0.0.1")),
        ("version", json!(1)),
        ("encoding", json!("json")),
        ("compression", json!("zlib")),
        ("shard", json!(null)),
        ("subscriptions", json!([])),
        ("messages_in", json!(3)),
        ("events_in", json!(0)),
        ("waiting_bytes", json!(0)),
        ("resumes", json!(0)),
    ] {
        assert_eq!(seen[field], value, "{field}: {seen}");
    }
    let ms = |field: &str| seen[field].as_u64().unwrap_or_else(|| panic!("{field}: {seen}"));
    assert!(ms("heartbeat_at") >= ms("connected_at"), "{seen}");
    assert!(
        ms("bytes_in") > 0 && ms("bytes_out") > 0 && ms("frames_out") >= 4,
        "{seen}"
    );
    let secret = key("bot");
    let (_, secret) = secret.split_once('.').expect("a key has a secret");
    assert!(!seen.to_string().contains(secret), "{seen}");

    let shown = tool(&nodes[0], &["session", &id]).await;
    assert_eq!(shown.status.code(), Some(0), "{shown:?}");
    for line in [
        "node          beta",
        "protocol      version 1, json, zlib",
        "guilds        3",
    ] {
        assert!(shown.stdout.contains(line), "{line}: {shown:?}");
    }
    let gone = tool(&nodes[0], &["session", "1"]).await;
    assert_eq!(gone.status.code(), Some(2), "{gone:?}");
}

#[tokio::test]
async fn messages_and_bytes_of_a_session_are_counted_exactly() {
    let node = full_setup().start().await;
    let mut raw = Raw::open_with(node.address(), "/?v=1", &[("user-agent", "counter/1.0")]).await;
    let hello = raw.frame().await.expect("hello");
    let identify = format!(
        r#"{{"op":1,"t":"identify","d":{{"type":"service","key":"{}"}}}}"#,
        key("service")
    );
    raw.send_text(&identify).await;
    let success = raw.frame().await.expect("success");
    publish(&node, &key("root"), &json!({"t": "announce", "d": {"n": 1}})).await;
    let event = raw.frame().await.expect("an event");
    let frames = [&hello, &success, &event];
    // Unmasked, each with a header of two bytes, or four from 126 bytes on.
    let sizes = frames.map(|frame| frame.payload.len() + if frame.payload.len() < 126 { 2 } else { 4 });
    let page = ask(&node, "GET", "/api/v1/sessions?type=service").await.json();
    let session = &page["sessions"][0];
    assert_eq!(session["bytes_out"], json!(sizes.iter().sum::<usize>()), "{session}");
    assert_eq!(session["bytes_in"], json!(identify.len()), "{session}");
    assert_eq!(
        [&session["frames_out"], &session["events_out"], &session["messages_in"]],
        [&json!(3), &json!(1), &json!(1)],
        "{session}"
    );
    assert_eq!(session["user_agent"], "counter/1.0", "{session}");
}

#[tokio::test]
async fn a_discord_session_has_its_library_shard_intents_and_resumes() {
    let redis = RedisProcess::start().await;
    let nodes = cluster(&redis).await;
    let query = "v=10&encoding=json";
    let mut client = DiscordClient::greeted(&nodes[0], query).await;
    client
        .identify(&json!({
            "token": key("bot"), "intents": 513, "shard": [1, 4],
            "properties": {"os": "linux", "browser": "discord.py", "device": "discord.py"}
        }))
        .await;
    let ready = client.expect_dispatch("READY").await;
    let id = ready["session_id"].as_str().expect("a session").to_owned();
    let seen = ask(&nodes[1], "GET", &format!("/api/v1/sessions/{id}")).await.json();
    for (field, value) in [
        ("type", json!("discord")),
        ("node", json!("alpha")),
        ("version", json!(10)),
        ("library", json!("discord.py")),
        ("shard", json!([1, 4])),
        ("subscriptions", json!(["GUILDS", "GUILD_MESSAGES"])),
        ("resumes", json!(0)),
    ] {
        assert_eq!(seen[field], value, "{field}: {seen}");
    }
    drop(client);
    let mut again = DiscordClient::greeted(&nodes[2], query).await;
    again.resume(&key("bot"), &id, 1).await;
    again.expect_dispatch("RESUMED").await;
    let seen = ask(&nodes[1], "GET", &format!("/api/v1/sessions/{id}")).await.json();
    assert_eq!(
        (&seen["node"], &seen["resumes"]),
        (&json!("gamma"), &json!(1)),
        "{seen}"
    );
}

#[tokio::test]
async fn a_session_is_kicked_through_another_node() {
    let redis = RedisProcess::start().await;
    let nodes = cluster(&redis).await;
    let mut client = V1Client::greeted(&nodes[0], PacketEncoding::Plain).await;
    let id = client.identify("website", &key("website")).await;
    let kicked = tool(&nodes[2], &["kick", &id]).await;
    assert_eq!(kicked.stdout, format!("session {id} is ended\n"), "{kicked:?}");
    client.error(1000, 1008).await;
    eventually("the session is gone", async || {
        let answer = ask(&nodes[1], "DELETE", &format!("/api/v1/sessions/{id}")).await;
        (answer.status == 404).then_some(())
    })
    .await;
    // A fault that its node does not inject is refused there.
    let mut client = V1Client::greeted(&nodes[0], PacketEncoding::Plain).await;
    let id = client.identify("website", &key("website")).await;
    let answer = ask(&nodes[1], "POST", &format!("/api/v1/sessions/{id}/cut")).await;
    assert_eq!(answer.status, 403, "{answer:?}");
    client.heartbeat().await;
}

#[tokio::test]
async fn events_are_tailed_on_a_node_with_and_without_sessions() {
    let redis = RedisProcess::start().await;
    let nodes = cluster(&redis).await;
    let mut bot = V1Client::greeted(&nodes[0], PacketEncoding::Plain).await;
    let id = bot.identify("bot", &key("bot")).await;
    for node in &nodes[..2] {
        let start = ask(node, "GET", "/api/v1/tail").await.json();
        assert_eq!(start["entries"], json!([]), "{start}");
        let next = start["next"].as_str().expect("a position").to_owned();
        publish(&nodes[2], &key("root"), &json!({"t": "announce", "d": {"n": 7}})).await;
        let target = format!("/api/v1/tail?after={next}&wait_ms=10000&t=announce");
        let passed = ask(node, "GET", &target).await.json();
        let entry = &passed["entries"][0];
        assert_eq!(
            (&entry["t"], &entry["d"]),
            (&json!("announce"), &json!({"n": 7})),
            "{passed}"
        );
        assert_eq!(entry["audience"], "types", "{passed}");
        let none = ask(node, "GET", &format!("/api/v1/tail?after={next}&session={id}"))
            .await
            .json();
        assert_eq!(none["entries"], json!([]), "{none}");
        let none = ask(node, "GET", &format!("/api/v1/tail?after={next}&guild=5"))
            .await
            .json();
        assert_eq!(none["entries"], json!([]), "{none}");
    }
    for wrong in ["after=X", "wait_ms=20001", "guild=x", "session=x", "name=a"] {
        let answer = ask(&nodes[0], "GET", &format!("/api/v1/tail?{wrong}")).await;
        assert_eq!(answer.status, 400, "{wrong}: {answer:?}");
    }
    let lacking = request(
        nodes[0].address(),
        "GET",
        "/api/v1/tail",
        &[("authorization", &format!("Bearer {}", key("bot")))],
        "",
    )
    .await;
    assert_eq!(lacking.status, 403, "{lacking:?}");

    let tail = tool(&nodes[1], &["tail", "--name", "announce", "--count", "2"]);
    let publishing = async {
        loop {
            publish(&nodes[2], &key("root"), &json!({"t": "announce", "d": {"n": 8}})).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let tailed = tokio::select! {
        tailed = tail => tailed,
        () = publishing => unreachable!("it publishes until the command has ended"),
    };
    assert_eq!(tailed.status.code(), Some(0), "{tailed:?}");
    let lines: Vec<_> = tailed.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{tailed:?}");
    for line in lines {
        assert!(line.contains(" announce to "), "{line}");
        assert!(line.ends_with(r#" {"n":8}"#), "{line}");
    }
}

#[tokio::test]
async fn top_shows_the_rates_of_a_node_and_its_busiest_sessions() {
    let node = full_setup().start().await;
    let mut busy = V1Client::greeted(&node, PacketEncoding::Plain).await;
    let id = busy.identify("service", &key("service")).await;
    let mut idle = V1Client::greeted(&node, PacketEncoding::Plain).await;
    let other = idle.identify("website", &key("website")).await;
    let top = tool(&node, &["top", "--count", "1", "--interval-ms", "1500", "--sort", "in"]);
    let working = async {
        loop {
            busy.heartbeat().await;
        }
    };
    let shown = tokio::select! {
        shown = top => shown,
        () = working => unreachable!("it works until the command has ended"),
    };
    assert_eq!(shown.status.code(), Some(0), "{shown:?}");
    let place = |text: &str| shown.stdout.find(text).unwrap_or_else(|| panic!("{text}: {shown:?}"));
    assert!(place(&id) < place(&other), "{shown:?}");
    for part in ["sessions 2 here", "accepted 0.0/s", "publish p50 - p99 -", "memory "] {
        place(part);
    }
}

#[tokio::test]
async fn a_key_is_checked_without_showing_it() {
    let node = full_setup().start().await;
    let url = format!("http://{}", node.address());
    let check = async |secret: &str, more: &[&str]| {
        let mut command = Command::new(gateway());
        let command = command.args(["check-key", "--url", &url]).args(more);
        run(command.env("UTILBOT_KEY", secret), COMMAND).await
    };
    let good = check(&key("bot"), &["--type", "bot"]).await;
    assert_eq!(good.status.code(), Some(0), "{good:?}");
    for line in [
        "key           bot",
        "application   utilbot",
        "types         bot",
        "expires       never",
    ] {
        assert!(good.stdout.contains(line), "{line}: {good:?}");
    }
    for (secret, more, message) in [
        (key("bot"), vec!["--type", "website"], "not for clients of type website"),
        (key("bot"), vec!["--permission", "admin"], "lacks the permission admin"),
        ("bot.wrong".to_owned(), vec![], "refused: HTTP 401 unauthorised"),
    ] {
        let refused = check(&secret, &more).await;
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(refused.stderr.contains(message), "{refused:?}");
        let (_, hidden) = secret.split_once('.').expect("a key has a secret");
        assert!(
            !format!("{}{}", refused.stdout, refused.stderr).contains(hidden),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn completions_and_manual_pages_name_every_command() {
    let ask = async |arguments: &[&str]| {
        let mut command = Command::new(gateway());
        let ran = run(command.args(arguments), COMMAND).await;
        assert_eq!(ran.status.code(), Some(0), "{ran:?}");
        ran.stdout
    };
    let commands = [
        "serve",
        "check-config",
        "print-config",
        "keys",
        "connect",
        "publish",
        "cluster",
        "sessions",
        "session",
        "kick",
        "top",
        "tail",
        "check-key",
        "completions",
        "man",
        "healthcheck",
    ];
    for shell in ["bash", "zsh", "fish"] {
        let script = ask(&["completions", shell]).await;
        for command in commands {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
    let page = ask(&["man"]).await;
    assert!(page.starts_with(".ie") || page.contains(".TH gateway-node 1"), "{page}");
    let folder = tempfile::tempdir().expect("a folder");
    ask(&["man", "--out", folder.path().to_str().expect("a path")]).await;
    for command in commands {
        let file = folder.path().join(format!("gateway-node-{command}.1"));
        let page = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert!(page.contains(".SH SYNOPSIS"), "{command}");
    }
    // bash accepts the script as it is.
    let script = folder.path().join("completion.bash");
    std::fs::write(&script, ask(&["completions", "bash"]).await).expect("the script is written");
    let mut bash = Command::new("bash");
    let checked = run(bash.arg("-n").arg(&script), COMMAND).await;
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
}
