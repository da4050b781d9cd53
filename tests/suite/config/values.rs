//! The values of settings: their sources, their defaults, and how they are printed.

use std::fs;

use gateway_harness::{KEYS, PacketEncoding, SECRET, Setup, V1Client, key};

use super::{assert_refused, config_file, node};

#[tokio::test]
async fn values_in_files_of_their_own_are_named_and_their_secrets_are_not() {
    let (_folder, path) = config_file("");
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (url, keys) = (write("url", "redis://:a-secret-word@h/\n"), write("keys", KEYS));
    let environment = [("UTILBOT__REDIS__URL__FILE", &*url), ("UTILBOT__KEYS__FILE", &keys)];
    let checked = node(&["check-config", "--config", &path], &environment).await;
    assert!(checked.status.success(), "{checked:?}");
    let lines: Vec<_> = checked.stdout.lines().collect();
    assert_eq!(
        lines,
        [
            &*format!("keys is set in environment UTILBOT__KEYS__FILE (from file {keys})"),
            &format!("redis.url is set in environment UTILBOT__REDIS__URL__FILE (from file {url})"),
            "configuration ok: 1 application, 4 keys, 0 events",
        ]
    );
    let printed = node(&["print-config", "--config", &path], &environment).await;
    assert!(printed.status.success(), "{printed:?}");
    let flat = printed.stdout.replace("\n# ", " ");
    assert!(
        flat.contains(&format!(
            "Set in environment UTILBOT__REDIS__URL__FILE (from file {url}).\nurl = "
        )),
        "{flat}"
    );
    for ran in [checked, printed] {
        assert!(
            !ran.stdout.contains("secret-word") && !ran.stdout.contains(SECRET),
            "{ran:?}"
        );
    }
    let both = [environment[0], ("UTILBOT__REDIS__URL", "redis://h/")];
    for command in ["serve", "check-config"] {
        let ran = node(&[command, "--config", &path], &both).await;
        assert_refused(
            &ran,
            64,
            &["either UTILBOT__REDIS__URL or UTILBOT__REDIS__URL__FILE, but not both"],
        );
    }
}

#[tokio::test]
async fn print_config_prints_valid_toml_without_secrets() {
    let (_folder, path) = config_file(&format!("[limits]\nconnections = 77\n{KEYS}"));
    let environment = [("UTILBOT__V1__HEARTBEAT_INTERVAL_MS", "1234")];
    let ran = node(&["print-config", "--config", &path], &environment).await;
    assert!(ran.status.success(), "{ran:?}");
    assert!(!ran.stdout.contains(SECRET));
    let printed: toml::Table = ran.stdout.parse().unwrap();
    assert_eq!(printed["limits"]["connections"].as_integer(), Some(77));
    assert_eq!(printed["v1"]["heartbeat_interval_ms"].as_integer(), Some(1234));
    for section in [
        "server",
        "node",
        "v1",
        "discord",
        "session",
        "limits",
        "redis",
        "cluster",
        "drain",
        "log",
        "admin",
        "metrics",
        "compression",
        "test",
        "chaos",
    ] {
        assert!(printed.contains_key(section), "{section} in {}", ran.stdout);
    }
}

#[tokio::test]
async fn the_defaults_match_the_documentation() {
    let ran = node(&["print-config"], &[]).await;
    let printed: toml::Table = ran.stdout.parse().unwrap();
    for (section, key, value) in [
        ("v1", "heartbeat_interval_ms", 60_000),
        ("v1", "heartbeat_tolerance_ms", 10_000),
        ("v1", "guild_count_interval_ms", 1000),
        ("session", "identify_timeout_ms", 30_000),
        ("limits", "message_bytes", 65_536),
        ("limits", "payloads_per_minute", 1200),
        ("limits", "connections_per_address", 1000),
        ("limits", "connection_attempts_per_minute", 6000),
        ("drain", "balancer_wait_ms", 0),
        ("drain", "spread_ms", 2000),
        ("drain", "deadline_ms", 8000),
    ] {
        assert_eq!(printed[section][key].as_integer(), Some(value), "{section}.{key}");
    }
    assert_eq!(printed["server"]["allowed_origins"].as_array().map(Vec::len), Some(0));
}

#[tokio::test]
async fn later_sources_override_earlier_ones() {
    let file = format!("[v1]\nheartbeat_interval_ms = 1111\n[node]\nname = \"from-file\"\n{KEYS}");
    let node = Setup::new()
        .file(&file)
        .set("v1.heartbeat_interval_ms", 2222)
        .start()
        .await;
    assert_eq!(node.banner()["node"], "from-file");
    let mut client = V1Client::open(node.address(), "/", PacketEncoding::Plain)
        .await
        .unwrap();
    assert_eq!(client.next().await["d"]["heartbeat"], 2222);
    client.identify("bot", &key("bot")).await;
}
