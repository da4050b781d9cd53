//! Runs the commands as an operator types them.

#![allow(clippy::unwrap_used, reason = "a test may end where it fails")]

use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use tempfile::TempDir;

use super::{Cli, CliError, execute};

/// Returns the output of a command, or the exit code and text of its error.
fn run(arguments: &str) -> Result<String, (u8, String)> {
    let mut out = Vec::new();
    let arguments = std::iter::once("gateway-node").chain(arguments.split_whitespace());
    match execute(arguments.map(Into::into), [], &mut out) {
        Ok(_) => Ok(String::from_utf8(out).unwrap()),
        Err(error) => Err((error.code(), error.to_string())),
    }
}

fn file(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("u.toml");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

fn with_config(command: &str, path: &Path) -> Result<String, (u8, String)> {
    run(&format!("{command} --config {}", path.display()))
}

const KEYS: &str = r#"[limits]
message_bytes = 100

[[keys]] # the website's
id = "web"
type = "website"
permissions = [
    "publish",
    "read",
]
secret = "correct-horse-battery-staple-0123456789"

[[keys]]
hash = "0000000000000000000000000000000000000000000000000000000000000000"
type = ["bot", "service"]
id = "bot"
expires_at = "2027-01-31T12:00:00Z"
"#;

#[test]
fn the_arguments_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_has_help_and_version() {
    for command in [
        "",
        "serve",
        "check-config",
        "print-config",
        "keys",
        "keys new",
        "keys list",
        "keys revoke",
    ] {
        for flag in ["--help", "--version"] {
            let (code, text) = run(&format!("{command} {flag}")).unwrap_err();
            assert_eq!(code, 0, "{command} {flag}: {text}");
        }
    }
}

#[test]
fn the_help_of_every_command_has_an_example() {
    fn check(command: &mut clap::Command) {
        let help = command.render_help().to_string();
        // `keys` only has commands of its own, and `help` is clap's.
        let is_group = ["keys", "help"].contains(&command.get_name());
        assert!(is_group || help.contains("Example"), "{help}");
        command.get_subcommands_mut().for_each(check);
    }
    check(&mut Cli::command());
}

#[test]
fn invalid_arguments_exit_with_64() {
    for arguments in [
        "--stranger",
        "stranger",
        "keys",
        "keys new",
        "keys revoke",
        "keys new --id a --type robot",
        "keys new --id a.b --type bot",
        "keys new --id a --type bot --permission write",
        "keys new --id a --type bot --expires-at soon",
        "check-config --config",
    ] {
        assert_eq!(run(arguments).unwrap_err().0, 64, "{arguments}");
    }
}

#[test]
fn an_invalid_configuration_prints_one_line_and_exits_with_64() {
    for command in ["", "serve", "check-config", "print-config"] {
        let (code, line) = run(&format!("{command} --bind here")).unwrap_err();
        assert_eq!((code, line.lines().count()), (64, 1));
        assert!(
            line.starts_with("configuration: server.bind = \"here\" in flag --bind: expected "),
            "{line}"
        );
    }
}

#[test]
fn flags_work_before_and_after_the_command() {
    for arguments in ["--bind 127.0.0.1:9 print-config", "print-config --bind 127.0.0.1:9"] {
        assert!(run(arguments).unwrap().contains("bind = \"127.0.0.1:9\""));
    }
}

#[test]
fn options_are_accepted_only_where_they_do_something() {
    for arguments in [
        "keys list --bind 127.0.0.1:9",
        "connect --log-format json",
        "publish --development a {}",
        "healthcheck --allow-host box",
    ] {
        assert_eq!(run(arguments).unwrap_err().0, 64, "{arguments}");
    }
}

#[test]
fn development_mode_for_other_machines_is_chosen_by_a_flag() {
    let printed = run("print-config --development --allow-host box --allow-host gateway").unwrap();
    for line in ["bind = \"0.0.0.0:8080\"", "allowed_hosts = [\"box\", \"gateway\"]"] {
        assert!(printed.contains(line), "{line} is not in {printed}");
    }
    let printed = run("--development print-config --bind 0.0.0.0:9").unwrap();
    assert!(printed.contains("bind = \"0.0.0.0:9\""));
    let (_folder, path) = file(KEYS);
    let (code, line) = with_config("check-config --development", &path).unwrap_err();
    assert_eq!(code, 64);
    assert!(line.ends_with("expected no keys with --development"), "{line}");
}

#[test]
fn check_config_prints_a_summary() {
    assert_eq!(
        run("check-config").unwrap(),
        "configuration ok: 1 application, 0 keys, 2 events, development mode\n"
    );
    let (_folder, path) = file(KEYS);
    assert_eq!(
        with_config("check-config", &path).unwrap(),
        "configuration ok: 1 application, 2 keys, 0 events\n"
    );
}

#[test]
fn check_config_reads_the_schemas() {
    let (folder, path) = file("[[events]]\nname = 'a'\nfrom = ['bot']\nto = ['bot']\nschema = 'a.json'");
    assert_eq!(with_config("check-config", &path).unwrap_err().0, 64);
    std::fs::write(folder.path().join("a.json"), "{\"type\": 5}").unwrap();
    assert!(
        with_config("check-config", &path)
            .unwrap_err()
            .1
            .contains("events[0].schema")
    );
    std::fs::write(folder.path().join("a.json"), "{}").unwrap();
    assert!(with_config("check-config", &path).is_ok());
}

#[test]
fn print_config_prints_no_secret() {
    let (_folder, path) = file(KEYS);
    let printed = with_config("print-config", &path).unwrap();
    assert!(printed.contains("message_bytes = 100\n") && printed.contains("secret = \"<redacted>\""));
    assert!(!printed.contains("horse"));
}

#[test]
fn a_new_key_is_accepted_with_its_printed_block() {
    let printed =
        run("keys new --id web --type bot,website --type service --permission read --expires-at 2027-01-31T12:00:00Z")
            .unwrap();
    let (key, block) = printed.split_once("\n\n").unwrap();
    let secret = key.strip_prefix("web.").unwrap();
    assert!(!block.contains(secret));
    let (_folder, path) = file(block);
    let settings = crate::config::Sources::new().file(Some(path.clone())).load().unwrap();
    assert!(settings.keys[0].secret_hash().unwrap().matches(secret));
    let listed = with_config("keys list", &path).unwrap();
    assert!(
        listed.contains("web  bot,website,service  utilbot      read         2027-01-31T12:00:00Z"),
        "{listed}"
    );
    assert_ne!(run("keys new --id web --type bot"), run("keys new --id web --type bot"));
}

#[test]
fn keys_are_listed_without_secrets() {
    let (_folder, path) = file(KEYS);
    let listed = with_config("keys list", &path).unwrap();
    assert_eq!(
        listed,
        "ID   TYPE         APPLICATION  PERMISSIONS   EXPIRES\n\
         web  website      utilbot      publish,read  never\n\
         bot  bot,service  utilbot      none          2027-01-31T12:00:00Z\n"
    );
}

#[test]
fn revoke_names_the_lines_to_delete() {
    let (_folder, path) = file(KEYS);
    let name = path.display();
    let told = |id: &str| with_config(&format!("keys revoke {id}"), &path);
    assert_eq!(
        told("web").unwrap(),
        format!("{name}: to revoke web, delete lines 4 to 11 and send SIGHUP to the node\n")
    );
    assert_eq!(
        told("bot").unwrap(),
        format!("{name}: to revoke bot, delete lines 13 to 17 and send SIGHUP to the node\n")
    );
    assert_eq!(
        told("none"),
        Err((64, format!("keys revoke: no key \"none\" in {name}")))
    );
    assert_eq!(run("keys revoke web").unwrap_err().0, 64);
    assert_eq!(run("keys revoke web --config /nowhere").unwrap_err().0, 64);
}

#[test]
fn revoke_works_in_an_otherwise_invalid_file() {
    let (_folder, path) = file("stranger = 1\nkeys = [\n  { id = 'a' },\n  { id = 'b' },\n]\n");
    let told = with_config("keys revoke b", &path).unwrap();
    assert!(told.contains("delete line 4 and"), "{told}");
    assert!(
        told.contains("\nredis was not checked: configuration: stranger"),
        "{told}"
    );
    let (code, told) = with_config("keys revoke c", &path).unwrap_err();
    assert_eq!(code, 64);
    assert!(told.starts_with("configuration: stranger"), "{told}");
    let (_folder, path) = file("a\nkeys = = 1");
    assert_eq!(with_config("keys revoke b", &path).unwrap_err().0, 64);
}

#[test]
fn storing_a_key_needs_a_reachable_redis_and_an_unused_id() {
    let (_folder, path) = file(KEYS);
    let refused = |arguments: &str, path| with_config(&format!("keys new --store {arguments}"), path).unwrap_err();
    assert_eq!(
        refused("--id a --type bot", &path),
        (64, "keys new: --store needs redis.url in the configuration".to_owned())
    );
    // Nothing listens on port 1 of loopback.
    let (_folder, path) = file(&format!("redis.url = 'redis://:hunter2@127.0.0.1:1'\n{KEYS}"));
    assert_eq!(
        refused("--id a --type bot --application shop", &path),
        (64, "keys new: no application \"shop\" in the configuration".to_owned())
    );
    assert_eq!(
        refused("--id web --type bot", &path),
        (
            64,
            "keys new: key \"web\" already exists in the configuration file".to_owned()
        )
    );
    for (code, line) in [
        refused("--id a --type bot", &path),
        with_config("keys list", &path).unwrap_err(),
        with_config("keys revoke a", &path).unwrap_err(),
    ] {
        assert_eq!(code, 69);
        assert!(
            line.starts_with("redis at 127.0.0.1:1 cannot be reached: ") && line.lines().count() == 1,
            "{line}"
        );
        assert!(!line.contains("hunter2"));
    }
}

#[test]
fn a_closed_output_pipe_is_not_reported() {
    let error = CliError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
    let mut err = Vec::new();
    error.report(&mut err).unwrap();
    assert!(err.is_empty());
}
