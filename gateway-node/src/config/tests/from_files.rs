//! Values from files that environment variables name, and lists of tables from the environment.

use std::fs;

use super::{Given, file, variable};
use crate::config::{REDACTED, Secret, Settings, Sources};

const SECRET: &str = "correct-horse-battery-staple-0123456789";

/// Loads one variable that names a file with this content. Errors call the file `secret`.
fn from_file(name: &str, content: impl AsRef<[u8]>) -> Result<Settings, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    fs::write(&path, content).unwrap();
    let path = path.to_str().unwrap();
    variable(name, path).map_err(|error| error.replace(path, "secret"))
}

fn redis_url(settings: &Settings) -> Option<&str> {
    settings.redis.url.as_ref().map(Secret::expose)
}

#[test]
fn every_setting_outside_the_lists_can_come_from_a_file() {
    let defaults = serde_json::to_value(Settings::default()).unwrap();
    for doc in crate::config::reference()
        .into_iter()
        .filter(|doc| !doc.key.contains("[]"))
    {
        let name = format!("UTILBOT__{}__FILE", doc.key.to_uppercase().replace('.', "__"));
        let text = match defaults.pointer(&format!("/{}", doc.key.replace('.', "/"))).unwrap() {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Array(_) | serde_json::Value::Null => String::new(),
            other => other.to_string(),
        };
        let settings = from_file(&name, format!("{text}\n")).unwrap();
        assert_eq!(serde_json::to_value(&settings).unwrap(), defaults, "{name}: {text}");
    }
}

#[test]
fn one_line_break_at_the_end_of_the_file_is_not_part_of_the_value() {
    for (content, expected) in [
        ("redis://a", "redis://a"),
        ("redis://a\n", "redis://a"),
        ("redis://a\r\n", "redis://a"),
        ("redis://:a b\n\n", "redis://:a b\n"),
    ] {
        let settings = from_file("UTILBOT__REDIS__URL__FILE", content).unwrap();
        assert_eq!(redis_url(&settings), Some(expected), "{content:?}");
    }
}

#[test]
fn a_file_that_a_variable_names_overrides_the_configuration_file_and_is_overridden_by_flags() {
    let folder = tempfile::tempdir().unwrap();
    let paths = [("url", "redis://new"), ("bind", "127.0.0.1:2")].map(|(name, content)| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    });
    let given = Given {
        file: "redis.url = 'redis://old'\nserver.bind = '127.0.0.1:1'",
        environment: &[
            ("UTILBOT__REDIS__URL__FILE", &paths[0]),
            ("UTILBOT__SERVER__BIND__FILE", &paths[1]),
        ],
        bind: Some("127.0.0.1:3"),
        ..Given::default()
    };
    let settings = given.load().unwrap();
    assert_eq!(redis_url(&settings), Some("redis://new"));
    assert_eq!(settings.server.bind.tcp().unwrap().port(), 3);
    let settings = Given { bind: None, ..given }.load().unwrap();
    assert_eq!(settings.server.bind.tcp().unwrap().port(), 2);
}

#[test]
fn a_file_that_cannot_be_used_is_reported_with_the_variable_and_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let gone = folder.path().join("gone");
    for (path, expected) in [
        (&*gone, "a readable file (No such file or directory (os error 2))"),
        (folder.path(), "a regular file"),
        (std::path::Path::new("/dev/zero"), "a regular file"),
        (
            std::path::Path::new(""),
            "a readable file (No such file or directory (os error 2))",
        ),
    ] {
        let path = path.to_str().unwrap();
        assert_eq!(
            variable("UTILBOT__REDIS__URL__FILE", path).map(drop).unwrap_err(),
            format!(
                "configuration: redis.url in environment UTILBOT__REDIS__URL__FILE (from file {path}): expected {expected}"
            )
        );
    }
    for (content, expected) in [
        (vec![b'x'; (1 << 20) + 1], "a file of at most 1048576 bytes"),
        (b"redis://\xff".to_vec(), "a file with UTF-8 text"),
    ] {
        let error = from_file("UTILBOT__REDIS__URL__FILE", content).map(drop).unwrap_err();
        assert_eq!(
            error,
            format!(
                "configuration: redis.url in environment UTILBOT__REDIS__URL__FILE (from file secret): expected {expected}"
            )
        );
    }
}

#[test]
fn an_invalid_value_in_a_file_is_reported_without_the_secret() {
    let error = from_file("UTILBOT__REDIS__URL__FILE", SECRET).map(drop).unwrap_err();
    assert_eq!(
        error,
        format!(
            "configuration: redis.url = {REDACTED} in environment UTILBOT__REDIS__URL__FILE (from file secret): expected a \
             URL that starts with redis://, rediss:// or redis+unix://"
        )
    );
    let error = from_file("UTILBOT__LIMITS__CONNECTIONS__FILE", "many")
        .map(drop)
        .unwrap_err();
    assert_eq!(
        error,
        "configuration: limits.connections = \"many\" in environment UTILBOT__LIMITS__CONNECTIONS__FILE (from file \
         secret): expected a whole number from 1"
    );
}

#[test]
fn a_variable_and_its_file_contradict_each_other() {
    let given = Given {
        environment: &[
            ("UTILBOT__REDIS__URL", "redis://:hunter2@a"),
            ("UTILBOT__REDIS__URL__FILE", "/run/secrets/url"),
        ],
        ..Given::default()
    };
    assert_eq!(
        given.load().map(drop).unwrap_err(),
        "configuration: redis.url in the environment: expected either UTILBOT__REDIS__URL or \
         UTILBOT__REDIS__URL__FILE, but not both"
    );
}

#[test]
fn a_file_for_an_unknown_setting_is_not_read() {
    let error = variable("UTILBOT__REDIS__URI__FILE", "/gone").map(drop).unwrap_err();
    assert!(
        error.starts_with("configuration: redis.uri in environment UTILBOT__REDIS__URI__FILE (from file /gone): "),
        "{error}"
    );
    assert!(error.ends_with("did you mean redis.url?"), "{error}");
}

#[test]
fn lists_of_tables_can_be_toml_or_json_in_a_variable_or_in_its_file() {
    let toml = format!(
        "# The keys of the shop.\n[[keys]]\nid = 'a'\ntype = 'bot'\nsecret = '{SECRET}'\n\
         [[keys]]\nid = 'b'\ntype = ['website', 'service']\nsecret = '{SECRET}'\nexpires_at = 2027-01-31T12:00:00Z\n"
    );
    let json = format!(
        " [{{\"id\": \"a\", \"type\": \"bot\", \"secret\": \"{SECRET}\", \"hash\": null}},\n\
         {{\"id\": \"b\", \"type\": [\"website\", \"service\"], \"secret\": \"{SECRET}\", \
         \"expires_at\": \"2027-01-31T12:00:00Z\"}}]"
    );
    let expected = serde_json::to_value(&file(&toml).unwrap().keys).unwrap();
    for text in [toml, json] {
        for settings in [
            variable("UTILBOT__KEYS", &text).unwrap(),
            from_file("UTILBOT__KEYS__FILE", &text).unwrap(),
        ] {
            assert_eq!(serde_json::to_value(&settings.keys).unwrap(), expected);
            assert_eq!(settings.keys[0].secret.as_ref().unwrap().expose(), SECRET);
        }
    }
    let events = "[[events]]\nname = 'a'\nfrom = ['bot']\nto = ['bot']\ndeliver = { guild = '/g' }";
    assert_eq!(variable("UTILBOT__EVENTS", events).unwrap().events[0].name, "a");
    let applications = variable("UTILBOT__APPLICATIONS", "[{\"id\": \"shop\", \"shards\": 3}]").unwrap();
    assert_eq!(applications.applications[0].shards, 3);
    let applications = from_file("UTILBOT__APPLICATIONS__FILE", "a, b\n").unwrap();
    assert_eq!(applications.applications[1].id, "b");
}

#[test]
fn a_list_from_the_environment_replaces_that_of_the_file() {
    let given = |text| Given {
        file: "[[events]]\nname = 'old'\nfrom = ['bot']\nto = ['bot']",
        environment: text,
        ..Given::default()
    };
    let settings = given(&[(
        "UTILBOT__EVENTS",
        "[[events]]\nname = 'new'\nfrom = ['bot']\nto = ['bot']",
    )])
    .load()
    .unwrap();
    let names: Vec<_> = settings.events.iter().map(|event| &*event.name).collect();
    assert_eq!(names, ["new"]);
    assert!(given(&[("UTILBOT__EVENTS", "")]).load().unwrap().events.is_empty());
}

#[test]
fn an_invalid_list_in_the_environment_is_reported_without_its_secrets() {
    for (text, expected) in [
        (
            "[{\"id\": \"hunter2\"",
            "keys in environment UTILBOT__KEYS: expected a JSON array or tables [[keys]] in TOML, but found an error: EOF \
             while parsing an object at line 1 column 17",
        ),
        (
            "[[keys]]\nid = \"hunter2\"\nhunter2",
            "keys in environment UTILBOT__KEYS: expected tables [[keys]] in TOML or a JSON array, but found an error at \
             line 3, column 8: key with no value, expected `=`",
        ),
        (
            "[[events]]\nname = 'hunter2'",
            "keys in environment UTILBOT__KEYS: expected nothing but tables [[keys]]",
        ),
        (
            "keys = 'hunter2'",
            "keys = <redacted> in environment UTILBOT__KEYS: expected a list of tables [[keys]]",
        ),
        (
            "[\"hunter2\"]",
            "keys[0] = <redacted> in environment UTILBOT__KEYS: expected a section [keys[0]]",
        ),
        (
            "[{\"id\": \"a\", \"type\": \"bot\", \"secret\": \"hunter2\"}]",
            "keys[0].secret = <redacted> in environment UTILBOT__KEYS: expected 32 or more printable ASCII characters \
             without a dot",
        ),
    ] {
        assert_eq!(
            variable("UTILBOT__KEYS", text).map(drop).unwrap_err(),
            format!("configuration: {expected}"),
            "{text}"
        );
    }
    let error = variable("UTILBOT__KEYS__WEB__SECRET", "hunter2").map(drop).unwrap_err();
    assert_eq!(
        error,
        "configuration: keys.web.secret in environment UTILBOT__KEYS__WEB__SECRET: expected keys to be listed in the \
         configuration file, in UTILBOT__KEYS, or in the file that UTILBOT__KEYS__FILE names"
    );
}

#[test]
fn a_reload_reads_the_files_that_variables_name_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("url");
    fs::write(&path, "redis://one\n").unwrap();
    let settings = Sources::new()
        .environment([("UTILBOT__REDIS__URL__FILE".to_owned(), path.display().to_string())])
        .load()
        .unwrap();
    assert_eq!(redis_url(&settings), Some("redis://one"));
    fs::write(&path, "redis://two\n").unwrap();
    assert_eq!(redis_url(&settings.sources().load().unwrap()), Some("redis://two"));
    fs::remove_file(&path).unwrap();
    assert!(settings.sources().load().is_err());
}

#[test]
fn the_origin_of_a_value_is_printed_and_its_secret_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let url = write("url", &format!("redis://:{SECRET}@h"));
    let keys = write(
        "keys",
        &format!("[[keys]]\nid = 'a'\ntype = 'bot'\nsecret = '{SECRET}'"),
    );
    let given = Given {
        environment: &[
            ("UTILBOT__REDIS__URL__FILE", &url),
            ("UTILBOT__KEYS__FILE", &keys),
            ("UTILBOT__LOG__LEVEL", "warn"),
        ],
        ..Given::default()
    };
    let settings = given.load().unwrap();
    let printed = settings.to_toml();
    assert!(!printed.contains(SECRET));
    let flat = printed.replace("\n# ", " ");
    for part in [
        format!("Set in environment UTILBOT__REDIS__URL__FILE (from file {url}).\nurl = \"<redacted>\""),
        format!("Set in environment UTILBOT__KEYS__FILE (from file {keys}).\n[[keys]]"),
        "Set in environment UTILBOT__LOG__LEVEL.\nlevel = \"warn\"".to_owned(),
    ] {
        assert!(flat.contains(&part), "{part} is not in {printed}");
    }
    assert_eq!(
        settings.read_from_files(),
        [
            ("keys", &*format!("environment UTILBOT__KEYS__FILE (from file {keys})")),
            (
                "redis.url",
                &*format!("environment UTILBOT__REDIS__URL__FILE (from file {url})")
            ),
        ]
    );
}
