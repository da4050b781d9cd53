//! Values that are valid alone and contradict each other.

use std::net::TcpListener;

use super::{Given, file, refuses as refuses_all, variable};
use crate::config::contradiction::overlap;

const SECRET: &str = "correct-horse-battery-staple-0123456789";

/// Checks that a file has exactly one problem.
#[track_caller]
fn refuses(text: &str, line: &str) {
    refuses_all(text, &[line]);
}

#[test]
fn redis_needs_a_redis_url_and_takes_a_ca_only_with_tls() {
    let line = "redis.url = <redacted> in u.toml: expected a URL that starts with redis://, rediss:// or redis+unix://";
    refuses("[redis]\nurl = 'http://:hunter2@host'", line);
    let error = variable("UTILBOT__REDIS__URL", "hunter2").map(|_| ()).unwrap_err();
    assert_eq!(
        error,
        format!(
            "configuration: {}",
            line.replace("u.toml", "environment UTILBOT__REDIS__URL")
        )
    );
    let text = "[redis]\nurl = 'redis://host'\nca = '/ca.pem'";
    refuses(
        text,
        "redis.ca = \"/ca.pem\" in u.toml: expected a redis.url that starts with rediss://",
    );
    refuses(
        "[redis]\nca = '/ca.pem'",
        "redis.ca = \"/ca.pem\" in u.toml: expected redis.url to be set too",
    );
    assert!(file("[redis]\nurl = 'rediss://:hunter2@host'\nca = '/ca.pem'").is_ok());
}

#[test]
fn an_unencoded_password_is_refused_with_advice() {
    for url in [
        "redis://gw:12#hunter2@host:6379",
        "redis://gw:12/hunter2@host:6379",
        "redis://gw:12?hunter2@host:6379/0",
        "redis://gw:é/hunter2@host",
    ] {
        refuses(
            &format!("[redis]\nurl = '{url}'"),
            "redis.url = <redacted> in u.toml: expected redis://[[user]:password@]host[:port][/db] or rediss:// for \
             TLS, with special characters in the user and password percent-encoded (@ is %40, : %3A, / %2F, # %23, \
             ? %3F, % %25)",
        );
    }
    assert!(file("[redis]\nurl = 'redis://gw:12%23hunter2@host:6379/0'").is_ok());
}

#[test]
fn the_check_of_the_certificate_of_redis_cannot_be_turned_off() {
    for url in [
        "rediss://host/#insecure",
        "rediss://host#insecure",
        "redis://host/0#hunter2",
    ] {
        refuses(
            &format!("[redis]\nurl = '{url}'"),
            "redis.url = <redacted> in u.toml: expected a URL without #: with rediss://, the certificate of the server \
             is always checked, against redis.ca if it is set",
        );
    }
}

#[test]
fn two_listeners_cannot_share_an_address() {
    refuses(
        "[server]\nbind = '127.0.0.1:9'\n[admin]\nbind = '127.0.0.1:9'",
        "admin.bind = \"127.0.0.1:9\" in u.toml: expected an address other than that of server.bind (127.0.0.1:9)",
    );
    refuses(
        "[test]\necho_bind = '[::]:9'\n[admin]\nbind = '127.0.0.1:9'",
        "test.echo_bind = \"[::]:9\" in u.toml: expected an address other than that of admin.bind (127.0.0.1:9)",
    );
    for right in [
        "[server]\nbind = '127.0.0.1:0'\n[admin]\nbind = '127.0.0.1:0'",
        "[server]\nbind = '127.0.0.1:8'\n[admin]\nbind = '127.0.0.1:9'",
        "[server]\nbind = '127.0.0.1:9'\n[admin]\nbind = '127.0.0.2:9'",
    ] {
        assert!(file(right).is_ok(), "{right}");
    }
}

#[test]
fn addresses_overlap_if_the_system_refuses_the_second_bind() {
    let hosts = [
        "127.0.0.1",
        "127.0.0.2",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
    ];
    for one in hosts {
        // Skips address families that the system lacks.
        let Ok(first) = TcpListener::bind(format!("{one}:0")) else {
            continue;
        };
        let port = first.local_addr().unwrap().port();
        for other in hosts {
            let second = TcpListener::bind(format!("{other}:{port}"));
            let [first, second_ip] =
                [one, other].map(|host| format!("{host}:1").parse::<std::net::SocketAddr>().unwrap().ip());
            let refused = second
                .as_ref()
                .is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse);
            if second.is_ok() || refused {
                assert_eq!(overlap(first, second_ip), refused, "{one} and {other}");
            }
        }
    }
}

#[test]
fn tls_needs_both_files() {
    let error = file("[server.tls]\ncertificate = '/c.pem'").map(|_| ()).unwrap_err();
    assert_eq!(
        error,
        "configuration: server.tls.certificate = \"/c.pem\" in u.toml: expected server.tls.certificate and \
         server.tls.key, or neither"
    );
    let error = file("[server.tls]\nkey = '/k.pem'").map(|_| ()).unwrap_err();
    assert_eq!(
        error,
        "configuration: server.tls.key = \"/k.pem\" in u.toml: expected server.tls.certificate and server.tls.key, or \
         neither"
    );
    assert!(file("[server.tls]\nkey = '/k.pem'\ncertificate = '/c.pem'").is_ok());
}

#[test]
fn an_outbox_must_hold_one_message() {
    let expected = "expected limits.outbox_bytes (1000) to hold one message of limits.message_bytes (65536)";
    refuses(
        "[limits]\noutbox_bytes = 1000",
        &format!("limits.outbox_bytes = 1000 in u.toml: {expected}"),
    );
    refuses(
        "[limits]\nmessage_bytes = 20000000",
        "limits.message_bytes = 20000000 in u.toml: expected limits.outbox_bytes (8388608) to hold one message of \
         limits.message_bytes (20000000)",
    );
    assert!(file("[limits]\noutbox_bytes = 1\nmessage_bytes = 1").is_ok());
}

#[test]
fn the_log_must_cover_the_resume_window() {
    refuses(
        "[cluster]\nlog_age_ms = 1000",
        "cluster.log_age_ms = 1000 in u.toml: expected at least 382500: session.resume_window_ms (300000) and two \
         discord.heartbeat_interval_ms (41250)",
    );
    let grown = file("[session]\nresume_window_ms = 9000000").unwrap();
    assert_eq!(grown.cluster.log_age_ms, 9_082_500);
}

#[test]
fn a_drain_must_fit_before_its_deadline() {
    let sum = |wait, spread, linger, deadline| {
        format!(
            "expected drain.balancer_wait_ms ({wait}), drain.spread_ms ({spread}) and limits.evict_linger_ms \
             ({linger}) to add up to less than drain.deadline_ms ({deadline})"
        )
    };
    refuses(
        "[drain]\nspread_ms = 6000",
        &format!("drain.spread_ms = 6000 in u.toml: {}", sum(0, 6000, 2000, 8000)),
    );
    refuses(
        "[drain]\ndeadline_ms = 4000",
        &format!("drain.deadline_ms = 4000 in u.toml: {}", sum(0, 2000, 2000, 4000)),
    );
    let error = Given {
        environment: &[("UTILBOT__LIMITS__EVICT_LINGER_MS", "9000")],
        ..Given::default()
    }
    .load()
    .map(|_| ())
    .unwrap_err();
    assert!(
        error.starts_with(
            "configuration: limits.evict_linger_ms = 9000 in environment UTILBOT__LIMITS__EVICT_LINGER_MS: "
        ),
        "{error}"
    );
    let largest = i64::MAX;
    assert!(
        file(&format!(
            "[drain]\nspread_ms = {largest}\nbalancer_wait_ms = {largest}\ndeadline_ms = {largest}"
        ))
        .is_err()
    );
}

#[test]
fn duplicate_names_are_refused() {
    refuses(
        "[[applications]]\nid = 'a'\n[[applications]]\nid = 'a'",
        "applications[1].id = \"a\" in u.toml: expected a unique id",
    );
    let key = format!("[[keys]]\nid = 'a'\ntype = 'bot'\nsecret = '{SECRET}'\n");
    refuses(
        &format!("{key}{key}"),
        "keys[1].id = \"a\" in u.toml: expected a unique id",
    );
    let event = "[[events]]\nname = 'a'\nfrom = ['bot']\nto = ['bot']\n";
    refuses(
        &format!("{event}{event}"),
        "events[1].name = \"a\" in u.toml: expected a unique name",
    );
}

#[test]
fn a_request_goes_to_one_session_that_replies() {
    let event = |more: &str| format!("[[events]]\nname = 'a'\nfrom = ['bot']\nto = ['bot']\n{more}");
    refuses(
        &event("deliver = 'any'\nreply = true\nrequire_receiver = true"),
        "events[0].require_receiver = true in u.toml: expected no value, because a request always needs a live receiver",
    );
    for (setting, value) in [("reply_timeout_ms", "5"), ("reply_schema", "\"/x.json\"")] {
        refuses(
            &event(&format!("deliver = 'any'\n{setting} = {value}")),
            &format!("events[0].{setting} = {value} in u.toml: expected no value, or reply = true in this entry"),
        );
    }
    assert!(file(&event("deliver = 'any'\nreply = true\nreply_timeout_ms = 5")).is_ok());
}

#[test]
fn a_job_waits_for_a_worker_and_is_delivered_at_least_once() {
    let event = |more: &str| format!("[[events]]\nname = 'a'\nfrom = ['bot']\nto = ['bot']\ndeliver = 'any'\n{more}");
    refuses(
        &event("ack_timeout_ms = 5\nrequire_receiver = false"),
        "events[0].require_receiver = false in u.toml: expected no value, because a job waits for a worker",
    );
    refuses(
        &event("attempts = 5"),
        "events[0].attempts = 5 in u.toml: expected no value, or ack_timeout_ms in this entry",
    );
    refuses(
        &event("ack_timeout_ms = 5\nattempts = 0"),
        "events[0].attempts = 0 in u.toml: expected a whole number from 1",
    );
    assert!(file(&event("ack_timeout_ms = 5\nattempts = 1")).is_ok());
}

#[test]
fn a_key_needs_exactly_one_of_secret_and_hash() {
    refuses(
        "[[keys]]\nid = 'a'\ntype = 'bot'",
        "keys[0].id = \"a\" in u.toml: expected exactly one of secret and hash in this entry",
    );
    let hash = "0".repeat(64);
    refuses(
        &format!("[[keys]]\nid = 'a'\ntype = 'bot'\nsecret = '{SECRET}'\nhash = '{hash}'"),
        "keys[0].id = \"a\" in u.toml: expected exactly one of secret and hash in this entry",
    );
}

#[test]
fn a_key_must_name_an_existing_application() {
    let key = format!("[[keys]]\nid = 'a'\ntype = 'bot'\nsecret = '{SECRET}'\n");
    refuses(
        &format!("{key}application = 'b'"),
        "keys[0].application = \"b\" in u.toml: expected one of the applications utilbot",
    );
    assert!(file(&format!("[[applications]]\nid = 'b'\n{key}application = 'b'")).is_ok());
}

#[test]
fn development_mode_stays_on_loopback() {
    let line = |origin: &str| {
        format!(
            "configuration: server.bind = \"0.0.0.0:80\" in {origin}: expected a loopback address such as 127.0.0.1, \
             a key in [[keys]], or --development: without keys the node serves loopback only"
        )
    };
    let bind = Given {
        bind: Some("0.0.0.0:80"),
        ..Given::default()
    };
    assert_eq!(bind.load().map(|_| ()).unwrap_err(), line("flag --bind"));
    assert_eq!(
        file("[server]\nbind = '0.0.0.0:80'").map(|_| ()).unwrap_err(),
        line("u.toml")
    );
    let key = format!("[[keys]]\nid = 'a'\ntype = 'bot'\nsecret = '{SECRET}'\n");
    assert!(Given { file: &key, ..bind }.load().is_ok());
    for loopback in ["127.9.9.9:0", "[::1]:80", "[::ffff:127.0.0.1]:80"] {
        assert!(
            Given {
                bind: Some(loopback),
                ..Given::default()
            }
            .load()
            .is_ok(),
            "{loopback}"
        );
    }
}

#[test]
fn a_ticket_cannot_last_longer_by_default_than_at_most() {
    for (usual, most, limit) in [
        ("ttl_ms", "max_ttl_ms", 600_000),
        ("session_ms", "max_session_ms", 86_400_000),
    ] {
        let text = format!("[tickets]\n{usual} = {}", limit + 1);
        let error = format!(
            "tickets.{usual} = {} in u.toml: expected at most tickets.{most} ({limit})",
            limit + 1
        );
        refuses(&text, &error);
        assert!(file(&format!("{text}\n{most} = {}", limit + 1)).is_ok());
    }
}
