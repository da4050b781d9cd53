//! Fires every alert of `deploy/alerts.yml` by its condition: real nodes, a real Redis, and a real Prometheus.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    num::NonZero,
    path::Path,
    time::{Duration, SystemTime},
};

use gateway_harness::{
    Alert, NodeProcess, PacketEncoding, Prometheus, Proxy, Raw, RedisProcess, Setup, V1Client, ask, eventually,
    full_setup, key, metric, post, publish, ready,
};
use nix::sys::signal::Signal;
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

use super::{document, read};

/// How long a condition has to hold in this test (`for:`), and the window of every rate and increase.
const HOLDS: &str = "2s";
const WINDOW: &str = "20s";

/// The most connections of the node that fills up.
const CONNECTIONS: usize = 20;
/// The descriptors of the node that runs out of them, and the connections that it gets from each of two addresses.
const DESCRIPTORS: u64 = 1000;
const FROM_EACH_ADDRESS: usize = 445;
/// The sessions that read nothing: more than the alert tolerates.
const SLOW_READERS: usize = 14;

/// How long the node whose Redis fails holds an event before it refuses it.
const HOLD_MS: u64 = 100;

/// Jobs with a single attempt.
const BRIEF: &str = r#"
[[events]]
name = "brief"
from = ["service"]
to = ["bot"]
deliver = "any"
ack_timeout_ms = 50
attempts = 1
"#;

/// Each alert with the node at which it fires. That of the descriptors is nearly full, too.
const FIRED: [(&str, &str); 14] = [
    ("GatewayCertificateExpires", "certificate"),
    ("GatewayClientsTooSlow", "slow-readers"),
    ("GatewayEventsLost", "bad-redis"),
    ("GatewayEventsMissed", "short-log"),
    ("GatewayFull", "full"),
    ("GatewayJobsUndeliverable", "jobs"),
    ("GatewayLagging", "narrow-link"),
    ("GatewayNearlyFull", "descriptors"),
    ("GatewayNearlyFull", "full"),
    ("GatewayNodeDown", "killed"),
    ("GatewayOutOfDescriptors", "descriptors"),
    ("GatewayPublishingSlowly", "slow-link"),
    ("GatewayRedisUnavailable", "bad-redis"),
    ("GatewayRefusingEvents", "bad-redis"),
];

/// Returns the rules of `deploy/alerts.yml` with shorter times.
fn short_rules() -> String {
    let mut rules = String::new();
    for line in read("deploy/alerts.yml").lines() {
        if let Some((indent, _)) = line.split_once("for: ") {
            rules.extend([indent, "for: ", HOLDS]);
        } else if line.contains("expr: ") {
            let mut parts = line.split('[');
            rules.extend(parts.next());
            for part in parts {
                let (_, rest) = part.split_once(']').unwrap_or_else(|| panic!("{line}"));
                rules.extend(["[", WINDOW, "]", rest]);
            }
        } else {
            rules.push_str(line);
        }
        rules.push('\n');
    }
    rules
}

/// Starts a node with an administration listener, which responds even on a full node.
async fn start(setup: Setup) -> NodeProcess {
    let node = setup
        .set("admin.bind", "127.0.0.1:0")
        .set("cluster.lease_ms", 3000)
        .start()
        .await;
    ready(&node).await;
    node
}

/// Writes a certificate that is valid for this many days, and its key.
fn write_certificate(folder: &Path, days: u64) {
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_after = (SystemTime::now() + Duration::from_secs(days * 86_400)).into();
    let key = KeyPair::generate().unwrap();
    std::fs::write(folder.join("chain.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
}

/// Starts a node with the certificate in this folder.
async fn start_with_certificate(folder: &Path) -> NodeProcess {
    let node = full_setup()
        .set("admin.bind", "127.0.0.1:0")
        .set("server.tls.certificate", folder.join("chain.pem").display())
        .set("server.tls.key", folder.join("key.pem").display())
        .start()
        .await;
    node.logged("ready for clients").await;
    node
}

async fn start_behind(proxy: &Proxy) -> NodeProcess {
    start(full_setup().redis(&format!("redis://{}/", proxy.address()))).await
}

fn address(server: &RedisProcess) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], server.port()))
}

async fn is_firing(prometheus: &Prometheus, name: &str, instance: &str) -> bool {
    let alert = Alert {
        name: name.to_owned(),
        instance: instance.to_owned(),
        is_firing: true,
    };
    prometheus.alerts().await.contains(&alert)
}

async fn fires(prometheus: &Prometheus, name: &str, instance: &str) {
    eventually(&format!("{name} at {instance}"), async || {
        is_firing(prometheus, name, instance).await.then_some(())
    })
    .await;
}

fn batch(count: usize, padding: usize) -> String {
    let event = json!({ "t": "announce", "d": { "padding": "x".repeat(padding) } });
    json!(vec![event; count]).to_string()
}

/// Opens WebSockets from this address of the loopback network, without identifying.
async fn crowd(node: &NodeProcess, last: u8, count: usize) -> Vec<Raw> {
    let mut crowd = Vec::new();
    for _ in 0..count {
        let connection = Raw::connect_from([127, 0, 0, last].into(), node.address()).await;
        let mut connection = connection.expect("the node has room");
        connection.request("/?v=1", &[]).await;
        let head = connection.head_of_answer().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        crowd.push(connection);
    }
    crowd
}

async fn a_node_dies(prometheus: &Prometheus, node: &NodeProcess) {
    node.signal(Signal::SIGKILL);
    fires(prometheus, "GatewayNodeDown", "killed").await;
}

/// Redis stops, and comes back without the latest events.
async fn redis_fails(prometheus: &Prometheus, node: &NodeProcess, server: &mut RedisProcess) {
    let mut website = V1Client::session(node, "website", &key("website")).await;
    let kept = server.log_bytes();
    for _ in 0..5 {
        eventually("an accepted event", async || {
            // On a busy machine, even a healthy Redis may take longer than events are held.
            let answer = post(node, &key("service"), r#"{"t":"announce","d":{}}"#).await;
            (answer.status == 202).then_some(())
        })
        .await;
        website.event("announce").await;
    }
    server.kill().await;
    fires(prometheus, "GatewayRedisUnavailable", "bad-redis").await;
    eventually("GatewayRefusingEvents at bad-redis", async || {
        let answer = post(node, &key("service"), r#"{"t":"announce","d":{}}"#).await;
        assert_eq!(answer.status, 503, "{answer:?}");
        is_firing(prometheus, "GatewayRefusingEvents", "bad-redis")
            .await
            .then_some(())
    })
    .await;
    let length = server.log_bytes();
    server.truncate_log(length - kept);
    server.restart().await;
    fires(prometheus, "GatewayEventsLost", "bad-redis").await;
}

/// One node publishes more than the connection of another one to Redis can carry.
async fn a_link_is_narrow(prometheus: &Prometheus, near: &NodeProcess, far: &NodeProcess, proxy: &Proxy) {
    const BYTES_PER_SECOND: NonZero<u32> = NonZero::new(100_000).unwrap();
    let website = V1Client::session(far, "website", &key("website")).await;
    proxy.throttle(BYTES_PER_SECOND);
    for _ in 0..30 {
        let answer = post(near, &key("service"), &batch(100, 500)).await;
        assert_eq!(answer.status, 202, "{answer:?}");
    }
    fires(prometheus, "GatewayLagging", "narrow-link").await;
    proxy.heal();
    drop(website);
}

async fn a_link_is_slow(prometheus: &Prometheus, node: &NodeProcess, proxy: &Proxy) {
    // Redis may take 2 s before it counts as unavailable.
    proxy.delay(Duration::from_millis(400));
    eventually("GatewayPublishingSlowly at slow-link", async || {
        let answer = post(node, &key("service"), r#"{"t":"announce","d":{}}"#).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        is_firing(prometheus, "GatewayPublishingSlowly", "slow-link")
            .await
            .then_some(())
    })
    .await;
    proxy.heal();
}

async fn a_node_fills_up(prometheus: &Prometheus, node: &NodeProcess) {
    let nearly = crowd(node, 1, CONNECTIONS - 1).await;
    fires(prometheus, "GatewayNearlyFull", "full").await;
    let last = crowd(node, 1, 1).await;
    eventually("GatewayFull at full", async || {
        // The response may be missing: only some refused connections get one.
        if let Ok(answer) = ask(node.address(), "GET", "/health", &[], "").await {
            assert_eq!(answer.status, 503, "{answer:?}");
        }
        is_firing(prometheus, "GatewayFull", "full").await.then_some(())
    })
    .await;
    drop((nearly, last));
}

async fn descriptors_run_out(prometheus: &Prometheus, node: &NodeProcess) {
    // Connections without a key never hold more than half of the descriptors from one address.
    let crowds = [
        crowd(node, 2, FROM_EACH_ADDRESS).await,
        crowd(node, 3, FROM_EACH_ADDRESS).await,
    ];
    fires(prometheus, "GatewayOutOfDescriptors", "descriptors").await;
    fires(prometheus, "GatewayNearlyFull", "descriptors").await;
    drop(crowds);
}

async fn clients_read_too_slowly(prometheus: &Prometheus, node: &NodeProcess) {
    let identify = json!({ "op": 1, "t": "identify", "d": { "type": "website", "key": key("website") } }).to_string();
    let mut readers = Vec::new();
    for _ in 0..SLOW_READERS {
        let mut reader = Raw::open_small(node.address(), "/?v=1").await;
        reader.send_text(&identify).await;
        // Hello and the connect success. The client reads nothing after them.
        for _ in 0..2 {
            assert_eq!(reader.frame().await.unwrap().opcode, 1);
        }
        readers.push(reader);
    }
    let large = batch(15, 60_000);
    eventually("every slow reader is evicted", async || {
        post(node, &key("service"), &large).await;
        let evicted = metric(node, r#"utilbot_session_endings_total{reason="reads too slowly"}"#).await;
        (evicted == SLOW_READERS as u64).then_some(())
    })
    .await;
    fires(prometheus, "GatewayClientsTooSlow", "slow-readers").await;
}

async fn a_job_uses_up_its_attempts(prometheus: &Prometheus, node: &NodeProcess) {
    let mut worker = V1Client::greeted(node, PacketEncoding::Plain).await;
    worker.expect_requests();
    let identify = json!({ "type": "bot", "key": key("bot"), "jobs": 1 });
    worker.send_event("identify", &identify).await;
    worker.event("bot_connect_success").await;
    publish(node, &key("service"), &json!({ "t": "brief", "d": {} })).await;
    fires(prometheus, "GatewayJobsUndeliverable", "jobs").await;
}

async fn a_client_comes_back_too_late(prometheus: &Prometheus, node: &NodeProcess) {
    let event = json!({ "t": "announce", "d": {} });
    let receiver = V1Client::session(node, "website", &key("website")).await;
    let first = publish(node, &key("service"), &event).await["position"].clone();
    drop(receiver);
    let answer = post(node, &key("service"), &batch(200, 1)).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let mut client = V1Client::greeted(node, PacketEncoding::Plain).await;
    let identify = json!({ "type": "website", "key": key("website"), "after": first });
    client.send_event("identify", &identify).await;
    client.event("website_connect_success").await;
    client.event("events_lost").await;
    fires(prometheus, "GatewayEventsMissed", "short-log").await;
}

/// The certificate is replaced by one that expires soon.
async fn a_certificate_expires(prometheus: &Prometheus, node: &NodeProcess, folder: &Path) {
    write_certificate(folder, 3);
    node.signal(Signal::SIGHUP);
    fires(prometheus, "GatewayCertificateExpires", "certificate").await;
}

/// Waits until the rules have been evaluated on a scrape of every node.
async fn watched(prometheus: &Prometheus, nodes: usize) {
    eventually("an evaluation with every node", async || {
        let up = prometheus.query(&format!("test:nodes_up == {nodes}")).await;
        (!up.is_empty()).then_some(())
    })
    .await;
}

// Runs alone: a busy machine is a condition of some of these alerts.
#[tokio::test]
async fn load_every_alert_fires_by_its_condition_and_is_silent_without_it() {
    let (shared, mut failing) = tokio::join!(RedisProcess::start_with(&[]), RedisProcess::start_with(&[]));
    let (narrow, slow) = tokio::join!(Proxy::start(address(&shared)), Proxy::start(address(&shared)));
    let small = full_setup().set("server.workers", 1);
    let certificate = tempfile::tempdir().unwrap();
    write_certificate(certificate.path(), 60);
    let nodes = tokio::join!(
        start(full_setup()),
        start(full_setup().redis(&failing.url()).set("cluster.hold_ms", HOLD_MS)),
        start(full_setup().redis(&shared.url())),
        start_behind(&narrow),
        start_behind(&slow),
        start(full_setup().set("limits.connections", CONNECTIONS)),
        start(small.descriptors(DESCRIPTORS)),
        start(full_setup().set("limits.outbox_bytes", 300_000)),
        start(full_setup().more(BRIEF)),
        start(full_setup().set("cluster.log_entries", 64)),
        start_with_certificate(certificate.path()),
    );
    let targets = [
        ("killed", &nodes.0),
        ("bad-redis", &nodes.1),
        ("healthy", &nodes.2),
        ("narrow-link", &nodes.3),
        ("slow-link", &nodes.4),
        ("full", &nodes.5),
        ("descriptors", &nodes.6),
        ("slow-readers", &nodes.7),
        ("jobs", &nodes.8),
        ("short-log", &nodes.9),
        ("certificate", &nodes.10),
    ];
    let scraped = targets.map(|(name, node)| {
        let admin = node.banner()["admin_address"].as_str().unwrap();
        (name, admin.parse().unwrap())
    });
    let rules = short_rules() + "      - record: test:nodes_up\n        expr: count(up == 1)\n";
    let prometheus = &Prometheus::start(&rules, &scraped).await;
    watched(prometheus, targets.len()).await;
    assert_eq!(prometheus.alerts().await, BTreeSet::new(), "no condition holds yet");

    tokio::join!(
        a_node_dies(prometheus, &nodes.0),
        redis_fails(prometheus, &nodes.1, &mut failing),
        a_link_is_narrow(prometheus, &nodes.2, &nodes.3, &narrow),
        a_link_is_slow(prometheus, &nodes.4, &slow),
        a_node_fills_up(prometheus, &nodes.5),
        descriptors_run_out(prometheus, &nodes.6),
        clients_read_too_slowly(prometheus, &nodes.7),
        a_job_uses_up_its_attempts(prometheus, &nodes.8),
        a_client_comes_back_too_late(prometheus, &nodes.9),
        a_certificate_expires(prometheus, &nodes.10, certificate.path()),
    );

    let ever = prometheus
        .query(r#"group by (alertname, instance) (last_over_time(ALERTS{alertstate="firing"}[10m]))"#)
        .await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let fired: BTreeSet<_> = ever
        .iter()
        .map(|(labels, _)| (text(&labels["alertname"]), text(&labels["instance"])))
        // A node without Redis holds events, so they are accepted late. So are those of any node on a busy machine.
        .filter(|(name, instance)| name != "GatewayPublishingSlowly" || instance == "slow-link")
        .collect();
    let expected: BTreeSet<_> = FIRED.map(|(name, node)| (name.to_owned(), node.to_owned())).into();
    assert_eq!(fired, expected, "each alert at its node and at no other");
    let known: BTreeSet<_> = document("deploy/alerts.yml")["groups"][0]["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| text(&rule["alert"]))
        .collect();
    let names: BTreeSet<_> = FIRED.map(|(name, _)| name.to_owned()).into();
    assert_eq!(names, known, "every alert of the file");
}
