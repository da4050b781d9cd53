//! Clients in other languages run the scenario of protocol version 1 against a real node.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use gateway_harness::{NodeProcess, Setup, run, tool};
use tokio::process::Command;

const DEADLINE: Duration = Duration::from_secs(60);

fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../clients").join(name)
}

/// Runs a client against a node in development mode. It must print `ok` last and exit with 0.
async fn completes_scenario(mut command: Command, node: &NodeProcess) {
    command
        .args(["--url", node.banner()["url"].as_str().unwrap()])
        .env("UTILBOT_KEY", node.development_key());
    let ran = run(&mut command, DEADLINE).await;
    assert!(ran.status.success(), "{ran:?}");
    assert_eq!(ran.stdout.lines().last(), Some("ok"), "{ran:?}");
    let checks = ran.stdout.lines().filter(|line| line.starts_with('{')).count();
    assert!(checks > 5, "only {checks} checks: {}", ran.stdout);
}

fn program(path: OsString, script: PathBuf) -> Command {
    let mut command = Command::new(path);
    command.arg(script);
    command
}

#[tokio::test]
async fn a_python_client_completes_the_protocol_v1_scenario() {
    let python = tool(
        "UTILBOT_TEST_PYTHON",
        "python with the packages of tests/requirements.txt",
    );
    let node = Setup::new().start().await;
    completes_scenario(program(python, script("python/v1_client.py")), &node).await;
}

#[tokio::test]
async fn a_nodejs_client_completes_the_v1_scenario() {
    let program_path = tool("UTILBOT_TEST_NODE", "Node.js, 20 or later");
    let modules = tool("UTILBOT_TEST_NODE_MODULES", "the node_modules folder that holds `ws`");
    let node = Setup::new().start().await;
    let mut command = program(program_path, script("node/v1_client.mjs"));
    command.env("UTILBOT_TEST_NODE_MODULES", modules);
    completes_scenario(command, &node).await;
}

#[tokio::test]
async fn a_browser_completes_the_v1_scenario() {
    let python = tool(
        "UTILBOT_TEST_PYTHON",
        "python with the packages of tests/requirements.txt",
    );
    let browser = tool("UTILBOT_TEST_BROWSER", "a Chromium that runs headless");
    let node = Setup::new().start().await;
    let mut command = program(python, script("browser/browser.py"));
    command.arg("--browser").arg(browser);
    completes_scenario(command, &node).await;
}
