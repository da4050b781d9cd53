//! Tests with a thousand sockets or more. Each runs alone.

use std::time::{Duration, Instant};

use gateway_harness::{
    NodeProcess, PacketEncoding, Raw, Setup, V1Client, WAIT, eventually, full_setup, key, metric, post, publish,
};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::drain::{assert_spread, restart_times};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn load_a_drain_of_1000_sessions_is_spread_despite_stuck_clients() {
    const SPREAD_MS: u64 = 4000;
    const DEADLINE: Duration = Duration::from_secs(12);
    let mut node = Setup::new()
        .set("limits.connections_per_address", 2000)
        .set("drain.spread_ms", SPREAD_MS)
        .set("drain.deadline_ms", DEADLINE.as_millis())
        .start()
        .await;
    let key = node.development_key();
    let mut clients = Vec::new();
    for index in 0..950 {
        let kind = ["bot", "website", "service"][index % 3];
        clients.push(V1Client::session_in(&node, kind, &key, PacketEncoding::ALL[index % 2]).await);
    }
    let mut stuck = Vec::new();
    for _ in 0..50 {
        stuck.push(Raw::open_small(node.address(), "/?v=1").await);
    }
    let begin = Instant::now();
    node.signal(Signal::SIGTERM);
    let times = restart_times(clients, begin).await;
    assert_eq!(times.len(), 950);
    assert_spread(&times, Duration::from_millis(SPREAD_MS));
    assert!(node.ended(WAIT).await.success());
    assert!(begin.elapsed() < DEADLINE, "{:?}", begin.elapsed());
    drop(stuck);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn load_an_event_reaches_2000_sessions_once() {
    const SESSIONS: u64 = 2000;
    const EVENTS: u64 = 20;
    let node = full_setup().set("limits.connections_per_address", 5000).start().await;
    let mut clients = Vec::new();
    for index in 0..SESSIONS {
        let encoding = PacketEncoding::ALL[usize::from(index % 2 == 1)];
        clients.push(V1Client::session_in(&node, "website", &key("website"), encoding).await);
    }
    for n in 0..EVENTS {
        publish(&node, &key("service"), &json!({ "t": "announce", "d": { "n": n } })).await;
    }
    for client in &mut clients {
        for n in 0..EVENTS {
            assert_eq!(client.event("announce").await["n"], n);
        }
    }
    assert_eq!(metric(&node, "utilbot_deliveries_total").await, SESSIONS * EVENTS);
    let passes = metric(&node, "utilbot_delivery_passes_total").await;
    assert!((1..=EVENTS).contains(&passes), "{passes} passes");
    assert_eq!(metric(&node, "utilbot_encoded_text_total").await, EVENTS);
    assert_eq!(metric(&node, "utilbot_encoded_zlib_total").await, EVENTS);
    assert_eq!(metric(&node, "utilbot_sessions{kind=\"website\"}").await, SESSIONS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn load_a_flood_without_identify_is_closed_without_affecting_others() {
    let node = full_setup()
        .set("limits.connections_per_address", 5000)
        .set("session.identify_timeout_ms", 4000)
        .start()
        .await;
    let mut bot = V1Client::session(&node, "bot", &key("bot")).await;
    let mut flood = Vec::new();
    for _ in 0..1500 {
        flood.push(V1Client::greeted(&node, PacketEncoding::Plain).await);
        if flood.len() % 100 == 0 {
            bot.heartbeat().await;
        }
    }
    let mut website = V1Client::session(&node, "website", &key("website")).await;
    website.send_event("announce", &json!({ "n": 1 })).await;
    bot.event("announce").await;
    for client in &mut flood {
        client.error(4007, 4007).await;
    }
    bot.heartbeat().await;
}

/// Opens clients that stop reading, publishes events until all of them are evicted, and drops them.
async fn wave_of_stopped_readers(node: &NodeProcess, evicted: u64) {
    const READERS: u64 = 50;
    let identify = json!({ "op": 1, "t": "identify", "d": { "type": "website", "key": key("website") } });
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let mut reader = Raw::open_small(node.address(), "/?v=1").await;
        reader.send_text(&identify.to_string()).await;
        for _ in 0..2 {
            assert_eq!(reader.frame().await.unwrap().opcode, 1);
        }
        readers.push(reader);
    }
    let event = json!({ "t": "announce", "d": { "padding": "x".repeat(60_000) } });
    let batch = json!(vec![event; 15]).to_string();
    eventually("every stopped reader is evicted", async || {
        let answer = post(node, &key("service"), &batch).await;
        assert!([202, 503].contains(&answer.status), "{answer:?}");
        let count = metric(node, "utilbot_sessions_ended_total{code=\"1013\"}").await;
        (count == evicted + READERS).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn load_later_waves_of_stopped_readers_need_no_more_memory() {
    /// How much freed memory a node may keep before it returns it to the system, in KiB. One wave frees 8 MiB, which
    /// its readers' outboxes held.
    const KEPT_KIB: u64 = 32 * 1024;
    const WAVES: u64 = 12;
    // The log keeps the latest events, which is not what this is about.
    let node = full_setup().set("cluster.log_bytes", 1 << 20).start().await;
    let mut healthy = V1Client::session(&node, "bot", &key("bot")).await;
    let wait_until_removed = async || {
        eventually("the sessions of the wave are removed", async || {
            (metric(&node, "utilbot_sessions{kind=\"website\"}").await == 0).then_some(())
        })
        .await;
        node.rss_kib()
    };
    let reading = tokio::spawn(async move {
        while healthy.event("announce").await.get("end").is_none() {}
        healthy.heartbeat().await;
    });
    let mut after = Vec::new();
    for wave in 0..WAVES {
        wave_of_stopped_readers(&node, 50 * wave).await;
        after.push(wait_until_removed().await);
    }
    println!("KiB after each wave: {after:?}");
    let first = after[0];
    eventually("the memory of the waves is given back", async || {
        (node.rss_kib() <= first + KEPT_KIB).then_some(())
    })
    .await;
    publish(
        &node,
        &key("service"),
        &json!({ "t": "announce", "d": { "end": true } }),
    )
    .await;
    gateway_harness::within("the healthy session", reading).await.unwrap();
}
