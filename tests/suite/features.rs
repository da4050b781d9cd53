//! The node without its optional features.

use std::time::Duration;

use gateway_harness::{KEYS, Setup, gateway_without_features, run};
use tokio::process::Command;

use crate::discord_compression::check_connection_to;

/// Runs the binary and returns its exit code and output.
async fn told(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(gateway_without_features());
    let ran = run(command.args(arguments), Duration::from_secs(20)).await;
    (ran.status.code(), ran.stdout + &ran.stderr)
}

#[tokio::test]
async fn without_client_the_commands_of_clients_are_absent() {
    let (code, help) = told(&["--help"]).await;
    assert_eq!(code, Some(0), "{help}");
    let lists = |name: &str| help.lines().any(|line| line.trim_start().starts_with(name));
    assert!(lists("serve ") && lists("healthcheck "), "{help}");
    assert!(!lists("connect ") && !lists("publish "), "{help}");
    let (code, error) = told(&["connect"]).await;
    assert_eq!(code, Some(64), "{error}");
}

#[tokio::test]
async fn without_schema_a_configuration_with_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.json"), "{}").unwrap();
    let path = folder.path().join("gateway.toml");
    let event = "[[events]]\nname = 'a'\nfrom = ['bot']\nto = ['bot']\n";
    let path_text = path.to_str().unwrap();
    for (schema, expected, line) in [
        ("", 0, "configuration ok"),
        (
            "schema = 'a.json'",
            64,
            "this program was built without support for schemas",
        ),
    ] {
        std::fs::write(&path, format!("{event}{schema}")).unwrap();
        let (code, text) = told(&["check-config", "--config", path_text]).await;
        assert_eq!(code, Some(expected), "{text}");
        assert!(text.contains(line), "{text}");
    }
}

#[tokio::test]
async fn without_zstd_its_streams_are_valid() {
    let setup = Setup::new().file(KEYS).set("cluster.event_bytes", 1_000_000);
    let node = setup.program(gateway_without_features()).start().await;
    check_connection_to(node, "v=10&encoding=json&compress=zstd-stream", None).await;
}
