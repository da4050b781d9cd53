//! The commands of the binary, and the first line of its output.

use std::path::Path;

use gateway_harness::{KEYS, Setup};

use super::node;

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
