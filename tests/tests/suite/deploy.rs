//! Every file that deploys the node is opened here.

use std::{fs, path::PathBuf, time::Duration};

use gateway_tests::{gateway, run};
use serde_json::Value;
use tokio::process::Command;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &str) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

async fn node(command: &str) -> gateway_tests::Ran {
    let config = root().join("deploy/gateway.toml");
    let mut command_line = Command::new(gateway());
    command_line.env_clear().arg(command).arg("--config").arg(config);
    run(&mut command_line, Duration::from_secs(10)).await
}

/// What a node may take to leave: balancer wait, spread, linger and 5 s, as the configuration has them.
async fn time_to_leave() -> Duration {
    let ran = node("print-config").await;
    let settings: toml::Table = ran.stdout.parse().unwrap();
    let ms = |section: &str, key: &str| {
        let value = settings[section][key].as_integer().unwrap();
        Duration::from_millis(value.try_into().unwrap())
    };
    let sum = ms("drain", "balancer_wait_ms") + ms("drain", "spread_ms") + ms("limits", "evict_linger_ms");
    // The deadline ends a drain whatever happens, so that has to fit as well.
    assert!(sum < ms("drain", "deadline_ms"));
    sum + Duration::from_secs(5)
}

fn seconds(text: &str) -> Duration {
    let number = text.strip_suffix('s').unwrap_or(text);
    Duration::from_secs(number.parse().unwrap_or_else(|_| panic!("{text} is not in seconds")))
}

#[tokio::test]
async fn the_example_configuration_is_right() {
    let ran = node("check-config").await;
    assert!(ran.status.success(), "{ran:?}");
    assert_eq!(ran.stderr, "");
}

#[tokio::test]
async fn the_compose_file_gives_a_node_the_time_to_leave() {
    let compose: Value = serde_norway::from_str(&read("docker-compose.yml")).unwrap();
    let services = compose["services"].as_object().unwrap();
    let nodes: Vec<_> = services
        .iter()
        .filter(|(_, service)| {
            service["build"]["dockerfile"] == "deploy/Dockerfile" || service["image"] == "utilbot-gateway"
        })
        .collect();
    assert!(!nodes.is_empty());
    for (name, service) in nodes {
        let grace = seconds(service["stop_grace_period"].as_str().unwrap());
        assert!(grace > time_to_leave().await, "{name}: {grace:?}");
        let signal = service["stop_signal"].as_str().unwrap_or("SIGTERM");
        assert_eq!(signal, "SIGTERM", "{name}");
        for volume in service["volumes"].as_array().unwrap() {
            let (host, _) = volume.as_str().unwrap().split_once(':').unwrap();
            assert!(
                !host.starts_with("./") || root().join(host).exists(),
                "{name}: {host} is not there"
            );
        }
        let check = service["healthcheck"]["test"].to_string();
        assert!(check.contains("healthcheck"), "{name}: {check}");
    }
}

#[tokio::test]
async fn the_unit_gives_a_node_the_time_to_leave() {
    let unit = read("deploy/systemd/utilbot-gateway.service");
    let value = |key: &str| {
        let line = unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("no {key}"))
    };
    assert!(seconds(value("TimeoutStopSec")) > time_to_leave().await);
    assert_eq!(value("KillSignal"), "SIGTERM");
    assert_eq!(value("RestartPreventExitStatus"), "64");
    assert!(value("ExecStart").contains("gateway-node serve --config "));
}

#[test]
fn the_image_runs_what_is_in_the_repository() {
    let dockerfile = read("deploy/Dockerfile");
    let lines: Vec<_> = dockerfile.lines().collect();
    for line in [
        "STOPSIGNAL SIGTERM",
        "ENTRYPOINT [\"gateway-node\"]",
        "CMD [\"serve\", \"--config\", \"/etc/utilbot/gateway.toml\"]",
        "USER utilbot",
    ] {
        assert!(lines.contains(&line), "{line} in {dockerfile}");
    }
    for package in ["gateway-node", "shared", "tests"] {
        assert!(root().join(package).join("Cargo.toml").exists());
        assert!(dockerfile.contains(package), "{package}");
    }
}
