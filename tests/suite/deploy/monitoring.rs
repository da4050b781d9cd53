//! Prometheus and Grafana: scrape targets, data source, and the metrics on the dashboard.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    compose::{Compose, environment},
    document, read, settings,
};

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

#[test]
fn the_dashboard_shows_exactly_the_metrics_of_a_node() {
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana/gateway.json")).unwrap();
    let source = document("deploy/grafana/datasources.yml")["datasources"][0]["uid"].clone();
    let mut shown = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert_eq!(panel["datasource"]["uid"], source, "{}", panel["title"]);
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
