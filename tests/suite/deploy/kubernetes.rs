//! `deploy/kubernetes.yaml`: probes, rollout, and time to drain.

use serde_json::Value;

use super::{Environment, documents, duration, settings, time_to_drain};

fn object(kind: &str) -> Value {
    let objects = documents("deploy/kubernetes.yaml");
    let found = objects.into_iter().find(|object| object["kind"] == kind);
    found.unwrap_or_else(|| panic!("no {kind}"))
}

fn pod() -> Value {
    object("Deployment")["spec"]["template"]["spec"].clone()
}

fn environment() -> Environment {
    let pod = pod();
    let variables = pod["containers"][0]["env"].as_array().unwrap();
    let values = variables.iter().filter_map(|variable| {
        let value = variable["value"].as_str()?;
        Some((variable["name"].as_str().unwrap().to_owned(), value.to_owned()))
    });
    values.collect()
}

#[tokio::test]
async fn a_pod_has_time_to_drain() {
    let settings = settings(&environment()).await;
    let grace = duration(&pod()["terminationGracePeriodSeconds"].to_string());
    assert!(grace > time_to_drain(&settings), "{grace:?}");

    let probe = &pod()["containers"][0]["readinessProbe"];
    let notices = probe["periodSeconds"].as_i64().unwrap() * probe["failureThreshold"].as_i64().unwrap();
    assert!(settings["drain"]["balancer_wait_ms"].as_integer().unwrap() > notices * 1000);
}

#[test]
fn only_readiness_depends_on_redis() {
    let container = &pod()["containers"][0];
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/readyz");
    assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/livez");
}

#[test]
fn three_nodes_are_replaced_one_at_a_time() {
    let deployment = object("Deployment");
    assert_eq!(deployment["spec"]["replicas"], 3);
    assert_eq!(deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"], 0);
    assert_eq!(object("PodDisruptionBudget")["spec"]["maxUnavailable"], 1);
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&deployment["spec"]["selector"]["matchLabels"], labels);
    assert_eq!(&object("Service")["spec"]["selector"], labels);
    assert_eq!(
        &object("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        labels
    );
}

#[test]
fn the_configuration_is_mounted_where_the_image_reads_it() {
    let pod = pod();
    let mount = &pod["containers"][0]["volumeMounts"][0];
    assert_eq!(mount["mountPath"], "/etc/utilbot");
    assert_eq!(mount["name"], pod["volumes"][0]["name"]);
    assert_eq!(pod["volumes"][0]["secret"]["items"][0]["path"], "gateway.toml");
    let ports = pod["containers"][0]["ports"].as_array().unwrap();
    assert_eq!(ports[0]["containerPort"], 8080);
}
