//! `docker-compose.yml`: a cluster whose services wait until their dependencies are healthy.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Environment, document, duration, root, settings, time_to_drain};

/// The services that `docker-compose up` starts without a profile.
const CLUSTER: [&str; 6] = ["balancer", "node-1", "node-2", "node-3", "redis", "setup"];

pub(super) struct Compose(Value);

impl Compose {
    pub(super) fn read() -> Self {
        Self(document("docker-compose.yml"))
    }

    fn services(&self) -> &Map<String, Value> {
        self.0["services"].as_object().unwrap()
    }

    pub(super) fn service(&self, name: &str) -> &Value {
        &self.services()[name]
    }

    /// Returns the services that run a node, by name.
    pub(super) fn nodes(&self) -> BTreeMap<&str, &Value> {
        let nodes: BTreeMap<_, _> = self
            .services()
            .iter()
            .filter(|(_, service)| service["image"] == "utilbot-gateway" && service.get("entrypoint").is_none())
            .map(|(name, service)| (name.as_str(), service))
            .collect();
        assert_eq!(nodes.len(), 3);
        nodes
    }
}

/// Replaces each `${NAME:-default}` by its default, as Compose does if the variable is not set.
fn interpolated(text: &str) -> String {
    let Some((before, rest)) = text.split_once("${") else {
        return text.to_owned();
    };
    let (variable, after) = rest.split_once('}').unwrap();
    let (_, default) = variable
        .split_once(":-")
        .unwrap_or_else(|| panic!("{text} has no default"));
    format!("{before}{default}{}", interpolated(after))
}

/// Returns the environment that a node's service sets.
pub(super) fn environment(service: &Value) -> Environment {
    let values = service["environment"].as_object().unwrap();
    values
        .iter()
        .map(|(name, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), interpolated);
            (name.clone(), text)
        })
        .collect()
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array()
        .map(|list| list.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default()
}

#[test]
fn the_file_version_suits_both_compose_tools() {
    assert_eq!(document("docker-compose.yml")["version"], "3.8");
}

#[tokio::test]
async fn every_node_has_time_to_drain() {
    for (name, service) in Compose::read().nodes() {
        let settings = settings(&environment(service)).await;
        let grace = duration(service["stop_grace_period"].as_str().unwrap());
        assert!(grace > time_to_drain(&settings), "{name}: {grace:?}");
        assert_eq!(service["stop_signal"], "SIGTERM", "{name}");
    }
}

#[tokio::test]
async fn the_nodes_differ_only_in_their_names() {
    let compose = Compose::read();
    let mut without_names = Vec::new();
    for (name, service) in compose.nodes() {
        let mut service = service.clone();
        let settings = settings(&environment(&service)).await;
        assert_eq!(settings["node"]["name"].as_str(), Some(name));
        assert_eq!(service["environment"]["UTILBOT__REDIS__URL"], "redis://redis:6379/");
        service["environment"]
            .as_object_mut()
            .unwrap()
            .remove("UTILBOT__NODE__NAME");
        without_names.push(service);
    }
    assert!(without_names.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn services_wait_for_healthy_dependencies() {
    let compose = Compose::read();
    let waits = |service: &str, needed: &str, condition: &str| {
        let found = &compose.service(service)["depends_on"][needed]["condition"];
        assert_eq!(found, condition, "{service} on {needed}");
    };
    for node in compose.nodes().keys() {
        waits(node, "setup", "service_completed_successfully");
        waits(node, "redis", "service_healthy");
        waits("balancer", node, "service_healthy");
    }
    waits("connect", "balancer", "service_healthy");
    for name in CLUSTER.into_iter().filter(|name| *name != "setup") {
        let service = compose.service(name);
        assert!(strings(&service["healthcheck"]["test"]).len() > 1, "{name}");
        assert_eq!(service["restart"], "unless-stopped", "{name}");
    }
    for (name, node) in compose.nodes() {
        let test = strings(&node["healthcheck"]["test"]).join(" ");
        assert!(test.starts_with("CMD gateway-node healthcheck"), "{name}: {test}");
    }
}

#[test]
fn services_outside_the_cluster_need_a_profile() {
    let compose = Compose::read();
    let mut cluster: Vec<_> = compose
        .services()
        .iter()
        .filter(|(_, service)| service.get("profiles").is_none())
        .map(|(name, _)| name.as_str())
        .collect();
    cluster.sort_unstable();
    assert_eq!(cluster, CLUSTER);
}

#[test]
fn ports_are_published_on_loopback_by_the_balancer_and_grafana_only() {
    for (name, service) in Compose::read().services() {
        let ports = strings(&service["ports"]);
        assert_eq!(
            ports.is_empty(),
            !["balancer", "grafana"].contains(&name.as_str()),
            "{name}"
        );
        assert!(
            ports.iter().all(|port| port.starts_with("127.0.0.1:")),
            "{name}: {ports:?}"
        );
        assert!(service.get("network_mode").is_none_or(|mode| mode == "none"), "{name}");
    }
}

#[test]
fn only_nodes_reach_redis() {
    let compose = Compose::read();
    assert_eq!(compose.0["networks"]["back"]["internal"], true);
    let mut nodes: Vec<_> = compose.nodes().into_keys().collect();
    nodes.push("redis");
    for (name, service) in compose.services() {
        let is_on_it = strings(&service["networks"]).contains(&"back");
        assert_eq!(is_on_it, nodes.contains(&name.as_str()), "{name}");
    }
}

#[test]
fn redis_persists_its_data_and_does_not_evict() {
    let compose = Compose::read();
    let redis = compose.service("redis");
    let command = strings(&redis["command"]).join(" ");
    for option in ["--appendonly yes", "--maxmemory-policy noeviction"] {
        assert!(command.contains(option), "{option} in {command}");
    }
    assert_eq!(strings(&redis["volumes"]), ["redis:/data"]);
    assert!(compose.0["volumes"].as_object().unwrap().contains_key("redis"));
}

#[tokio::test]
async fn the_nodes_trust_the_network_of_the_balancer() {
    let compose = Compose::read();
    let subnet = compose.0["networks"]["front"]["ipam"]["config"][0]["subnet"]
        .as_str()
        .unwrap();
    for (name, service) in compose.nodes() {
        let settings = settings(&environment(service)).await;
        let trusted = settings["server"]["trusted_proxies"].as_array().unwrap();
        assert_eq!(trusted[0].as_str(), Some(interpolated(subnet).as_str()), "{name}");
        // Both use the same variable, so they change together.
        assert_eq!(
            service["environment"]["UTILBOT__SERVER__TRUSTED_PROXIES"], subnet,
            "{name}"
        );
    }
}

#[test]
fn images_have_a_version_and_mounted_files_exist() {
    for (name, service) in Compose::read().services() {
        let image = service["image"].as_str().unwrap();
        if image == "utilbot-gateway" {
            assert_eq!(service["build"]["dockerfile"], "deploy/Dockerfile", "{name}");
        } else {
            let (_, tag) = image
                .split_once(':')
                .unwrap_or_else(|| panic!("{name}: {image} has no tag"));
            assert!(tag.contains(|char: char| char.is_ascii_digit()), "{name}: {image}");
        }
        for volume in strings(&service["volumes"]) {
            let (host, _) = volume.split_once(':').unwrap();
            let there = !host.starts_with('.') || root().join(host).exists();
            assert!(there, "{name}: {host} does not exist");
        }
    }
}
