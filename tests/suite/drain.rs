//! How a node leaves.

use std::time::{Duration, Instant};

use gateway_harness::{NodeProcess, PacketEncoding, Raw, Setup, V1Client, WAIT, eventually, get, within};
use nix::sys::signal::Signal;
use serde_json::json;
use tokio::task::JoinSet;

/// Waits for the restart in every session; when each was told.
pub(crate) async fn told_to_restart(clients: Vec<V1Client>, since: Instant) -> Vec<Duration> {
    let mut waiting = JoinSet::new();
    for mut client in clients {
        waiting.spawn(async move {
            let error = client.next().await;
            let told = since.elapsed();
            assert_eq!((&error["op"], &error["e"]), (&json!(-1), &json!(1000)), "{error}");
            assert_eq!(client.closed().await, 1012);
            told
        });
    }
    let mut told = within("everybody is told", waiting.join_all()).await;
    told.sort_unstable();
    told
}

/// The times are spread over the whole time and not beyond.
pub(crate) fn is_spread(told: &[Duration], spread: Duration) {
    let early = told.iter().filter(|time| **time < spread / 10).count();
    assert!(early < told.len() / 3, "{early} of {} in the first tenth", told.len());
    let late = told.iter().filter(|time| **time > spread * 6 / 10).count();
    assert!(
        late > told.len() / 10,
        "{late} of {} in the last four tenths",
        told.len()
    );
    let last = told.last().unwrap();
    assert!(*last < spread + Duration::from_secs(1), "the last one after {last:?}");
}

async fn mixed_sessions(node: &NodeProcess, count: usize) -> Vec<V1Client> {
    let key = node.development_key();
    let mut clients = Vec::with_capacity(count);
    for index in 0..count {
        let encoding = PacketEncoding::ALL[index % 2];
        clients.push(match index % 4 {
            0 => V1Client::greeted(node, encoding).await,
            1 => V1Client::session_in(node, "bot", &key, encoding).await,
            2 => V1Client::session_in(node, "website", &key, encoding).await,
            _ => V1Client::session_in(node, "service", &key, encoding).await,
        });
    }
    clients
}

#[tokio::test]
async fn a_node_with_nobody_connected_ends_at_once() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut node = Setup::new().set("drain.balancer_wait_ms", 3000).start().await;
        let begin = Instant::now();
        node.signal(signal);
        assert!(node.ended(WAIT).await.success());
        assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    }
}

#[tokio::test]
async fn everybody_is_told_to_restart_spread_over_the_configured_time() {
    let spread = Duration::from_secs(2);
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut node = Setup::new().set("drain.spread_ms", 2000).start().await;
        let clients = mixed_sessions(&node, 90).await;
        let mut stuck = Vec::new();
        for _ in 0..10 {
            stuck.push(Raw::open_small(node.address(), "/?v=1").await);
        }
        let begin = Instant::now();
        node.signal(signal);
        let told = told_to_restart(clients, begin).await;
        is_spread(&told, spread);
        // Those that never read are cut off when their linger is over, before the deadline.
        assert!(node.ended(WAIT).await.success());
        assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
        drop(stuck);
    }
}

#[tokio::test]
async fn the_deadline_ends_a_node_whose_clients_do_not_take_what_it_sends() {
    let mut node = Setup::new()
        .set("drain.spread_ms", 100)
        .set("limits.evict_linger_ms", 300)
        .set("drain.deadline_ms", 1500)
        .start()
        .await;
    let mut stuck = Raw::open(node.address(), "/?v=1").await;
    let begin = Instant::now();
    node.signal(Signal::SIGTERM);
    assert!(node.ended(WAIT).await.success());
    assert!(begin.elapsed() < Duration::from_millis(2500), "{:?}", begin.elapsed());
    // What was sent is still there to be read.
    assert_eq!(stuck.frame().await.unwrap().opcode, 1);
    let error: serde_json::Value = serde_json::from_str(stuck.frame().await.unwrap().text()).unwrap();
    assert_eq!(error["e"], 1000);
    assert_eq!(stuck.frame().await.unwrap().close_code(), Some(1012));
}

#[tokio::test]
async fn a_draining_node_is_not_ready_and_refuses_upgrades() {
    let mut node = Setup::new()
        .set("drain.balancer_wait_ms", 1000)
        .set("drain.spread_ms", 2000)
        .start()
        .await;
    let mut session = V1Client::session(&node, "website", &node.development_key()).await;
    node.signal(Signal::SIGTERM);
    eventually("readiness is off", async || {
        (get(&node, "/readyz").await.status == 503).then_some(())
    })
    .await;
    // While the balancer has not noticed yet, who comes is served.
    let mut late = V1Client::greeted(&node, PacketEncoding::Plain).await;
    late.heartbeat().await;
    assert_eq!(get(&node, "/livez").await.status, 200);
    let health = get(&node, "/health").await;
    assert_eq!((health.status, &health.json()["status"]), (503, &json!("draining")));
    assert_eq!(health.json()["draining"], true);
    session.heartbeat().await;
    let status = async || {
        let mut raw = Raw::connect(node.address()).await;
        raw.request("/?v=1", &[]).await;
        let head = raw.head_of_answer().await;
        head.starts_with("HTTP/1.1 503 ").then_some(head)
    };
    let head = eventually("upgrades are refused", status).await.to_lowercase();
    assert!(head.contains("retry-after"), "{head}");
    assert_eq!(session.error(1000, 1012).await["op"], -1);
    drop((session, late));
    assert!(node.ended(WAIT).await.success());
}

#[tokio::test]
async fn a_second_signal_ends_the_node_at_once() {
    for second in [Signal::SIGTERM, Signal::SIGINT] {
        let mut node = Setup::new().set("drain.spread_ms", 5000).start().await;
        let sessions = mixed_sessions(&node, 20).await;
        let begin = Instant::now();
        node.signal(Signal::SIGTERM);
        node.logged("draining").await;
        node.signal(second);
        node.ended(WAIT).await;
        assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
        drop(sessions);
    }
}

#[tokio::test]
async fn a_session_that_drains_gets_what_was_published_before() {
    let mut node = Setup::new().set("drain.spread_ms", 500).start().await;
    let key = node.development_key();
    let mut website = V1Client::session(&node, "website", &key).await;
    let mut bot = V1Client::session(&node, "bot", &key).await;
    for n in 0..100 {
        bot.send_event("announce", &json!({ "n": n })).await;
    }
    bot.heartbeat().await;
    node.signal(Signal::SIGTERM);
    for n in 0..100 {
        assert_eq!(website.event("announce").await, json!({ "n": n }));
    }
    website.error(1000, 1012).await;
    drop((website, bot));
    assert!(node.ended(WAIT).await.success());
}
