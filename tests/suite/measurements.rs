//! What the metrics of a node say after traffic whose amount is known, and which metrics a fresh node has.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::Path,
};

use gateway_harness::{
    NodeProcess, Raw, RedisProcess, V1Client,
    discord::{ALL_INTENTS, DiscordClient},
    eventually, frame, full_setup, get, key, metric, publish, ready, request,
};
use nix::sys::signal::Signal;
use rcgen::{CertificateParams, KeyPair};
use serde_json::json;

use crate::{root, tls};

/// The seconds from the Unix epoch to the beginnings of 2040 and 2050.
const EXPIRIES: [(i32, u64); 2] = [(2040, 2_208_988_800), (2050, 2_524_608_000)];

/// A family: its type, and the names of its labels.
type Family = (String, BTreeSet<String>);

/// Returns the families that docs/metrics.md lists.
fn catalogue() -> BTreeMap<String, Family> {
    let page = fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let cells: Vec<_> = row.split(" | ").collect();
        let labels = cells[2].split(", ").map(|label| label.trim_matches('`').to_owned());
        let labels = labels.filter(|label| !label.is_empty()).collect();
        (cells[0].trim_matches('`').to_owned(), (cells[1].to_owned(), labels))
    })
    .collect()
}

/// Returns the families of a scrape in OpenMetrics that have a sample.
fn families(text: &str) -> BTreeMap<String, Family> {
    let mut families = BTreeMap::new();
    let mut kind = ("", "");
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            kind = rest.split_once(' ').unwrap();
        } else if !line.starts_with('#') {
            let (series, _) = line.rsplit_once(' ').unwrap();
            let (_, pairs) = series.split_once('{').unwrap_or((series, ""));
            let names = pairs
                .split("\",")
                .filter_map(|pair| pair.split_once("=\""))
                .map(|(name, _)| name);
            let names: BTreeSet<_> = names.filter(|name| *name != "le").map(str::to_owned).collect();
            let name = match kind.1 {
                "counter" => format!("{}_total", kind.0),
                "info" => format!("{}_info", kind.0),
                _ => kind.0.to_owned(),
            };
            families.insert(name, (kind.1.to_owned(), names));
        }
    }
    families
}

async fn scrape(address: SocketAddr) -> String {
    let accept = [("accept", "application/openmetrics-text")];
    request(address, "GET", "/metrics", &accept, "").await.body
}

fn admin(node: &NodeProcess) -> SocketAddr {
    node.banner()["admin_address"].as_str().unwrap().parse().unwrap()
}

/// Writes a chain whose issuer is valid until January 1 of `year` and its certificate for longer, and the key.
fn certify(folder: &Path, year: i32) {
    let until = |year| {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    };
    let ((certificate, key), (issuer, _)) = (until(year + 7), until(year));
    fs::write(folder.join("chain.pem"), certificate + &issuer).unwrap();
    fs::write(folder.join("key.pem"), key).unwrap();
}

#[tokio::test]
async fn a_fresh_node_has_every_metric_of_the_catalogue_and_no_other() {
    let redis = RedisProcess::start().await;
    let (node, _folder, _) =
        tls::secured_node_with(|setup| setup.redis(&redis.url()).set("admin.bind", "127.0.0.1:0")).await;
    let text = scrape(admin(&node)).await;
    assert_eq!(families(&text), catalogue());
    // Nothing has happened: no counter that is split by what clients do is above 0.
    for line in text
        .lines()
        .filter(|line| line.contains("_total{") && !line.contains("redis"))
    {
        assert!(line.ends_with(" 0"), "{line}");
    }
}

#[tokio::test]
async fn a_node_without_redis_and_tls_lacks_only_their_metrics() {
    let node = full_setup().start().await;
    let known = families(&scrape(node.address()).await);
    let catalogue = catalogue();
    let missing: Vec<_> = catalogue.keys().filter(|name| !known.contains_key(*name)).collect();
    let expected = [
        "utilbot_certificate_expiry_timestamp_seconds",
        "utilbot_log_repaired_entries_total",
        "utilbot_log_repairs_total",
        "utilbot_redis_errors_total",
        "utilbot_redis_script_seconds",
    ];
    assert_eq!(missing, expected.iter().collect::<Vec<_>>());
    assert!(known.iter().all(|(name, family)| catalogue[name] == *family));
}

/// Waits until a metric has this value.
async fn reaches(node: &NodeProcess, name: &str, value: u64) {
    let what = format!("{name} is {value}");
    eventually(&what, async || (metric(node, name).await == value).then_some(())).await;
}

/// The bytes that a frame of the node takes on the wire.
fn wire_bytes(payload: usize) -> u64 {
    let header = match payload {
        0..126 => 2,
        126..65_536 => 4,
        _ => 10,
    };
    (header + payload) as u64
}

/// A client on a bare socket that counts what it sends and reads.
struct Counted {
    raw: Raw,
    sent: [u64; 2],
    read: [u64; 2],
}

impl Counted {
    async fn send(&mut self, first: u8, payload: &[u8]) {
        let bytes = frame(first, payload);
        self.raw.send(&bytes).await;
        self.sent[0] += bytes.len() as u64;
        self.sent[1] += 1;
    }

    /// Reads one frame, and returns its payload.
    async fn read(&mut self) -> Vec<u8> {
        let frame = self.raw.frame().await.expect("a frame");
        self.read[0] += wire_bytes(frame.payload.len());
        self.read[1] += 1;
        frame.payload
    }
}

#[tokio::test]
async fn bytes_and_frames_are_those_of_the_sockets() {
    let node = full_setup().start().await;
    // A client that reads with a small buffer, and late, so that the node also writes parts of frames.
    let mut client = Counted {
        raw: Raw::open_small(node.address(), "/?v=1").await,
        sent: [0; 2],
        read: [0; 2],
    };
    let identify = json!({ "op": 1, "t": "identify", "d": { "type": "website", "key": key("website") } });
    client.send(0x81, identify.to_string().as_bytes()).await;
    for _ in 0..2 {
        client.read().await;
    }
    for padding in [10, 500, 70_000, 200_000, 3] {
        let d = json!({ "padding": "x".repeat(padding) });
        publish(&node, &key("root"), &json!({ "t": "announce", "d": d })).await;
    }
    reaches(&node, "utilbot_deliveries_total", 5).await;
    for _ in 0..5 {
        client.read().await;
    }
    client.send(0x89, b"ping").await;
    assert_eq!(client.read().await, b"ping");
    // A heartbeat in two fragments.
    let heartbeat = json!({ "op": 10 }).to_string();
    let (front, back) = heartbeat.as_bytes().split_at(4);
    client.send(0x01, front).await;
    client.send(0x80, back).await;
    client.read().await;
    for (direction, counts) in [("in", client.sent), ("out", client.read)] {
        for (what, count) in ["bytes", "frames"].iter().zip(counts) {
            reaches(
                &node,
                &format!("utilbot_websocket_{what}_total{{direction=\"{direction}\"}}"),
                count,
            )
            .await;
        }
    }
    reaches(&node, "utilbot_heartbeat_seconds_count", 1).await;
}

#[tokio::test]
async fn deliveries_writes_and_heartbeats_are_timed() {
    let node = full_setup().set("server.workers", 1).start().await;
    // Nobody receives it, so it comes into no outbox.
    publish(&node, &key("root"), &json!({ "t": "announce", "d": {} })).await;
    let mut website = V1Client::session(&node, "website", &key("website")).await;
    for n in 0..3 {
        publish(&node, &key("root"), &json!({ "t": "announce", "d": { "n": n } })).await;
        website.event("announce").await;
    }
    for _ in 0..4 {
        website.heartbeat().await;
    }
    reaches(&node, "utilbot_delivery_seconds_count", 3).await;
    reaches(&node, "utilbot_heartbeat_seconds_count", 4).await;
    // Hello, the connect success, three events and four answers.
    reaches(&node, "utilbot_outbox_wait_seconds_count", 9).await;
}

#[tokio::test]
async fn resumes_are_counted_by_result_and_timed() {
    let node = full_setup().start().await;
    let query = "v=10&encoding=json";
    let (client, hello) = DiscordClient::session(&node, query, &key("bot"), ALL_INTENTS).await;
    let id = hello["session_id"].as_str().unwrap().to_owned();
    drop(client);
    let mut again = DiscordClient::greeted(&node, query).await;
    again.resume(&key("bot"), &id, 1).await;
    again.dispatch_among_others("RESUMED").await;
    for (session, token, result) in [("123", key("bot"), "gone"), (&*id, "bot.wrong".to_owned(), "refused")] {
        let mut other = DiscordClient::greeted(&node, query).await;
        other.resume(&token, session, 1).await;
        reaches(&node, &format!("utilbot_resumes_total{{result=\"{result}\"}}"), 1).await;
    }
    reaches(&node, "utilbot_resumes_total{result=\"resumed\"}", 1).await;
    reaches(&node, "utilbot_resume_seconds_count", 1).await;
    reaches(&node, "utilbot_identify_seconds_count", 1).await;
}

#[tokio::test]
async fn the_replay_buffer_is_measured_and_its_evictions_are_counted() {
    let node = full_setup().set("cluster.log_entries", 10).start().await;
    let bytes = "utilbot_replay_buffer_bytes{application=\"utilbot\"}";
    let before = metric(&node, bytes).await;
    let event = json!({ "t": "announce", "d": { "padding": "x".repeat(1000) } });
    for _ in 0..14 {
        publish(&node, &key("root"), &event).await;
    }
    let evictions = "utilbot_replay_buffer_evictions_total{application=\"utilbot\",reason=\"entries\"}";
    reaches(&node, evictions, 4).await;
    let grown = metric(&node, bytes).await - before;
    assert!(
        (10_000..20_000).contains(&grown),
        "{grown} bytes for 10 events of 1,000 bytes"
    );
}

#[tokio::test]
async fn calls_and_errors_of_redis_and_held_events_are_counted() {
    let mut redis = RedisProcess::start().await;
    let setup = full_setup().redis(&redis.url()).set("cluster.lease_ms", 1000);
    let node = setup.set("server.workers", 1).start().await;
    ready(&node).await;
    let mut website = V1Client::session(&node, "website", &key("website")).await;
    let mut other = V1Client::session(&node, "website", &key("website")).await;
    let calls = "utilbot_redis_script_seconds_count{script=\"publish_broadcasts\"}";
    for n in 1..=3 {
        publish(&node, &key("root"), &json!({ "t": "announce", "d": {} })).await;
        assert_eq!(metric(&node, calls).await, n);
        other.event("announce").await;
    }
    // Accepted and delivered here: timed from the acceptance on.
    reaches(&node, "utilbot_delivery_seconds_count", 3).await;
    redis.stop().await;
    reaches(&node, "utilbot_backplane_available", 0).await;
    let errors = "utilbot_redis_errors_total{reason=\"unreachable\"}";
    eventually("the errors are counted", async || {
        (metric(&node, errors).await > 0).then_some(())
    })
    .await;
    website.send_event("announce", &json!({})).await;
    eventually("an event waits for Redis", async || {
        (metric(&node, "utilbot_hold_bytes").await > 0).then_some(())
    })
    .await;
    redis.restart().await;
    other.event("announce").await;
    reaches(&node, "utilbot_hold_bytes", 0).await;
    reaches(&node, "utilbot_log_lag{application=\"utilbot\"}", 0).await;
}

#[tokio::test]
async fn events_that_redis_did_not_send_are_counted_as_repairs() {
    let redis = RedisProcess::start().await;
    let node = full_setup()
        .redis(&redis.url())
        .set("cluster.lease_ms", 1000)
        .start()
        .await;
    ready(&node).await;
    let mut bot = V1Client::session(&node, "bot", &key("bot")).await;
    publish(&node, &key("root"), &json!({ "t": "announce", "d": { "n": 0 } })).await;
    bot.event_among_others("announce").await;
    let repaired = "utilbot_log_repaired_entries_total";
    let mut published = 0;
    eventually(
        "an event that was published without a subscriber is read from the log",
        async || {
            redis.kill_pubsub_clients().await;
            publish(&node, &key("root"), &json!({ "t": "announce", "d": { "n": 1 } })).await;
            published += 1;
            bot.event_among_others("announce").await;
            (metric(&node, repaired).await > 0).then_some(())
        },
    )
    .await;
    let (repairs, entries) = (
        metric(&node, "utilbot_log_repairs_total").await,
        metric(&node, repaired).await,
    );
    assert!(
        (1..=entries).contains(&repairs) && entries <= published,
        "{repairs} repairs of {entries} entries"
    );
}

#[tokio::test]
async fn the_expiry_of_a_certificate_is_that_of_the_file_also_after_a_reload() {
    let folder = tempfile::tempdir().unwrap();
    let expiry = "utilbot_certificate_expiry_timestamp_seconds{certificate=\"server\"}";
    let [(first, first_seconds), (second, second_seconds)] = EXPIRIES;
    certify(folder.path(), first);
    let node = full_setup()
        .set("server.tls.certificate", folder.path().join("chain.pem").display())
        .set("server.tls.key", folder.path().join("key.pem").display())
        .set("admin.bind", "127.0.0.1:0")
        .start()
        .await;
    let address = admin(&node);
    let shows = async |seconds: u64| scrape(address).await.contains(&format!("{expiry} {seconds}\n"));
    assert!(shows(first_seconds).await);
    certify(folder.path(), second);
    node.signal(Signal::SIGHUP);
    eventually("the new certificate's expiry", async || {
        shows(second_seconds).await.then_some(())
    })
    .await;
}

#[tokio::test]
async fn bytes_queued_for_slow_clients_and_their_evictions_are_counted() {
    let node = full_setup()
        .set("limits.outbox_bytes", 8 << 20)
        .set("limits.outbox_age_ms", 600_000)
        .start()
        .await;
    let mut reader = Raw::open_small(node.address(), "/?v=1").await;
    let identify = json!({ "op": 1, "t": "identify", "d": { "type": "website", "key": key("website") } });
    reader.send_text(&identify.to_string()).await;
    for _ in 0..2 {
        reader.frame().await.unwrap();
    }
    let event = json!({ "t": "announce", "d": { "padding": "x".repeat(500_000) } });
    let evictions = "utilbot_outbox_evictions_total{reason=\"bytes\"}";
    let mut largest = 0;
    eventually("the reader is evicted", async || {
        publish(&node, &key("root"), &event).await;
        largest = largest.max(metric(&node, "utilbot_largest_outbox_bytes").await);
        (metric(&node, evictions).await == 1).then_some(())
    })
    .await;
    assert!(
        (500_000..=9 << 20).contains(&largest),
        "{largest} bytes in the largest outbox"
    );
    assert_eq!(get(&node, "/livez").await.status, 200);
}
