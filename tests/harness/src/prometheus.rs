//! Prometheus that watches the nodes of a test: a real `prometheus` with the alert rules of the test.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs::{self, File},
    net::SocketAddr,
    process::Stdio,
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::{
    command::tool_on_path,
    deadline::eventually,
    http::{ask, request},
    port::free_port,
};

/// Scrapes and evaluations often enough for a test, with time for a scrape on a busy machine.
const GLOBAL: &str = "global:\n  scrape_interval: 500ms\n  evaluation_interval: 250ms\nrule_files: [rules.yml]\n";

/// An alert that is not inactive, as Prometheus' API lists it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Alert {
    /// The name of its rule.
    pub name: String,
    /// The label `instance`.
    pub instance: String,
    /// Whether it fires. It is pending otherwise: its condition has not held for long enough.
    pub is_firing: bool,
}

/// A running Prometheus. It is killed on drop, and its data is deleted.
#[derive(Debug)]
pub struct Prometheus {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl Prometheus {
    /// Starts Prometheus with these alert rules, and waits until it answers. It scrapes `/metrics` of each target under
    /// the job `gateway`, with the target's name as `instance`.
    pub async fn start(rules: &str, targets: &[(&str, SocketAddr)]) -> Self {
        let mut configuration = format!("{GLOBAL}scrape_configs:\n- job_name: gateway\n  static_configs:\n");
        for (name, target) in targets {
            writeln!(
                configuration,
                "  - targets: [\"{target}\"]\n    labels: {{ instance: \"{name}\" }}"
            )
            .expect("writing to memory cannot fail");
        }
        loop {
            let folder = tempfile::tempdir().expect("a folder for the data");
            fs::write(folder.path().join("prometheus.yml"), &configuration).expect("a file can be written");
            fs::write(folder.path().join("rules.yml"), rules).expect("a file can be written");
            let log = File::create(folder.path().join("log")).expect("a file can be made");
            let address = SocketAddr::from(([127, 0, 0, 1], free_port().await));
            let child = Command::new(tool_on_path("UTILBOT_TEST_PROMETHEUS", "prometheus"))
                .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
                .arg(format!("--web.listen-address={address}"))
                .current_dir(folder.path())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .kill_on_drop(true)
                .spawn();
            let mut prometheus = Self {
                child: child.expect("prometheus starts; `tests/run.sh` installs it"),
                address,
                folder,
            };
            if prometheus.answers().await {
                return prometheus;
            }
            // Another test took the port after it was found free; try again.
        }
    }

    /// Returns the alerts that are pending or firing.
    pub async fn alerts(&self) -> BTreeSet<Alert> {
        let answer = self.api("/api/v1/alerts").await;
        let alerts = answer["alerts"].as_array().expect("a list of alerts");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        alerts
            .iter()
            .map(|alert| Alert {
                name: text(&alert["labels"]["alertname"]),
                instance: text(&alert["labels"]["instance"]),
                is_firing: alert["state"] == "firing",
            })
            .collect()
    }

    /// Evaluates a query now. Returns the labels and the value of each series.
    pub async fn query(&self, expression: &str) -> Vec<(Value, f64)> {
        let mut target = "/api/v1/query?query=".to_owned();
        for byte in expression.bytes() {
            write!(target, "%{byte:02x}").expect("writing to memory cannot fail");
        }
        let answer = self.api(&target).await;
        let series = answer["result"].as_array().expect("a vector");
        series
            .iter()
            .map(|one| {
                let value = one["value"][1].as_str().and_then(|value| value.parse().ok());
                (one["metric"].clone(), value.expect("a number"))
            })
            .collect()
    }

    /// Requests a resource of the API, which must succeed.
    async fn api(&self, target: &str) -> Value {
        let answer = request(self.address, "GET", target, &[], "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["data"].clone()
    }

    /// Waits until it answers. Returns `false` if it exited because its port was taken.
    async fn answers(&mut self) -> bool {
        eventually("Prometheus that answers", async || {
            if self.child.try_wait().expect("a child can be asked").is_some() {
                let log = fs::read_to_string(self.folder.path().join("log")).expect("the log is text");
                assert!(
                    log.contains("address already in use"),
                    "Prometheus did not start: {log}"
                );
                return Some(false);
            }
            let ready = ask(self.address, "GET", "/-/ready", &[], "").await;
            ready.is_ok_and(|ready| ready.status == 200).then_some(true)
        })
        .await
    }
}
