//! The configuration as operators see it: one line for each problem, and an exit code.

use std::{fs, net::TcpListener, path::Path, time::Duration};

use gateway_harness::{KEYS, Ran, SECRET, Setup, V1Client, gateway, key, post, run};
use nix::sys::signal::Signal;
use rcgen::{CertificateParams, KeyPair};
use tokio::process::Command;

const DEADLINE: Duration = Duration::from_secs(10);

async fn node(arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
    let mut command = Command::new(gateway());
    command.env_clear().args(arguments).envs(environment.iter().copied());
    run(&mut command, DEADLINE).await
}

/// Asserts this exit code, one line on stderr that contains `parts`, and nothing on stdout. Returns the line.
fn assert_refused<'a>(ran: &'a Ran, code: i32, parts: &[&str]) -> &'a str {
    assert_eq!(ran.status.code(), Some(code), "{ran:?}");
    assert_eq!(ran.stdout, "");
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    for part in parts {
        assert!(ran.stderr.contains(part), "{part:?} is not in {:?}", ran.stderr);
    }
    &ran.stderr
}

fn config_file(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.toml");
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

#[tokio::test]
async fn an_invalid_file_prints_one_line_with_key_value_and_origin_and_exits_64() {
    for (text, parts) in [
        (
            "[limits]\nmessage_bytes = \"many\"\n",
            vec!["limits.message_bytes", "many"],
        ),
        ("[limits]\nmessage_bytes = 0\n", vec!["limits.message_bytes", "0"]),
        ("[limits]\nmessage_bytes = -1\n", vec!["limits.message_bytes", "-1"]),
        (
            "[limits]\noutbox_bytes = 5\n",
            vec!["limits.outbox_bytes", "5", "limits.message_bytes"],
        ),
        ("[limits]\nmesage_bytes = 5\n", vec!["limits.mesage_bytes"]),
        ("[limit]\nmessage_bytes = 5\n", vec!["limit"]),
        ("[server]\nbind = \"localhost\"\n", vec!["server.bind", "localhost"]),
        (
            "[server]\nbind = \"0.0.0.0:0\"\n",
            vec!["server.bind", "0.0.0.0:0", "loopback"],
        ),
        ("[log]\nlevel = \"loud,,\"\n", vec!["log.level", "loud"]),
        ("[log]\nformat = \"xml\"\n", vec!["log.format", "xml"]),
        (
            "[drain]\nspread_ms = 10000\n",
            vec!["drain.spread_ms", "10000", "drain.deadline_ms"],
        ),
        (
            "[[keys]]\nid = \"a\"\ntype = \"robot\"\nsecret = \"01234567890123456789012345678901\"\n",
            vec!["keys[0].type", "robot"],
        ),
        (
            "[[keys]]\nid = \"a\"\ntype = \"bot\"\n",
            vec!["keys[0]", "\"a\"", "secret"],
        ),
        ("[[events]]\nname = \"x\"\nfrom = [\"bot\"]\n", vec!["events[0].to"]),
        (
            "[[events]]\nname = \"identify\"\nfrom = [\"bot\"]\nto = [\"bot\"]\n",
            vec!["events[0].name", "identify"],
        ),
        (
            "[[events]]\nname = \"x\"\nfrom = [\"bot\"]\nto = [\"bot\"]\nschema = \"gone.json\"\n",
            vec!["events[0].schema", "gone.json"],
        ),
        (
            "[[events]]\nname = \"x\"\nfrom = [\"bot\"]\nto = [\"bot\"]\ndeliver = { guild = \"guildId\" }\n",
            vec!["events[0].deliver", "guildId"],
        ),
        ("[redis]\nurl = \"http://127.0.0.1/\"\n", vec!["redis.url"]),
        ("limits = 5\n", vec!["limits", "5"]),
        ("[limits\n", vec!["line 1"]),
    ] {
        let (_folder, path) = config_file(text);
        for command in ["serve", "check-config"] {
            let ran = node(&[command, "--config", &path], &[]).await;
            let line = assert_refused(&ran, 64, &parts);
            assert!(line.contains(&path), "{path} is not in {line:?}");
        }
    }
}

#[tokio::test]
async fn an_invalid_variable_or_flag_prints_one_line_that_names_it() {
    for (name, value, parts) in [
        (
            "UTILBOT__LIMITS__MESSAGE_BYTES",
            "many",
            ["limits.message_bytes", "many"],
        ),
        ("UTILBOT__LIMITS__CONNECTIONS", "0", ["limits.connections", "0"]),
        (
            "UTILBOT__LIMITS__NONSENSE",
            "1",
            ["limits.nonsense", "UTILBOT__LIMITS__NONSENSE"],
        ),
        ("UTILBOT__SERVER__BIND", "here", ["server.bind", "here"]),
    ] {
        let ran = node(&[], &[(name, value)]).await;
        assert_refused(&ran, 64, &parts);
        assert_refused(&ran, 64, &[name]);
    }
    assert_refused(
        &node(&["--bind", "here"], &[]).await,
        64,
        &["server.bind", "here", "--bind"],
    );
    assert_refused(
        &node(&["--log-format", "xml"], &[]).await,
        64,
        &["log.format", "xml", "--log-format"],
    );
    assert_refused(
        &node(&["--config", "/gone.toml"], &[]).await,
        64,
        &["/gone.toml", "--config"],
    );
    let ran = node(&["--nonsense"], &[]).await;
    assert_eq!((ran.status.code(), &*ran.stdout), (Some(64), ""), "{ran:?}");
}

/// Asserts that `serve` and `check-config` reject a file with the same lines. Returns these lines.
async fn both_refuse(path: &str) -> Vec<String> {
    let mut outputs = Vec::new();
    for command in ["serve", "check-config"] {
        let ran = node(&[command, "--config", path], &[]).await;
        assert_eq!((ran.status.code(), &*ran.stdout), (Some(64), ""), "{command}: {ran:?}");
        outputs.push(ran.stderr.lines().map(str::to_owned).collect::<Vec<_>>());
    }
    assert_eq!(outputs[0], outputs[1]);
    assert!(
        outputs[0].iter().all(|line| line.starts_with("configuration: ")),
        "{outputs:?}"
    );
    outputs.remove(0)
}

#[tokio::test]
async fn all_problems_are_reported_at_once_one_per_line() {
    let (_folder, path) = config_file(
        "[limits]\nmessage_bytes = 0\nconnections = 0\nnonsense = 1\n[other]\nx = 1\n[redis]\nurl = \"redis:///0\"\n\
         [server.tls]\ncertificate = \"gone.pem\"\nkey = \"gone.key\"\n\
         [[events]]\nname = \"x\"\nfrom = [\"bot\"]\nto = [\"bot\"]\nschema = \"gone.json\"\n",
    );
    let lines = both_refuse(&path).await;
    let keys: Vec<_> = lines.iter().filter_map(|line| line.split(' ').nth(1)).collect();
    assert_eq!(
        keys,
        [
            "other",
            "limits.nonsense",
            "limits.message_bytes",
            "limits.connections",
            "events[0].schema",
            "server.tls.certificate",
            "server.tls.key",
            "redis.url",
        ],
        "{lines:?}"
    );
    let ran = node(
        &["--config", &path],
        &[("UTILBOT__LOG__FORMAT", "xml"), ("UTILBOT__NODE__NAMES", "x")],
    )
    .await;
    assert_eq!(ran.stderr.lines().count(), lines.len() + 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("did you mean node.name?"), "{}", ran.stderr);
}

/// Writes a certificate for `localhost`, valid until January 1 of `year`, and its key.
fn certify(folder: &Path, name: &str, year: i32) {
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
    fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}

/// Returns a `[server]` section whose `tls` has these files.
fn tls(certificate: &str, key: &str) -> String {
    format!("[server]\nbind = \"127.0.0.1:0\"\ntls = {{ certificate = \"{certificate}\", key = \"{key}\" }}\n")
}

#[tokio::test]
async fn check_config_rejects_every_file_that_serve_rejects() {
    let (folder, path) = config_file("");
    certify(folder.path(), "one", 2100);
    certify(folder.path(), "other", 2100);
    for (name, text) in [
        ("empty.pem", ""),
        ("junk.pem", "junk\n"),
        ("cut.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n"),
        (
            "no.pem",
            "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n",
        ),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let redis = |url: &str, ca: &str| format!("[redis]\nurl = \"{url}\"\n{ca}\n");
    let good = "redis://:secret%23word@127.0.0.1:1/3";
    for (text, parts) in [
        (tls("gone.pem", "one.key"), vec!["server.tls.certificate = "]),
        (tls("empty.pem", "one.key"), vec!["server.tls.certificate = "]),
        (tls("cut.pem", "one.key"), vec!["server.tls.certificate = "]),
        (tls("one.key", "one.key"), vec!["server.tls.certificate = "]),
        (tls("no.pem", "one.key"), vec!["server.tls.key = "]),
        (tls("one.pem", "gone.key"), vec!["server.tls.key = "]),
        (tls("one.pem", "empty.pem"), vec!["server.tls.key = "]),
        (tls("one.pem", "one.pem"), vec!["server.tls.key = "]),
        (tls("one.pem", "other.key"), vec!["server.tls.key = "]),
        (
            tls("junk.pem", "junk.pem"),
            vec!["server.tls.certificate = ", "server.tls.key = "],
        ),
        (redis("redis://gw:secretword@", ""), vec!["redis.url = "]),
        (redis("redis://gw:secret/word@127.0.0.1", ""), vec!["redis.url = "]),
        (
            redis("redis://gw:secret@word:x@y/z#@127.0.0.1", ""),
            vec!["redis.url = "],
        ),
        (redis("redis://gw:1#secretword@127.0.0.1", ""), vec!["redis.url = "]),
        (redis("redis://gw:%ffsecretword@127.0.0.1", ""), vec!["redis.url = "]),
        (redis("redis://127.0.0.1:1/secretword", ""), vec!["redis.url = "]),
        (redis("redis://127.0.0.1:65536/secretword", ""), vec!["redis.url = "]),
        (redis("redis:///0", ""), vec!["redis.url = "]),
        (redis("rediss://127.0.0.1:1", "ca = \"gone.pem\""), vec!["redis.ca = "]),
        (redis("rediss://127.0.0.1:1", "ca = \"empty.pem\""), vec!["redis.ca = "]),
        (redis("rediss://127.0.0.1:1", "ca = \"one.key\""), vec!["redis.ca = "]),
        (redis("rediss://127.0.0.1:1", "ca = \"no.pem\""), vec!["redis.ca = "]),
        (redis(good, "ca = \"one.pem\""), vec!["redis.ca = "]),
        (
            "[server]\nbind = \"127.0.0.1:9\"\n[admin]\nbind = \"0.0.0.0:9\"\n".to_owned(),
            vec!["admin.bind = "],
        ),
    ] {
        fs::write(&path, format!("{text}{KEYS}")).unwrap();
        let lines = both_refuse(&path).await;
        assert_eq!(lines.len(), parts.len(), "{text}: {lines:?}");
        for (line, part) in lines.iter().zip(parts) {
            assert!(line.contains(part), "{part:?} is not in {line:?}");
            assert!(!line.contains("secret"), "{line}");
        }
    }
    fs::write(&path, format!("{}{}{KEYS}", tls("one.pem", "one.key"), redis(good, ""))).unwrap();
    let ran = node(&["check-config", "--config", &path], &[]).await;
    assert!(ran.status.success() && ran.stderr.is_empty(), "{ran:?}");
}

/// Returns a `[[keys]]` block whose key has expired.
fn expired_key() -> String {
    format!("[[keys]]\nid = \"old\"\ntype = \"bot\"\nsecret = \"{SECRET}\"\nexpires_at = \"2020-01-01T00:00:00Z\"\n")
}

#[tokio::test]
async fn a_node_without_a_usable_key_does_not_start() {
    let (_folder, path) = config_file(&expired_key());
    let lines = both_refuse(&path).await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].starts_with("configuration: keys[0].expires_at = \"2020-01-01T00:00:00Z\" in "),
        "{lines:?}"
    );
    let (_folder, path) = config_file(&format!("{}{KEYS}", expired_key()));
    let ran = node(&["check-config", "--config", &path], &[]).await;
    assert!(ran.status.success() && ran.stderr.is_empty(), "{ran:?}");
}

/// Asserts that `check-config` prints this warning and succeeds, and that a node logs it and starts.
async fn both_warn(text: &str, warning: &str) {
    let (_folder, path) = config_file(text);
    let ran = node(&["check-config", "--config", &path], &[]).await;
    assert!(ran.status.success(), "{ran:?}");
    assert_eq!(
        (ran.stdout.lines().count(), ran.stderr.lines().count()),
        (1, 1),
        "{ran:?}"
    );
    assert!(ran.stderr.starts_with("warning: configuration: "), "{ran:?}");
    assert!(ran.stderr.contains(warning), "{ran:?}");
    let node = Setup::new().file(text).start().await;
    node.logged(warning).await;
}

#[tokio::test]
async fn check_config_and_serve_warn_about_likely_mistakes() {
    let folder = tempfile::tempdir().unwrap();
    certify(folder.path(), "old", 2020);
    let [certificate, key] = ["old.pem", "old.key"].map(|name| folder.path().join(name).display().to_string());
    let text = format!("{}{KEYS}", tls(&certificate, &key));
    both_warn(&text, "it expired at 2020-01-01T00:00:00Z").await;
    for keys in ["", &expired_key()] {
        let text = format!("[redis]\nurl = \"redis://127.0.0.1:1\"\n{keys}");
        both_warn(&text, "since no key in [[keys]] is valid").await;
    }
}

#[tokio::test]
async fn the_last_key_can_be_revoked_while_a_node_runs() {
    let node = Setup::new().file(KEYS).start().await;
    let event = r#"{"t":"X","to":"all","d":{}}"#;
    assert_eq!(post(&node, &key("root"), event).await.status, 202);
    fs::write(node.file(), expired_key()).unwrap();
    node.signal(Signal::SIGHUP);
    node.logged("configuration reloaded").await;
    assert_eq!(post(&node, &key("root"), event).await.status, 401);
}

#[tokio::test]
async fn keys_from_a_file_that_a_variable_names_are_read_again_on_sighup() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.toml");
    fs::write(&path, KEYS).unwrap();
    let path = path.to_str().unwrap();
    let node = Setup::new().variable("UTILBOT__KEYS__FILE", path).start().await;
    let event = r#"{"t":"X","to":"all","d":{}}"#;
    assert_eq!(post(&node, &key("root"), event).await.status, 202);
    fs::write(path, KEYS.replace("id = \"root\"", "id = \"other\"")).unwrap();
    node.signal(Signal::SIGHUP);
    node.logged("configuration reloaded").await;
    assert_eq!(post(&node, &key("root"), event).await.status, 401);
    assert_eq!(post(&node, &key("other"), event).await.status, 202);
    // Without the file, the node keeps what it has.
    fs::remove_file(path).unwrap();
    node.signal(Signal::SIGHUP);
    node.logged("the configuration is invalid and was not applied").await;
    let expected = format!("configuration: keys in environment UTILBOT__KEYS__FILE (from file {path})");
    node.logged(&expected).await;
    assert_eq!(post(&node, &key("other"), event).await.status, 202);
}

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
async fn misplaced_secrets_are_not_printed() {
    for text in [
        format!("[[keys]]\nid = \"a\"\ntype = \"bot\"\nhash = \"{SECRET}\"\n"),
        format!("[[keys]]\nid = \"a.{SECRET}\"\ntype = \"bot\"\nhash = \"\"\n"),
        format!("[[keys]]\nid = \"a\"\ntype = \"bot\"\nsecret = \"{SECRET}.\"\n"),
        format!("keys = \"{SECRET}\"\n"),
    ] {
        let (_folder, path) = config_file(&text);
        let lines = both_refuse(&path).await;
        for line in lines {
            assert!(line.contains("keys") && !line.contains(SECRET), "{line}");
        }
    }
}

#[tokio::test]
async fn a_port_in_use_prints_one_line_and_exits_69() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ran = node(&["--bind", &address], &[]).await;
    assert_refused(&ran, 69, &[&address]);
    let environment = [("UTILBOT__ADMIN__BIND", &*address)];
    let ran = node(&["--bind", "127.0.0.1:0"], &environment).await;
    assert_refused(&ran, 69, &[&address]);
}

#[tokio::test]
async fn an_unreadable_certificate_is_reported_and_prevents_the_start() {
    let (_folder, path) = config_file(&format!(
        "[server]\nbind = \"127.0.0.1:0\"\ntls = {{ certificate = \"gone.pem\", key = \"gone.key\" }}\n{KEYS}"
    ));
    let lines = both_refuse(&path).await;
    assert_eq!(lines.len(), 2, "{lines:?}");
    for (line, parts) in lines
        .iter()
        .zip([["server.tls.certificate", "gone.pem"], ["server.tls.key", "gone.key"]])
    {
        assert!(parts.iter().all(|part| line.contains(part)), "{line}");
    }
}

#[tokio::test]
async fn a_valid_configuration_prints_one_line_and_exits_0() {
    let (_folder, path) = config_file(KEYS);
    let ran = node(&["check-config", "--config", &path], &[]).await;
    assert!(ran.status.success(), "{ran:?}");
    assert_eq!((ran.stdout.lines().count(), &*ran.stderr), (1, ""), "{ran:?}");
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
async fn help_and_version_exit_0_for_every_command() {
    for arguments in [
        &["--help"][..],
        &["serve", "--help"],
        &["check-config", "--help"],
        &["print-config", "--help"],
        &["keys", "--help"],
        &["keys", "new", "--help"],
    ] {
        let ran = node(arguments, &[]).await;
        assert!(ran.status.success(), "{ran:?}");
        assert!(ran.stdout.contains("Usage"), "{ran:?}");
    }
    for arguments in [
        &["--version"][..],
        &["serve", "--version"],
        &["keys", "new", "--version"],
    ] {
        let ran = node(arguments, &[]).await;
        assert!(ran.status.success(), "{ran:?}");
        assert!(ran.stdout.contains(env!("CARGO_PKG_VERSION")), "{ran:?}");
    }
}

#[tokio::test]
async fn every_documented_command_exists() {
    let ran = node(&["--help"], &[]).await;
    for command in [
        "serve",
        "check-config",
        "print-config",
        "healthcheck",
        "keys",
        "connect",
    ] {
        let is_command = |line: &str| line.split_whitespace().next() == Some(command);
        assert!(ran.stdout.lines().any(is_command), "{command} in {}", ran.stdout);
    }
}

#[tokio::test]
async fn keys_new_prints_a_working_key_and_a_block_without_its_secret() {
    let ran = node(&["keys", "new", "--id", "fresh", "--type", "bot"], &[]).await;
    assert!(ran.status.success(), "{ran:?}");
    let printed = format!("{}\n{}", ran.stdout, ran.stderr);
    let presented = printed
        .split(|char: char| char.is_whitespace() || char == '"')
        .find(|word| word.strip_prefix("fresh.").is_some_and(|secret| secret.len() >= 32))
        .unwrap_or_else(|| panic!("no key in {printed}"));
    let block = printed
        .find("[[keys]]")
        .map(|at| &printed[at..])
        .expect("a [[keys]] block");
    assert!(!block.contains(presented));
    let node = Setup::new().file(block).start().await;
    V1Client::session(&node, "bot", presented).await;
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
    let mut client = V1Client::open(node.address(), "/", gateway_harness::PacketEncoding::Plain)
        .await
        .unwrap();
    assert_eq!(client.next().await["d"]["heartbeat"], 2222);
    client.identify("bot", &key("bot")).await;
}

#[tokio::test]
async fn the_first_output_line_describes_the_node_to_tools() {
    let node = Setup::new().set("test.echo_bind", "127.0.0.1:0").start().await;
    let banner = node.banner();
    assert_eq!(banner["url"], format!("ws://{}/", node.address()));
    assert!(
        banner["echo_address"].as_str().unwrap().starts_with("127.0.0.1:"),
        "{banner}"
    );
    assert!(banner["node"].is_string() && banner["version"].is_string(), "{banner}");
    let node = Setup::new()
        .file(KEYS)
        .set("server.public_url", "wss://gateway.example/")
        .start()
        .await;
    assert_eq!(node.banner()["url"], "wss://gateway.example/");
    assert_eq!(node.banner().get("development_key"), None);
    assert!(Path::new(&node.file()).exists());
}
