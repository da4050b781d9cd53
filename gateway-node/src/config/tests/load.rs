//! Valid configurations and the settings they load as.

use std::{path::Path, time::Duration};

use shared::{
    client_type::ClientType,
    key::SecretHash,
    routing::{DeliverMode, ReceiverType},
};

use super::{Given, file, variable};
use crate::config::{
    KeySettings, LogFormat, Permission, PrivilegedIntent, Secret, Settings, Snowflake, Sources, ZlibStream, reference,
};

#[test]
fn defaults_apply_without_sources_and_mean_development_mode() {
    let settings = Sources::new().load().unwrap();
    assert!(settings.development() && settings.metrics_public());
    assert_eq!(settings.server.bind.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.applications.len(), 1);
    assert_eq!(settings.applications[0].id, "utilbot");
    assert_eq!(
        serde_json::to_value(&settings).unwrap(),
        serde_json::to_value(Settings::default()).unwrap()
    );
}

#[test]
fn a_node_without_a_name_gets_a_random_one() {
    assert_eq!(Settings::default().node.name_or([0, 0xab, 1]), "node-00ab01");
    assert_eq!(file("node.name = 'one'").unwrap().node.name_or([0; 3]), "one");
}

#[test]
fn every_default_matches_the_reference() {
    let defaults = serde_json::to_value(Settings::default()).unwrap();
    for doc in reference().into_iter().filter(|doc| !doc.key.contains("[]")) {
        let pointer = format!("/{}", doc.key.replace('.', "/"));
        let value = defaults.pointer(&pointer).unwrap();
        let text = toml::Value::try_from(value).map_or("none".to_owned(), |value| value.to_string());
        assert_eq!(doc.default, text, "{}", doc.key);
    }
}

#[test]
fn every_setting_is_documented_with_its_unit() {
    let docs = reference();
    assert!(docs.len() > 50, "{}", docs.len());
    for doc in &docs {
        assert!(
            doc.meaning.ends_with('.') && doc.meaning.len() > 20,
            "{}: {}",
            doc.key,
            doc.meaning
        );
        assert!(
            !doc.meaning.contains("  ") && !doc.meaning.contains('\n'),
            "{}: {}",
            doc.key,
            doc.meaning
        );
        assert!(!doc.expected.is_empty() && !doc.default.is_empty(), "{}", doc.key);
        if doc.key.ends_with("_ms") {
            assert!(doc.meaning.contains("illiseconds"), "{}", doc.key);
        }
        if doc.key.ends_with("_bytes") {
            assert!(doc.meaning.contains("ytes"), "{}", doc.key);
        }
    }
    let mut keys: Vec<_> = docs.iter().map(|doc| &doc.key).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), docs.len());
}

#[test]
fn flags_override_the_environment_which_overrides_the_file() {
    let given = Given {
        file: "[server]\nbind = '127.0.0.1:1'\nworkers = 1\nbacklog = 1\n[log]\nformat = 'text'\nlevel = 'warn'",
        environment: &[
            ("UTILBOT__SERVER__BIND", "127.0.0.1:2"),
            ("UTILBOT__SERVER__WORKERS", "2"),
            ("UTILBOT__LOG__FORMAT", "text"),
        ],
        bind: Some("127.0.0.1:3"),
        log_format: Some("json"),
    };
    let settings = given.load().unwrap();
    assert_eq!(settings.server.bind.tcp().unwrap().port(), 3);
    assert_eq!(settings.server.workers, 2);
    assert_eq!(settings.server.backlog, 1);
    assert_eq!(settings.log.format, LogFormat::Json);
    assert_eq!(settings.log.level, "warn");
    assert_eq!(settings.limits.connections, 100_000);
    let settings = Given {
        bind: None,
        log_format: None,
        ..given
    }
    .load()
    .unwrap();
    assert_eq!(settings.server.bind.tcp().unwrap().port(), 2);
}

#[test]
fn every_setting_outside_the_lists_can_come_from_the_environment() {
    let defaults = serde_json::to_value(Settings::default()).unwrap();
    for doc in reference().into_iter().filter(|doc| !doc.key.contains("[]")) {
        let name = format!("UTILBOT__{}", doc.key.to_uppercase().replace('.', "__"));
        let text = match defaults.pointer(&format!("/{}", doc.key.replace('.', "/"))).unwrap() {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Array(_) | serde_json::Value::Null => String::new(),
            other => other.to_string(),
        };
        let settings = variable(&name, &text).unwrap();
        assert_eq!(serde_json::to_value(&settings).unwrap(), defaults, "{name}={text}");
    }
}

#[test]
fn lists_in_the_environment_are_separated_by_commas() {
    let given = Given {
        file: "[server]\nallowed_origins = ['https://c']\npublic_url = 'ws://x'",
        environment: &[
            ("UTILBOT__SERVER__TRUSTED_PROXIES", "10.0.0.0/8, fd00::/8"),
            ("UTILBOT__SERVER__ALLOWED_ORIGINS", "https://a,https://b"),
            ("UTILBOT__SERVER__PUBLIC_URL", ""),
            ("UTILBOT__APPLICATIONS", "a,b"),
        ],
        ..Given::default()
    };
    let settings = given.load().unwrap();
    assert_eq!(settings.server.trusted_proxies.len(), 2);
    assert_eq!(settings.server.allowed_origins, ["https://a", "https://b"]);
    assert_eq!(settings.server.public_url, None);
    let ids: Vec<_> = settings
        .applications
        .iter()
        .map(|application| application.id.as_str())
        .collect();
    assert_eq!(
        ids,
        ["a", "b", "utilbot"],
        "without keys, development mode adds the default application"
    );
}

#[test]
fn variables_with_one_underscore_set_nothing() {
    for name in ["UTILBOT_KEY", "UTILBOT_SERVER_BIND", "PATH", "utilbot__server__bind"] {
        assert!(variable(name, "hunter2").is_ok(), "{name}");
    }
}

#[test]
fn variables_with_the_name_of_a_setting_but_one_underscore_are_warned_of() {
    let warnings = |name: &str| {
        let settings = variable(name, "hunter2").unwrap();
        let warnings = settings.sources().misnamed_variables();
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    for name in ["UTILBOT_LIMITS_MESSAGE_BYTES", "UTILBOT_LIMITS__MESSAGE_BYTES"] {
        let expected = format!(
            "configuration: {name} in the environment: expected UTILBOT__LIMITS__MESSAGE_BYTES, with two underscores: \
             this variable sets nothing"
        );
        assert_eq!(warnings(name), [expected]);
    }
    assert!(warnings("UTILBOT_REDIS_URL_FILE")[0].contains("expected UTILBOT__REDIS__URL__FILE, with two underscores"));
    assert!(warnings("UTILBOT_KEYS_FILE")[0].contains("expected UTILBOT__KEYS__FILE, with two underscores"));
    for name in ["UTILBOT_KEY", "UTILBOT_TEST_GATEWAY", "PATH"] {
        assert_eq!(warnings(name), [""; 0], "{name}");
    }
}

#[test]
fn any_duration_from_1_ms_and_any_size_is_valid() {
    for doc in reference()
        .into_iter()
        .filter(|doc| doc.key.ends_with("_ms") || doc.key.ends_with("_bytes"))
    {
        let (section, name) = doc.key.rsplit_once('.').unwrap();
        for value in [1, i64::MAX] {
            let rest = match (doc.key.as_str(), value) {
                ("limits.outbox_bytes", 1) => "message_bytes = 1",
                ("limits.message_bytes", i64::MAX) => "outbox_bytes = 9223372036854775807",
                ("tickets.ttl_ms", i64::MAX) => "max_ttl_ms = 9223372036854775807",
                ("tickets.max_ttl_ms", 1) => "ttl_ms = 1",
                ("tickets.session_ms", i64::MAX) => "max_session_ms = 9223372036854775807",
                ("tickets.max_session_ms", 1) => "session_ms = 1",
                ("drain.deadline_ms" | "cluster.log_age_ms", 1)
                | ("limits.evict_linger_ms" | "drain.balancer_wait_ms" | "drain.spread_ms", i64::MAX) => continue,
                _ => "",
            };
            let (section, rest) = match section {
                // Durations of events only apply to some of them.
                "events[]" => {
                    let reply = if name.starts_with("reply") { "reply = true" } else { "" };
                    let event = "name = 'a'\nfrom = ['bot']\nto = ['bot']\ndeliver = 'any'";
                    ("[[events]]".to_owned(), format!("{event}\n{reply}"))
                }
                section => (format!("[{section}]"), rest.to_owned()),
            };
            let text = format!("{section}\n{name} = {value}\n{rest}");
            assert!(file(&text).is_ok(), "{text}: {:?}", file(&text).err());
        }
    }
}

#[test]
fn keys_are_read_with_their_types_permissions_and_expiry() {
    let hash = SecretHash::of("s");
    let settings = file(&format!(
        "[[applications]]\nid = 'shop'\n\
         [[keys]]\nid = 'web'\ntype = 'website'\nsecret = '{secret}'\npermissions = ['publish', 'read']\n\
         expires_at = '2027-01-31T12:00:00Z'\n\
         [[keys]]\nid = 'both'\ntype = ['bot', 'service']\nhash = '{hash}'\napplication = 'shop'\n\
         expires_at = 2027-01-31T12:00:00Z",
        secret = "x".repeat(32),
    ))
    .unwrap();
    let [web, both] = &settings.keys[..] else {
        panic!("expected two keys")
    };
    assert!(!settings.development());
    assert_eq!(web.types.0, [ClientType::Website]);
    assert_eq!(web.permissions, [Permission::Publish, Permission::Read]);
    assert_eq!(web.secret_hash(), Some(SecretHash::of(&"x".repeat(32))));
    let expiry = web
        .expires_at
        .unwrap()
        .system_time()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    assert_eq!(expiry, Duration::from_secs(1_801_396_800));
    assert_eq!(web.expires_at, both.expires_at);
    assert_eq!(both.types.0, [ClientType::Bot, ClientType::Service]);
    assert_eq!(both.secret_hash(), Some(hash));
    assert!(both.permissions.is_empty());
    assert_eq!(
        settings.applications.len(),
        2,
        "a key without an application belongs to the default one"
    );
}

#[test]
fn an_application_needs_only_an_id() {
    let settings = file("[[applications]]\nid = 'shop'\nclient_id = 7\nbot_id = '8'").unwrap();
    let shop = &settings.applications[0];
    assert_eq!(
        (shop.client_id.map(Snowflake::get), shop.bot_id.map(Snowflake::get)),
        (Some(7), Some(8))
    );
    let default = &settings.applications[1];
    assert_eq!(
        default.id, "utilbot",
        "without keys, development mode adds the default application"
    );
    assert!(default.client_id.is_none() && default.bot_id.is_none() && default.bot_username.is_none());
    assert_eq!(default.privileged_intents, PrivilegedIntent::ALL);
    assert_eq!(
        (default.shards, default.max_concurrency, default.session_starts_per_day),
        (1, 1, 1000)
    );
    assert_eq!((default.flags, default.guilds_per_session), (0, 2500));
}

#[test]
fn the_default_application_is_absent_if_no_key_uses_it() {
    let settings = file(&format!(
        "[[applications]]\nid = 'shop'\n[[keys]]\nid = 'a'\ntype = 'bot'\napplication = 'shop'\nhash = '{}'",
        "0".repeat(64)
    ));
    assert_eq!(settings.unwrap().applications.len(), 1);
}

#[test]
fn the_development_key_has_every_type_and_permission() {
    let key = KeySettings::development(Secret::from("s".repeat(64)));
    assert_eq!(key.types.0, ClientType::ALL);
    assert_eq!(key.permissions, Permission::ALL);
    assert_eq!(
        (key.id.as_str(), key.application.as_str(), key.expires_at),
        ("development", "utilbot", None)
    );
}

#[test]
fn development_mode_has_two_events_unless_the_operator_defines_some() {
    let names = |settings: &Settings| -> Vec<_> {
        let table = settings.event_table().unwrap();
        let mut names: Vec<_> = table.names().map(ToString::to_string).collect();
        names.sort();
        names
    };
    assert_eq!(names(&file("").unwrap()), ["announce", "guild_settings_changed"]);
    let settings =
        file("[[events]]\nname = 'a'\nfrom = ['bot']\nto = ['discord']\ndeliver = { guild = '/g' }").unwrap();
    let [event] = &settings.events[..] else {
        panic!("expected one event")
    };
    assert_eq!(names(&settings), ["a"]);
    assert_eq!(
        (event.to.as_slice(), &event.deliver),
        (&[ReceiverType::Discord][..], &DeliverMode::Guild("/g".to_owned()))
    );
    let keys = format!("[[keys]]\nid = 'a'\ntype = 'bot'\nhash = '{}'", "0".repeat(64));
    assert!(names(&file(&keys).unwrap()).is_empty());
}

#[test]
fn relative_paths_start_at_the_configuration_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("u.toml");
    let text = "[server.tls]\ncertificate = 'c.pem'\nkey = '/k.pem'\n\
                [[events]]\nname = 'a'\nfrom = ['bot']\nto = ['bot']\nschema = 'a.json'";
    std::fs::write(&path, text).unwrap();
    let settings = Sources::new().file(Some(path.clone())).load().unwrap();
    assert_eq!(
        settings.server.tls.certificate.as_deref(),
        Some(folder.path().join("c.pem").as_path())
    );
    assert_eq!(settings.server.tls.key.as_deref(), Some(Path::new("/k.pem")));

    let error = settings.event_table().unwrap_err().to_string();
    let schema = folder.path().join("a.json");
    assert!(
        error.starts_with(&format!(
            "configuration: events[0].schema = \"{}\" in {}: expected a readable file with a JSON Schema (No such file",
            schema.display(),
            path.display()
        )),
        "{error}"
    );
    std::fs::write(&schema, "{").unwrap();
    assert!(
        settings
            .event_table()
            .unwrap_err()
            .to_string()
            .contains("EOF while parsing")
    );
    std::fs::write(&schema, "{\"type\":\"object\"}").unwrap();
    let definition = settings.event_definition(0).unwrap();
    assert_eq!(definition.schema, Some(serde_json::json!({"type": "object"})));
}

#[test]
fn an_invalid_event_is_reported_with_its_entry() {
    let events = |fields: &str| {
        let ok = "[[events]]\nname = 'ok'\nfrom = ['bot']\nto = ['bot']\n";
        let to = if fields.contains("to = ") { "" } else { "to = ['bot']\n" };
        let settings = file(&format!("{ok}[[events]]\nfrom = ['bot']\n{to}{fields}")).unwrap();
        let errors = settings.event_table().map(|_| ()).unwrap_err();
        assert_eq!(errors.iter().count(), 1, "{errors}");
        errors.iter().next().unwrap().clone()
    };
    let error = events("name = 'identify'");
    assert_eq!(
        (error.key.as_str(), error.expected.as_str()),
        ("events[1].name", "a name that is not reserved by the protocol")
    );
    let error = events("name = 'a'\ndeliver = { guild = 'guildId' }");
    assert_eq!(
        (error.key.as_str(), error.value.as_deref()),
        ("events[1].deliver", Some("{\"guild\":\"guildId\"}"))
    );
    let error = events("name = 'a'\nreply = true");
    assert_eq!(
        (error.key.as_str(), error.expected.as_str()),
        (
            "events[1].deliver",
            "\"any\", a guild or a user, because the event is a request (reply = true)"
        )
    );
    for (more, key) in [
        ("ack_timeout_ms = 5", "deliver"),
        ("deliver = 'any'\nack_timeout_ms = 5\nreply = true", "ack_timeout_ms"),
        ("to = ['discord']\ndeliver = 'any'\nack_timeout_ms = 5", "to"),
    ] {
        assert_eq!(events(&format!("name = 'a'\n{more}")).key, format!("events[1].{key}"));
    }
    let error = events("name = 'a'\nto = ['bot', 'discord']\ndeliver = 'any'\nreply = true");
    assert_eq!(error.key, "events[1].to");

    let folder = tempfile::tempdir().unwrap();
    let schema = folder.path().join("a.json");
    std::fs::write(&schema, "{\"type\": \"strange\\nthing\"}").unwrap();
    for (more, setting) in [("", "schema"), ("deliver = 'any'\nreply = true\n", "reply_schema")] {
        let error = events(&format!("name = 'a'\n{more}{setting} = '{}'", schema.display()));
        assert_eq!(error.key, format!("events[1].{setting}"));
        assert_eq!(error.to_string().lines().count(), 1, "{error}");
    }
}

#[test]
fn a_reload_reads_the_same_sources_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("u.toml");
    std::fs::write(&path, "[limits]\nconnections = 1").unwrap();
    let settings = Sources::new()
        .file(Some(path.clone()))
        .bind(Some("127.0.0.1:9".to_owned()))
        .load()
        .unwrap();
    std::fs::write(&path, "[limits]\nconnections = 2").unwrap();
    let again = settings.sources().load().unwrap();
    assert_eq!(
        (again.limits.connections, again.server.bind.tcp().unwrap().port()),
        (2, 9)
    );
    std::fs::write(&path, "[limits]\nconnections = 'x'").unwrap();
    assert!(again.sources().load().is_err());
}

#[test]
fn documented_examples_load() {
    let settings = file(
        "[compression]\nzlib_stream = 'per_session'\n[log]\nlevel = 'info,gateway_node=debug'\n[test]\nbot_id = 7",
    )
    .unwrap();
    assert_eq!(settings.compression.zlib_stream, ZlibStream::PerSession);
    assert_eq!(settings.test.bot_id, Some(7));
    assert!(!file("[metrics]\npublic = false").unwrap().metrics_public());
}
