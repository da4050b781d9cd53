//! Checks every file in `deploy/`: that the files are consistent, and give a node enough time to drain.
//!
//! `tests/compose/run.sh` runs them on a container engine.

mod alerts;
mod compose;
mod haproxy;
mod haproxy_limits;
mod kubernetes;
mod monitoring;
mod setup;
mod systemd;

use std::{collections::BTreeMap, fs, time::Duration};

use gateway_harness::{Ran, gateway, run};
use serde_json::Value;
use tokio::process::Command;

use crate::root;

/// The environment variables that a deploy file sets for a node.
type Environment = BTreeMap<String, String>;

fn read(path: &str) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the documents of a YAML file, with merge keys (`<<`) resolved.
fn documents(path: &str) -> Vec<Value> {
    let text = read(path);
    let documents = serde_norway::Deserializer::from_str(&text).map(|document| {
        let mut value: serde_norway::Value = serde::Deserialize::deserialize(document).unwrap();
        // A merged mapping may contain a merge key itself, and one pass does not resolve that.
        for _ in 0..2 {
            value.apply_merge().unwrap();
        }
        serde_json::to_value(value).unwrap()
    });
    documents.collect()
}

fn document(path: &str) -> Value {
    let mut documents = documents(path);
    assert_eq!(documents.len(), 1, "{path}");
    documents.remove(0)
}

/// Runs a command of the node on `deploy/gateway.toml`.
async fn node(command: &str, environment: &Environment) -> Ran {
    let config = root().join("deploy/gateway.toml");
    let mut command_line = Command::new(gateway());
    command_line
        .env_clear()
        .envs(environment)
        .arg(command)
        .arg("--config")
        .arg(config);
    run(&mut command_line, Duration::from_secs(10)).await
}

/// Returns all settings of a node with `deploy/gateway.toml` and this environment.
async fn settings(environment: &Environment) -> toml::Table {
    let ran = node("print-config", environment).await;
    assert!(ran.status.success(), "{ran:?}");
    ran.stdout.parse().unwrap()
}

/// Returns how long a node may take to stop: balancer wait, spread, linger and 5 s.
fn time_to_drain(settings: &toml::Table) -> Duration {
    let ms = |section: &str, key: &str| {
        let value = settings[section][key].as_integer().unwrap();
        Duration::from_millis(value.try_into().unwrap())
    };
    let sum = ms("drain", "balancer_wait_ms") + ms("drain", "spread_ms") + ms("limits", "evict_linger_ms");
    // A drain may take until the deadline, so that has to fit as well.
    assert!(sum < ms("drain", "deadline_ms"));
    (sum + Duration::from_secs(5)).max(ms("drain", "deadline_ms"))
}

/// Parses a duration such as `20s`, `500ms` or `1h`. A number without a unit is in seconds.
fn duration(text: &str) -> Duration {
    let digits = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().unwrap_or_else(|_| panic!("not a duration: {text}"));
    match unit {
        "ms" => Duration::from_millis(number),
        "s" | "" => Duration::from_secs(number),
        "m" => Duration::from_secs(number * 60),
        "h" => Duration::from_secs(number * 3600),
        _ => panic!("not a duration: {text}"),
    }
}

#[test]
fn every_deploy_file_is_known() {
    // Add a test for a new file before listing it here.
    let known = [
        "Dockerfile",
        "alerts.yml",
        "alerts_test.yml",
        "gateway.toml",
        "grafana/dashboards.yml",
        "grafana/datasources.yml",
        "grafana/gateway.json",
        "haproxy.cfg",
        "kubernetes.yaml",
        "nginx.conf",
        "prometheus.yml",
        "setup.sh",
        "systemd/utilbot-gateway.service",
    ];
    let deploy = root().join("deploy");
    let (mut files, mut folders) = (Vec::new(), vec![deploy.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path.strip_prefix(&deploy).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    files.sort_unstable();
    assert_eq!(files, known);
}

#[tokio::test]
async fn the_example_configuration_is_valid() {
    let ran = node("check-config", &Environment::new()).await;
    assert!(ran.status.success(), "{ran:?}");
    assert_eq!(ran.stderr, "");
}

#[test]
fn the_dockerfile_matches_the_repository() {
    let dockerfile = read("deploy/Dockerfile");
    let lines: Vec<_> = dockerfile.lines().collect();
    for line in [
        "STOPSIGNAL SIGTERM",
        "ENTRYPOINT [\"gateway-node\"]",
        "CMD [\"serve\", \"--config\", \"/etc/utilbot/gateway.toml\"]",
        "USER utilbot",
        "    CMD [\"gateway-node\", \"healthcheck\"]",
        "COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt",
    ] {
        assert!(lines.contains(&line), "{line} in {dockerfile}");
    }
    // The Dockerfile empties the sources of every package, by the name of its top folder.
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let version = manifest["workspace"]["package"]["version"].as_str().unwrap();
    let label = format!("org.opencontainers.image.version=\"{version}\"");
    assert!(dockerfile.contains(&label), "{label}");
    let members = manifest["workspace"]["members"].as_array().unwrap();
    for member in members {
        let folder = member.as_str().unwrap().split('/').next().unwrap();
        assert!(dockerfile.contains(&format!(" {folder} ")), "{member}");
    }
}
