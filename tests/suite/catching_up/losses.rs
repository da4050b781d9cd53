//! Missed events that the log no longer has: the session gets `events_lost`.

use gateway_harness::{PacketEncoding, RedisProcess, V1Client, eventually, key, metric, ready};
use serde_json::json;

use super::{cluster, gets, note, session, setup};

#[tokio::test]
async fn a_position_that_the_log_does_not_have_is_a_loss() {
    let server = RedisProcess::start().await;
    let one = setup().start().await;
    ready(&one).await;
    let [first, second] = cluster(&server).await;
    for nodes in [[&one, &one], [&first, &second]] {
        let mut end = note(nodes[0], 1).await;
        let (epoch, offset) = end.split_once('-').expect("a position");
        let beyond = format!("{epoch}-{}", offset.parse::<u64>().unwrap() + 1000);
        let no_epoch = format!("0123456789abcdef-{offset}");
        for wrong in [&*beyond, &no_epoch, "x", "-", "0-0", "18446744073709551616-1"] {
            let (mut client, _) = session(nodes[1], "website", json!({ "after": wrong })).await;
            let lost = client.event("events_lost").await;
            assert_eq!(lost, json!({ "after": wrong, "position": end }));
            end = note(nodes[0], 2).await;
            assert_eq!(gets(&mut client, 2).await, end);
        }
    }
}

#[tokio::test]
async fn a_trimmed_log_is_a_loss() {
    let server = RedisProcess::start().await;
    let setup = || setup().set("cluster.log_entries", 64);
    let one = setup().start().await;
    let cluster = setup().redis(&server.url()).start().await;
    for node in [&one, &cluster] {
        ready(node).await;
        let start = note(node, 1).await;
        let mut end = String::new();
        for n in 2..=200 {
            end = note(node, n).await;
        }
        let (mut client, _) = session(node, "website", json!({ "after": start })).await;
        let lost = json!({ "after": start, "position": end });
        assert_eq!(client.event("events_lost").await, lost);
        let sent = note(node, 201).await;
        assert_eq!(gets(&mut client, 201).await, sent);
        assert_eq!(metric(node, "utilbot_sessions_with_lost_events_total").await, 1);
        assert_eq!(metric(node, "utilbot_sessions_caught_up_total").await, 0);
    }
}

#[tokio::test]
async fn a_loss_after_a_restart_of_redis_without_its_data_is_told() {
    let mut server = RedisProcess::start().await;
    let node = setup().redis(&server.url()).start().await;
    ready(&node).await;
    let start = note(&node, 1).await;
    server.cli(&["FLUSHALL"]).await;
    server.stop().await;
    server.restart().await;
    ready(&node).await;
    let (mut client, _) = eventually("a session", async || {
        let mut client = V1Client::greeted(&node, PacketEncoding::Plain).await;
        let d = json!({ "type": "website", "key": key("website"), "after": start });
        client.send_event("identify", &d).await;
        let payload = client.next().await;
        (payload["t"] == "website_connect_success").then_some((client, payload))
    })
    .await;
    assert_eq!(client.event("events_lost").await["after"], *start);
}
