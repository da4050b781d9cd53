//! `deploy/systemd`: the unit as systemd reads it, its credentials, and its time to drain.

use std::{fs, time::Duration};

use gateway_harness::{KEYS, gateway, run, tool};
use tokio::process::Command;

use super::{Environment, duration, node, read, settings, time_to_drain};

const UNIT: &str = "deploy/systemd/utilbot-gateway.service";

/// Returns the values of a setting of the unit.
fn values(key: &str) -> Vec<String> {
    let unit = read(UNIT);
    let lines = unit
        .lines()
        .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    lines.map(str::to_owned).collect()
}

/// Returns the value of a setting that the unit has once.
fn value(key: &str) -> String {
    let mut values = values(key);
    assert_eq!(values.len(), 1, "{key}: {values:?}");
    values.remove(0)
}

#[tokio::test]
async fn the_unit_gives_a_node_time_to_drain() {
    let leave = time_to_drain(&settings(&Environment::new()).await);
    assert!(duration(&value("TimeoutStopSec")) > leave);
    assert_eq!(value("KillSignal"), "SIGTERM");
    assert_eq!(value("RestartPreventExitStatus"), "64");
    assert!(value("ExecStart").contains("gateway-node serve --config "));
}

#[test]
fn the_unit_is_started_when_the_node_is_ready_and_restarted_when_it_hangs() {
    assert_eq!(value("Type"), "notify");
    // A node may have to wait for Redis.
    assert_eq!(value("TimeoutStartSec"), "infinity");
    assert!(duration(&value("WatchdogSec")) >= Duration::from_secs(10));
    assert_eq!(value("Restart"), "on-failure");
    // The notification socket is a Unix socket.
    assert!(value("RestrictAddressFamilies").contains("AF_UNIX"));
}

#[tokio::test]
async fn the_credentials_of_the_unit_reach_the_node() {
    let folder = tempfile::tempdir().unwrap();
    let mut environment = Environment::new();
    for variable in values("Environment") {
        let (name, value) = variable.split_once('=').unwrap();
        let value = value.replace("%d", folder.path().to_str().unwrap());
        environment.insert(name.to_owned(), value);
    }
    let credentials = values("LoadCredential");
    assert!(!credentials.is_empty());
    for credential in credentials {
        let (name, path) = credential.split_once(':').unwrap();
        assert!(path.starts_with("/etc/utilbot/"), "{path}");
        let copy = folder.path().join(name);
        assert!(
            environment.values().any(|value| *value == copy.to_str().unwrap()),
            "{name}"
        );
        fs::write(copy, KEYS).unwrap();
    }
    let checked = node("check-config", &environment).await;
    assert!(checked.status.success(), "{checked:?}");
    assert!(
        checked
            .stdout
            .contains("keys is set in environment UTILBOT__KEYS__FILE"),
        "{checked:?}"
    );
    assert!(checked.stdout.contains(", 4 keys, "), "{checked:?}");
}

#[tokio::test]
async fn systemd_finds_nothing_wrong_with_the_unit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("utilbot-gateway.service");
    let unit = read(UNIT);
    // Also with the lines that an operator may want.
    for text in [
        unit.clone(),
        unit.replace("\n#LoadCredential", "\nLoadCredential")
            .replace("\n#Environment", "\nEnvironment")
            .replace("\n#RuntimeDirectory", "\nRuntimeDirectory"),
    ] {
        let text = text.replace("/usr/local/bin/gateway-node", gateway().to_str().unwrap());
        fs::write(&path, text).unwrap();
        let mut command = Command::new(tool("UTILBOT_TEST_SYSTEMD_ANALYZE", "systemd-analyze"));
        command.args(["verify", "--man=no"]).arg(&path);
        let verified = run(&mut command, Duration::from_secs(60)).await;
        assert!(verified.status.success(), "{verified:?}");
        assert_eq!((&*verified.stdout, &*verified.stderr), ("", ""), "{verified:?}");
    }
}
