//! Keys: the types they are valid for, expiry and revocation, and that they are never logged or sent.

use std::{
    fs,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use gateway_harness::{KEYS, PacketEncoding, SECRET, Setup, V1Client, full_setup, get, key, post, request};
use nix::sys::signal::Signal;
use serde_json::json;

/// Formats a Unix time in seconds as RFC 3339.
fn timestamp(unix: u64) -> String {
    let (days, second) = (unix / 86_400, unix % 86_400);
    let mut year = 1970;
    let mut left = days;
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    while left >= 365 + u64::from(is_leap(year)) {
        left -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let mut month = 1;
    for days in [
        31,
        28 + u64::from(is_leap(year)),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ] {
        if left < days {
            break;
        }
        left -= days;
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", left + 1)
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

#[test]
fn a_timestamp_is_formatted_as_in_rfc_3339() {
    assert_eq!(timestamp(0), "1970-01-01T00:00:00Z");
    assert_eq!(timestamp(951_782_400), "2000-02-29T00:00:00Z");
    assert_eq!(timestamp(1_767_225_599), "2025-12-31T23:59:59Z");
}

#[tokio::test]
async fn a_key_is_valid_only_for_its_types() {
    let node = full_setup().start().await;
    for (id, types) in [
        ("bot", vec!["bot"]),
        ("website", vec!["website"]),
        ("root", vec!["bot", "website", "service"]),
    ] {
        for kind in ["bot", "website", "service"] {
            let mut client = V1Client::greeted(&node, PacketEncoding::Plain).await;
            if types.contains(&kind) {
                client.identify(kind, &key(id)).await;
            } else {
                client.send_identify(kind, &key(id)).await;
                client.error(4001, 4001).await;
            }
        }
    }
}

#[tokio::test]
async fn a_key_may_be_configured_by_its_hash() {
    // The SHA-256 of SECRET.
    let hash = "7771a0cec1279f8ca878a66c694f3344b16bee8128c78b8ef5fd0656b35b02ee";
    let file = format!("[[keys]]\nid = \"hashed\"\ntype = \"bot\"\nhash = \"{hash}\"\n");
    let node = Setup::new().file(&file).start().await;
    V1Client::session(&node, "bot", &key("hashed")).await;
    let mut client = V1Client::greeted(&node, PacketEncoding::Plain).await;
    client.send_identify("bot", &format!("hashed.{hash}")).await;
    client.error(4001, 4001).await;
}

#[tokio::test]
async fn an_expired_key_ends_its_sessions_within_a_second() {
    let expiry = now().as_secs() + 3;
    let file = format!(
        "{KEYS}\n[[keys]]\nid = \"brief\"\ntype = [\"bot\", \"service\"]\npermissions = [\"publish\"]\n\
         secret = \"{SECRET}\"\nexpires_at = \"{}\"\n",
        timestamp(expiry)
    );
    let node = full_setup().file(&file).start().await;
    let mut brief = [
        V1Client::session(&node, "bot", &key("brief")).await,
        V1Client::session_in(&node, "bot", &key("brief"), PacketEncoding::Zlib).await,
    ];
    let mut lasting = V1Client::session(&node, "bot", &key("bot")).await;
    for client in &mut brief {
        client.error(4001, 4001).await;
    }
    let late = now().checked_sub(Duration::from_secs(expiry));
    let late = late.expect("the key was valid until it expired");
    assert!(late < Duration::from_secs(1), "{late:?} late");
    let mut again = V1Client::greeted(&node, PacketEncoding::Plain).await;
    again.send_identify("bot", &key("brief")).await;
    again.error(4001, 4001).await;
    assert_eq!(post(&node, &key("brief"), "{}").await.status, 401);
    lasting.heartbeat().await;
    let ended = node.log().matches("session ended reason=\"key expired\"").count();
    assert_eq!(ended, brief.len(), "{}", node.log());
}

#[tokio::test]
async fn a_removed_key_ends_its_sessions_within_a_second_of_sighup() {
    let node = full_setup().start().await;
    let mut revoked = V1Client::session(&node, "bot", &key("bot")).await;
    let mut unaffected = V1Client::session(&node, "website", &key("website")).await;
    let mut unidentified = V1Client::greeted(&node, PacketEncoding::Plain).await;
    let text = fs::read_to_string(node.file()).unwrap();
    // Changing the secret of a key revokes the old one. The file also has a new key.
    let without = text.replacen(SECRET, "another-secret-that-is-long-enough-to-be-one", 1);
    let added = format!("{without}\n[[keys]]\nid = \"new\"\ntype = \"bot\"\nsecret = \"{SECRET}\"\n");
    fs::write(node.file(), added).unwrap();
    let begin = Instant::now();
    node.signal(Signal::SIGHUP);
    revoked.error(4001, 4001).await;
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    unaffected.heartbeat().await;
    unidentified.heartbeat().await;
    unidentified.identify("bot", &key("new")).await;
}

#[tokio::test]
async fn an_invalid_file_at_sighup_is_logged_and_changes_nothing() {
    let node = full_setup().start().await;
    let mut bot = V1Client::session(&node, "bot", &key("bot")).await;
    fs::write(node.file(), "[limits]\nmessage_bytes = \"many\"\n").unwrap();
    node.signal(Signal::SIGHUP);
    node.logged("limits.message_bytes").await;
    bot.heartbeat().await;
    V1Client::session(&node, "website", &key("website")).await;
}

#[tokio::test]
async fn sighup_reloads_the_event_table() {
    let node = full_setup().start().await;
    let mut bot = V1Client::session(&node, "bot", &key("bot")).await;
    let text = fs::read_to_string(node.file()).unwrap();
    fs::write(node.file(), text.replace("\"announce\"", "\"proclaim\"")).unwrap();
    node.signal(Signal::SIGHUP);
    node.logged("configuration reloaded").await;
    let answer = post(&node, &key("service"), r#"{"t":"announce","d":{}}"#).await;
    assert_eq!(answer.status, 422);
    gateway_harness::publish(&node, &key("service"), &json!({ "t": "proclaim", "d": {} })).await;
    bot.event("proclaim").await;
}

#[tokio::test]
async fn keys_never_appear_in_the_log_or_an_answer() {
    let node = full_setup().set("log.level", "trace").start().await;
    let mut answers = String::new();
    for (kind, presented) in [
        ("bot", key("bot")),
        ("bot", key("website")),
        ("bot", key("nobody")),
        ("bot", SECRET.to_owned()),
        ("bot", format!("bot.{SECRET}x")),
        (SECRET, key("bot")),
    ] {
        let mut client = V1Client::greeted(&node, PacketEncoding::Plain).await;
        client.send_identify(kind, &presented).await;
        answers.push_str(&client.next().await.to_string());
    }
    for d in [
        json!({ "key": key("bot") }),
        json!({ "type": "bot", "key": [key("bot")] }),
        json!(key("bot")),
    ] {
        let mut client = V1Client::greeted(&node, PacketEncoding::Plain).await;
        client.send_event("identify", &d).await;
        answers.push_str(&client.error(4005, 4005).await.to_string());
    }
    for presented in [key("service"), key("bot"), key("nobody"), SECRET.to_owned()] {
        answers.push_str(&post(&node, &presented, r#"{"t":"announce","d":{}}"#).await.body);
        let bearer = format!("Bearer {presented}");
        let headers = [("authorization", bearer.as_str())];
        answers.push_str(&request(node.address(), "GET", "/metrics", &headers, "").await.body);
    }
    for target in ["/health", "/metrics"] {
        answers.push_str(&get(&node, target).await.body);
    }
    node.signal(Signal::SIGHUP);
    node.logged("configuration reloaded").await;
    assert!(!answers.contains(SECRET), "{answers}");
    let log = node.log();
    assert!(log.contains("wrong auth key"), "the log is incomplete: {log}");
    let line = log.lines().find(|line| line.contains(SECRET));
    assert_eq!(line, None);
}

#[tokio::test]
async fn the_development_key_is_on_stdout_and_not_in_the_log() {
    let node = Setup::new().set("log.level", "debug").start().await;
    let key = node.development_key();
    let (_, secret) = key.split_once('.').unwrap();
    for kind in ["bot", "website", "service"] {
        V1Client::session(&node, kind, &key).await;
    }
    assert_eq!(post(&node, &key, r#"{"t":"announce","d":{}}"#).await.status, 202);
    assert!(!node.log().contains(secret));
    let other = Setup::new().start().await;
    assert_ne!(other.development_key(), key);
    assert_eq!(post(&other, &key, r#"{"t":"announce","d":{}}"#).await.status, 401);
}
