//! `check-config`: its errors and warnings are those of `serve`.

use std::fs;

use gateway_harness::{KEYS, Setup};

use super::{both_refuse, certify, config_file, expired_key, node, tls};

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
        (redis("rediss://127.0.0.1:1/#insecure", ""), vec!["redis.url = "]),
        (
            redis("rediss://127.0.0.1:1", "certificate = \"one.pem\"\nkey = \"other.key\""),
            vec!["redis.certificate = "],
        ),
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
async fn a_valid_configuration_prints_one_line_and_exits_0() {
    let (_folder, path) = config_file(KEYS);
    let ran = node(&["check-config", "--config", &path], &[]).await;
    assert!(ran.status.success(), "{ran:?}");
    assert_eq!((ran.stdout.lines().count(), &*ran.stderr), (1, ""), "{ran:?}");
}
