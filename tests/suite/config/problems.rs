//! Problems of a configuration: one line for each, and no start.

use std::net::TcpListener;

use gateway_harness::{KEYS, SECRET};

use super::{assert_refused, both_refuse, config_file, node};

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
