//! Invalid configurations and the error line of each problem.

use super::{Given, file, refuses as refuses_all, variable};
use crate::config::reference;

/// Checks that a file has exactly one problem.
#[track_caller]
fn refuses(text: &str, line: &str) {
    refuses_all(text, &[line]);
}

/// A hash: the one field that a key needs besides its id and its type.
const HASH: &str = "hash = '0000000000000000000000000000000000000000000000000000000000000000'";

const SECTIONS: &str = "expected one of the sections server, node, v1, discord, session, limits, tickets, jobs, http, redis, \
    cluster, drain, log, admin, metrics, compression, test, chaos, applications, keys, events";

#[test]
fn an_unknown_key_is_reported_with_the_valid_keys() {
    refuses(
        "limitz = 5",
        &format!("limitz in u.toml: {SECTIONS}; did you mean limits?"),
    );
    refuses(
        "[limitz]\nx = 5",
        &format!("limitz in u.toml: {SECTIONS}; did you mean limits?"),
    );
    refuses(
        "[v1]\nheartbeat = 5",
        "v1.heartbeat in u.toml: expected one of the keys heartbeat_interval_ms, heartbeat_tolerance_ms, \
         ping_interval_ms, session_expiring_ms, guild_count_interval_ms",
    );
    refuses(
        "[server.tls]\ncert = 'x'",
        "server.tls.cert in u.toml: expected one of the keys certificate, key; did you mean server.tls.certificate?",
    );
    refuses(
        "[server]\nzlib_level = 5",
        "server.zlib_level in u.toml: expected one of the keys bind, unix_mode, workers, public_url, backlog, trusted_proxies, \
         allowed_origins, allowed_hosts, tls; did you mean compression.zlib_level?",
    );
    refuses(
        "[server]\ntls.a.b = 1",
        "server.tls.a in u.toml: expected one of the keys certificate, key",
    );
    refuses(
        "[[applications]]\nid = 'a'\nname = 'x'",
        "applications[0].name in u.toml: expected one of the keys id, client_id, bot_id, bot_username, \
         bot_discriminator, bot_avatar, flags, privileged_intents, shards, max_concurrency, session_starts_per_day, \
         guilds_per_session",
    );
    refuses(
        "[[events]]\nname = 'a'\nfrom = ['bot']\nto = ['bot']\nschemas = 'x'",
        "events[0].schemas in u.toml: expected one of the keys name, from, to, deliver, \
         require_receiver, to_tickets, schema, reply, reply_timeout_ms, reply_schema, \
         ack_timeout_ms, attempts; did you mean \
         events[0].schema?",
    );
    refuses("\"a\\nb\" = 1", &format!(r"a\nb in u.toml: {SECTIONS}"));
}

#[test]
fn a_mistyped_key_is_reported_once() {
    // The intended key must not be reported as missing or contradicting another.
    refuses(
        "[[keys]]\nid = 'a'\ntyp = 'bot'\nhash = '0000000000000000000000000000000000000000000000000000000000000000'",
        "keys[0].typ in u.toml: expected one of the keys id, secret, hash, type, application, permissions, expires_at; \
         did you mean keys[0].type?",
    );
    refuses(
        "[[keys]]\nid = 'a'\ntype = 'bot'\nsecrets = 'hunter2'",
        "keys[0].secrets in u.toml: expected one of the keys id, secret, hash, type, application, permissions, \
         expires_at; did you mean keys[0].secret?",
    );
}

#[test]
fn a_mistyped_word_gets_a_suggestion() {
    refuses(
        "[log]\nformat = 'Jsn'",
        "log.format = \"Jsn\" in u.toml: expected text or json; did you mean json?",
    );
    refuses(
        "[[events]]\nname = 'a'\nfrom = ['bot', 'web_site']\nto = ['bot']",
        "events[0].from = [\"bot\",\"web_site\"] in u.toml: expected a list of bot, website, service; did you mean \
         website?",
    );
}

#[test]
fn every_problem_gets_its_own_line() {
    refuses_all(
        "other = 1\n[limits]\nmessage_bytes = 0\nconnections = 'x'\nnonsense = 1\n[redis]\nurl = 'http://x'\n\
         [[keys]]\nid = 'a'\ntype = 'bot'\n[[keys]]\nid = 'a'\ntype = 'robot'\napplication = 'shop'",
        &[
            &format!("other in u.toml: {SECTIONS}"),
            "limits.nonsense in u.toml: expected one of the keys message_bytes, outbox_bytes, outbox_total_bytes, \
             outbox_age_ms, evict_linger_ms, payloads_per_minute, unidentified_bytes, unidentified_bytes_per_second, \
             report_ids_per_second, guilds_per_session, requests_in_flight, report_ids_burst, frames_per_minute, \
             connections, connections_per_address, \
             connection_attempts_per_minute, publish_events_per_minute, publish_bytes_per_minute, idempotency_keys",
            "limits.message_bytes = 0 in u.toml: expected a number of bytes from 1",
            "limits.connections = \"x\" in u.toml: expected a whole number from 1",
            "keys[1].type = \"robot\" in u.toml: expected bot, website, service or a list of them",
            "redis.url = <redacted> in u.toml: expected a URL that starts with redis://, rediss:// or redis+unix://",
            "keys[0].id = \"a\" in u.toml: expected exactly one of secret and hash in this entry",
            "keys[1].id = \"a\" in u.toml: expected a unique id",
            "keys[1].application = \"shop\" in u.toml: expected one of the applications utilbot",
        ],
    );
}

/// Returns the TOML header of the section that `key` is in.
fn header(key: &str) -> String {
    let (section, _) = key.rsplit_once('.').unwrap();
    section
        .strip_suffix("[]")
        .map_or(format!("[{section}]"), |list| format!("[[{list}]]"))
}

#[test]
fn every_section_refuses_unknown_keys() {
    for doc in reference() {
        let error = file(&format!("{}\nstranger = 'hunter2'", header(&doc.key)));
        let error = error.map(|_| ()).unwrap_err();
        let (section, _) = doc.key.rsplit_once('.').unwrap();
        let key = section.replace("[]", "[0]");
        let start = format!("configuration: {key}.stranger in u.toml: expected one of the keys ");
        assert!(error.starts_with(&start), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn every_setting_refuses_a_value_of_the_wrong_shape() {
    for doc in reference() {
        let (_, name) = doc.key.rsplit_once('.').unwrap();
        let mut text = header(&doc.key);
        // Required fields of a list entry, so that nothing else is wrong with it.
        let required: &[&str] = match text.as_str() {
            "[[applications]]" => &["id = 'a'"],
            "[[keys]]" => &[
                "id = 'a'",
                "type = 'bot'",
                "secret = '01234567890123456789012345678901'",
            ],
            "[[events]]" => &["name = 'a'", "from = ['bot']", "to = ['bot']"],
            _ => &[],
        };
        for line in required {
            if !line.starts_with(&format!("{name} ")) {
                text = format!("{text}\n{line}");
            }
        }
        // No setting accepts a table with this key, a list of lists, or a fractional number.
        for wrong in ["{ stranger = 'hunter2' }", "[['hunter2']]", "1.5", "nan"] {
            let error = file(&format!("{text}\n{name} = {wrong}"));
            let error = error.map(|_| ()).unwrap_err();
            let start = format!("configuration: {} = ", doc.key.replace("[]", "[0]"));
            let end = format!(" in u.toml: expected {}", doc.expected);
            assert!(error.starts_with(&start) && error.ends_with(&end), "{error}");
            assert!(!doc.secret || !error.contains("hunter2"), "{error}");
        }
    }
}

#[test]
fn an_invalid_value_is_reported_with_the_unit_and_range() {
    refuses(
        "[limits]\nmessage_bytes = 'abc'",
        "limits.message_bytes = \"abc\" in u.toml: expected a number of bytes from 1",
    );
    refuses(
        "[limits]\nmessage_bytes = '65536'",
        "limits.message_bytes = \"65536\" in u.toml: expected a number of bytes from 1",
    );
    refuses(
        "[limits]\nmessage_bytes = 0",
        "limits.message_bytes = 0 in u.toml: expected a number of bytes from 1",
    );
    refuses(
        "[limits]\nconnections = -1",
        "limits.connections = -1 in u.toml: expected a whole number from 1",
    );
    refuses(
        "[v1]\nheartbeat_interval_ms = 0",
        "v1.heartbeat_interval_ms = 0 in u.toml: expected a number of milliseconds from 1",
    );
    refuses(
        "[v1]\nheartbeat_interval_ms = 2.5",
        "v1.heartbeat_interval_ms = 2.5 in u.toml: expected a number of milliseconds from 1",
    );
    refuses(
        "[compression]\nzlib_level = 10",
        "compression.zlib_level = 10 in u.toml: expected a whole number from 0 to 9",
    );
    refuses(
        "[compression]\nzlib_stream = 'own'",
        "compression.zlib_stream = \"own\" in u.toml: expected shared or per_session",
    );
    refuses(
        "[log]\nformat = 'xml'",
        "log.format = \"xml\" in u.toml: expected text or json",
    );
    refuses(
        "[log]\nlevel = 'loud'",
        "log.level = \"loud\" in u.toml: expected an env_logger filter such as info or info,gateway_node=debug",
    );
    refuses(
        "[server]\nbind = 'localhost'",
        "server.bind = \"localhost\" in u.toml: expected an address and port such as 127.0.0.1:8080, or unix: and the absolute \
         path of a socket (at most 107 bytes)",
    );
    refuses(
        "[server]\ntrusted_proxies = ['10.0.0.0/33']",
        "server.trusted_proxies = [\"10.0.0.0/33\"] in u.toml: expected a list of networks such as 10.0.0.0/8",
    );
    refuses(
        "[server]\npublic_url = 'https://x'",
        "server.public_url = \"https://x\" in u.toml: expected a URL that starts with ws:// or wss://",
    );
    refuses(
        "[node]\nname = 'a b'",
        "node.name = \"a b\" in u.toml: expected 1 to 64 of A-Z a-z 0-9 . _ -",
    );
    refuses(
        "[chaos]\nenabled = 'yes'",
        "chaos.enabled = \"yes\" in u.toml: expected true or false",
    );
    refuses(
        "[[applications]]\nid = 'Web'",
        "applications[0].id = \"Web\" in u.toml: expected 1 to 64 of a-z 0-9 _ -",
    );
}

#[test]
fn application_fields_that_would_break_libraries_are_refused() {
    let refuses = |setting: &str, line: &str| refuses(&format!("[[applications]]\nid = 'a'\n{setting}"), line);
    for id in ["'x'", "0", "'9223372036854775808'"] {
        refuses(
            &format!("client_id = {id}"),
            &format!(
                "applications[0].client_id = {} in u.toml: expected an id from 1 to 9223372036854775807, as a number \
                 or a string of digits",
                id.replace('\'', "\"")
            ),
        );
    }
    refuses(
        "bot_username = ''",
        "applications[0].bot_username = \"\" in u.toml: expected 1 to 64 characters, none of them a control character",
    );
    refuses(
        "bot_discriminator = '07'",
        "applications[0].bot_discriminator = \"07\" in u.toml: expected four digits, or 0",
    );
    refuses(
        "bot_avatar = 'me.png'",
        "applications[0].bot_avatar = \"me.png\" in u.toml: expected 32 lower-case hexadecimal digits, after a_ if the \
         image is animated",
    );
    refuses(
        "privileged_intents = ['guilds']",
        "applications[0].privileged_intents = [\"guilds\"] in u.toml: expected a list of guild_members, \
         guild_presences, message_content",
    );
    refuses(
        "shards = 0",
        "applications[0].shards = 0 in u.toml: expected a whole number from 1 to 65535",
    );
}

#[test]
fn a_value_in_place_of_a_section_or_list_is_refused() {
    refuses("limits = 5", "limits = 5 in u.toml: expected a section [limits]");
    refuses(
        "redis = 'redis://:hunter2@host'",
        "redis = <redacted> in u.toml: expected a section [redis]",
    );
    refuses(
        "[keys]\nid = 'a'",
        "keys = <redacted> in u.toml: expected a list of tables [[keys]]",
    );
    refuses(
        "events = ['a']",
        "events[0] = \"a\" in u.toml: expected a section [events[0]]",
    );
}

#[test]
fn missing_fields_of_keys_and_events_are_reported() {
    refuses(
        &format!("[[keys]]\ntype = 'bot'\n{HASH}"),
        "keys[0].id in u.toml: expected 1 to 64 of A-Z a-z 0-9 _ -, without a dot, but it is missing",
    );
    refuses(
        &format!("[[keys]]\nid = 'a'\n{HASH}"),
        "keys[0].type in u.toml: expected bot, website, service or a list of them, but it is missing",
    );
    refuses(
        "[[events]]\nname = 'a'\nfrom = ['bot']",
        "events[0].to in u.toml: expected a list of bot, website, service, discord, but it is missing",
    );
    refuses(
        "[[events]]\nname = 'a'\nto = ['bot']\nfrom = []",
        "events[0].from = [] in u.toml: expected a list of bot, website, service",
    );
    refuses(
        "[[events]]\nname = 'a'\nto = ['bot']\nfrom = ['bot']\ndeliver = 'some'",
        "events[0].deliver = \"some\" in u.toml: expected \"all\", \"any\", { guild = \"/pointer\" } or { user = \"/pointer\" }",
    );
}

#[test]
fn errors_about_a_key_never_show_its_secret() {
    refuses(
        &format!("[[keys]]\nid = 'web.hunter2'\ntype = 'bot'\n{HASH}"),
        "keys[0].id = \"web.<redacted>\" in u.toml: expected 1 to 64 of A-Z a-z 0-9 _ -, without a dot",
    );
    refuses(
        "[[keys]]\nid = 'web'\ntype = 'bot'\nsecret = 'hunter2'",
        "keys[0].secret = <redacted> in u.toml: expected 32 or more printable ASCII characters without a dot",
    );
    refuses(
        "[[keys]]\nid = 'web'\ntype = 'bot'\nhash = 'hunter2'",
        "keys[0].hash = <redacted> in u.toml: expected 64 lower-case hexadecimal digits, the SHA-256 of the secret",
    );
    refuses(
        &format!("[[keys]]\nid = 'web'\ntype = 'robot'\n{HASH}"),
        "keys[0].type = \"robot\" in u.toml: expected bot, website, service or a list of them",
    );
    refuses(
        &format!("[[keys]]\nid = 'web'\ntype = []\n{HASH}"),
        "keys[0].type = [] in u.toml: expected bot, website, service or a list of them",
    );
    refuses(
        &format!("[[keys]]\nid = 'web'\ntype = 'bot'\npermissions = ['write']\n{HASH}"),
        "keys[0].permissions = [\"write\"] in u.toml: expected a list of publish, read, admin, tickets",
    );
    refuses(
        &format!("[[keys]]\nid = 'web'\ntype = 'bot'\nexpires_at = 'soon'\n{HASH}"),
        "keys[0].expires_at = \"soon\" in u.toml: expected a time such as \"2027-01-31T12:00:00Z\"",
    );
}

#[test]
fn a_toml_syntax_error_is_reported_with_line_and_column() {
    let error = file("[limits]\nmessage_bytes = = 5").map(|_| ()).unwrap_err();
    assert!(
        error.starts_with("configuration: line 2, column 17 in u.toml: expected TOML, but found an error: "),
        "{error}"
    );
    assert_eq!(error.lines().count(), 1);
    let error = file("[v1]\nheartbeat_interval_ms = 99999999999999999999")
        .map(|_| ())
        .unwrap_err();
    assert!(
        error.starts_with("configuration: line 2, column 25 in u.toml: expected TOML"),
        "{error}"
    );
}

#[test]
fn each_toml_syntax_error_is_reported_and_nothing_else() {
    let error = file("[limits]\nmessage_bytes = = 5\nconnections = 0\n[v1\nnonsense")
        .map(|_| ())
        .unwrap_err();
    let places: Vec<_> = error.lines().filter_map(|line| line.split(',').next()).collect();
    assert_eq!(
        places,
        [
            "configuration: line 2",
            "configuration: line 4",
            "configuration: line 5"
        ],
        "{error}"
    );
}

#[test]
fn an_unreadable_file_is_reported() {
    let error = super::Sources::new()
        .file(Some("/nowhere/u.toml".into()))
        .load()
        .map(|_| ())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "configuration: file = \"/nowhere/u.toml\" in flag --config: expected a readable TOML file (No such file or \
         directory (os error 2))"
    );
}

#[test]
fn an_invalid_environment_variable_is_reported() {
    for (name, text, line) in [
        (
            "UTILBOT__LIMITS__MESSAGE_BYTES",
            "abc",
            "limits.message_bytes = \"abc\" in environment UTILBOT__LIMITS__MESSAGE_BYTES: expected a number of bytes \
             from 1",
        ),
        (
            "UTILBOT__LIMITS__MESSAGE_BYTES",
            "",
            "limits.message_bytes = \"\" in environment UTILBOT__LIMITS__MESSAGE_BYTES: expected a number of bytes \
             from 1",
        ),
        (
            "UTILBOT__LIMITS__MESSAGE_BYTES",
            "-5",
            "limits.message_bytes = -5 in environment UTILBOT__LIMITS__MESSAGE_BYTES: expected a number of bytes from \
             1",
        ),
        (
            "UTILBOT__CHAOS__ENABLED",
            "yes",
            "chaos.enabled = \"yes\" in environment UTILBOT__CHAOS__ENABLED: expected true or false",
        ),
        (
            "UTILBOT__SERVER__TRUSTED_PROXIES",
            "10.0.0.1/8,x",
            "server.trusted_proxies = [\"10.0.0.1/8\",\"x\"] in environment UTILBOT__SERVER__TRUSTED_PROXIES: \
             expected a list of networks such as 10.0.0.0/8",
        ),
        (
            "UTILBOT__ADMIN__PORT",
            "hunter2",
            "admin.port in environment UTILBOT__ADMIN__PORT: expected one of the keys bind",
        ),
        (
            "UTILBOT__SERVER",
            "x",
            "server in environment UTILBOT__SERVER: expected a section with the keys bind, unix_mode, workers, public_url, \
             backlog, trusted_proxies, allowed_origins, allowed_hosts, tls",
        ),
        (
            "UTILBOT__LIMITS__A__B",
            "x",
            "limits.a.b in environment UTILBOT__LIMITS__A__B: expected one of the keys",
        ),
        (
            "UTILBOT__KEYS__0__SECRET",
            "hunter2",
            "keys.0.secret in environment UTILBOT__KEYS__0__SECRET: expected keys to be listed in the \
             configuration file, in UTILBOT__KEYS, or in the file that UTILBOT__KEYS__FILE names",
        ),
        (
            "UTILBOT__APPLICATIONS",
            "a,B",
            "applications[1].id = \"B\" in environment UTILBOT__APPLICATIONS: expected 1 to 64 of a-z 0-9 _ -",
        ),
    ] {
        let error = variable(name, text).map(|_| ()).unwrap_err();
        assert!(error.starts_with(&format!("configuration: {line}")), "{error}\n{line}");
    }
    let error = variable("UTILBOT__STRANGER", "hunter2").map(|_| ()).unwrap_err();
    assert_eq!(
        error,
        format!("configuration: stranger in environment UTILBOT__STRANGER: {SECTIONS}")
    );
}

#[test]
fn an_invalid_flag_is_reported() {
    let bind = Given {
        bind: Some("here"),
        ..Given::default()
    }
    .load()
    .map(|_| ())
    .unwrap_err();
    assert_eq!(
        bind,
        "configuration: server.bind = \"here\" in flag --bind: expected an address and port such as 127.0.0.1:8080, or unix: and the absolute \
         path of a socket (at most 107 bytes)"
    );
    let format = Given {
        log_format: Some("xml"),
        ..Given::default()
    }
    .load()
    .map(|_| ())
    .unwrap_err();
    assert_eq!(
        format,
        "configuration: log.format = \"xml\" in flag --log-format: expected text or json"
    );
}
