//! Prometheus and Grafana: scrape targets, data source, and the metrics on the dashboard.

use std::{collections::BTreeSet, process::Stdio, time::Duration};

use gateway_harness::{V1Client, full_setup, get, key, publish, tool, within_time};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, process::Command};

use super::{
    compose::{Compose, environment},
    document, read, root, settings,
};

/// How long promtool may take. It evaluates every alert at each minute of its examples.
const PROMTOOL: Duration = Duration::from_secs(60);

#[tokio::test]
async fn prometheus_scrapes_every_node_and_the_balancer() {
    let prometheus = document("deploy/prometheus.yml");
    let targets: Vec<_> = prometheus["scrape_configs"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|job| job["static_configs"][0]["targets"].as_array().unwrap())
        .map(|target| target.as_str().unwrap().to_owned())
        .collect();

    let mut expected = Vec::new();
    for (name, service) in Compose::read().nodes() {
        let settings = settings(&environment(service)).await;
        let (_, port) = settings["admin"]["bind"].as_str().unwrap().rsplit_once(':').unwrap();
        expected.push(format!("{name}:{port}"));
    }
    let haproxy = read("deploy/haproxy.cfg");
    let (_, metrics) = haproxy.split_once("frontend metrics").unwrap();
    let port = metrics
        .lines()
        .find_map(|line| line.trim().strip_prefix("bind :"))
        .unwrap();
    expected.push(format!("balancer:{port}"));
    assert_eq!(targets, expected);
}

#[test]
fn grafana_reads_from_prometheus() {
    let sources = document("deploy/grafana/datasources.yml");
    assert_eq!(sources["datasources"][0]["url"], "http://prometheus:9090");
    let prometheus = document("deploy/prometheus.yml");
    assert_eq!(
        sources["datasources"][0]["jsonData"]["timeInterval"],
        prometheus["global"]["scrape_interval"]
    );
    let folder = document("deploy/grafana/dashboards.yml")["providers"][0]["options"]["path"].clone();
    let compose = Compose::read();
    let mounted = compose.service("grafana")["volumes"].to_string();
    assert!(
        mounted.contains(&format!("gateway.json:{}/", folder.as_str().unwrap())),
        "{mounted}"
    );
}

fn dashboard() -> Value {
    serde_json::from_str(&read("deploy/grafana/gateway.json")).unwrap()
}

/// Returns the panels of the dashboard that are no headings.
fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    let panels = dashboard["panels"].as_array().unwrap();
    panels.iter().filter(|panel| panel["type"] != "row")
}

#[test]
fn the_dashboard_can_be_limited_to_a_data_source_and_to_nodes() {
    let dashboard = dashboard();
    let variable = |name: &str| {
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        let found = variables.iter().find(|variable| variable["name"] == name);
        found.unwrap_or_else(|| panic!("no variable {name}"))
    };
    let source = variable("datasource");
    assert_eq!(
        (&source["type"], &source["query"]),
        (&json!("datasource"), &json!("prometheus"))
    );
    let provisioned = document("deploy/grafana/datasources.yml")["datasources"][0].clone();
    assert_eq!(source["current"]["value"], provisioned["uid"]);
    let node = variable("instance");
    assert_eq!((&node["includeAll"], &node["multi"]), (&json!(true), &json!(true)));
    let used = json!({ "type": "prometheus", "uid": "${datasource}" });
    assert_eq!(node["datasource"], used);
    for panel in panels(&dashboard) {
        assert_eq!(panel["datasource"], used, "{}", panel["title"]);
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            let of_nodes = query.matches("utilbot_").count() + query.matches("process_").count();
            assert_eq!(query.matches("instance=~\"$instance\"").count(), of_nodes, "{query}");
        }
    }
}

#[test]
fn the_panels_of_the_dashboard_fill_its_columns_without_overlapping() {
    let dashboard = dashboard();
    let mut cells = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(x + w <= 24, "{}", panel["title"]);
        for cell in (x..x + w).flat_map(|column| (y..y + h).map(move |row| (column, row))) {
            assert!(cells.insert(cell), "{} overlaps another panel", panel["title"]);
        }
    }
    let ids: BTreeSet<_> = panels(&dashboard).map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels(&dashboard).count());
    let titles: BTreeSet<_> = panels(&dashboard).map(|panel| panel["title"].as_str()).collect();
    assert_eq!(titles.len(), panels(&dashboard).count());
}

#[test]
fn the_dashboard_shows_exactly_the_metrics_of_a_node() {
    let mut shown = BTreeSet::new();
    for panel in panels(&dashboard()) {
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            let names = query.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
            shown.extend(names.filter(|name| name.starts_with("utilbot_")).map(str::to_owned));
        }
    }
    // This snapshot has every metric, as a line `name{labels} value`.
    let rendered =
        read("gateway-node/src/metrics/snapshots/gateway_node__metrics__tests__every_counter_is_rendered.snap");
    let counted: BTreeSet<_> = rendered
        .lines()
        .filter(|line| line.starts_with("utilbot_"))
        .map(|line| line.split(['{', ' ']).next().unwrap().to_owned())
        // The buckets of a histogram have what its sum and its count say.
        .filter(|name| !name.ends_with("_seconds_sum") && !name.ends_with("_seconds_count"))
        .collect();
    assert_eq!(shown, counted);
}

/// Runs promtool in `deploy` with this input, and asserts that it finds nothing.
async fn promtool(arguments: &[&str], input: &str) {
    let mut command = Command::new(tool("UTILBOT_TEST_PROMTOOL", "promtool"));
    command.args(arguments).current_dir(root().join("deploy"));
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    drop(stdin);
    let ran = within_time("promtool", PROMTOOL, child.wait_with_output())
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&ran.stdout) + String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "promtool {arguments:?}: {text}");
}

#[tokio::test]
async fn the_alerts_fire_and_stay_silent_as_their_examples_say() {
    promtool(&["check", "config", "--syntax-only", "prometheus.yml"], "").await;
    promtool(&["check", "rules", "alerts.yml"], "").await;
    promtool(&["test", "rules", "alerts_test.yml"], "").await;
}

#[test]
fn every_alert_has_an_example_of_firing_and_of_silence() {
    let rules = document("deploy/alerts.yml");
    let examples = document("deploy/alerts_test.yml");
    let examples: Vec<_> = examples["tests"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|test| test["alert_rule_test"].as_array().unwrap())
        .collect();
    for rule in rules["groups"][0]["rules"].as_array().unwrap() {
        let of_rule = examples.iter().filter(|example| example["alertname"] == rule["alert"]);
        let fires: BTreeSet<_> = of_rule
            .map(|example| !example["exp_alerts"].as_array().unwrap().is_empty())
            .collect();
        assert_eq!(fires, [false, true].into(), "{}", rule["alert"]);
    }
}

#[test]
fn alerts_use_only_metrics_that_a_node_has() {
    let rendered =
        read("gateway-node/src/metrics/snapshots/gateway_node__metrics__tests__every_counter_is_rendered.snap");
    for rule in document("deploy/alerts.yml")["groups"][0]["rules"].as_array().unwrap() {
        let query = rule["expr"].as_str().unwrap();
        let names = query.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
        for name in names.filter(|name| name.starts_with("utilbot_") || name.starts_with("process_")) {
            let is_known = rendered
                .lines()
                .any(|line| line.starts_with(&format!("{name} ")) || line.starts_with(&format!("{name}{{")));
            assert!(is_known, "{name} in {}", rule["alert"]);
        }
    }
}

#[tokio::test]
async fn promtool_finds_nothing_wrong_with_the_metrics_of_a_node() {
    let node = full_setup().start().await;
    drop(V1Client::session(&node, "bot", &key("bot")).await);
    publish(&node, &key("root"), &json!({ "t": "announce", "d": {} })).await;
    let text = get(&node, "/metrics").await.body;
    promtool(&["check", "metrics"], &text).await;
}
