//! The positions of events, answers and acknowledgements.

use gateway_harness::{PacketEncoding, RedisProcess, V1Client, eventually, ready};
use serde_json::{Value, json};

use super::{cluster, gets, guild_note, heartbeat, note, position, send, session, session_in, setup};

#[tokio::test]
async fn every_event_and_acknowledgement_has_a_position_for_those_who_ask() {
    let server = RedisProcess::start().await;
    let one = setup().start().await;
    ready(&one).await;
    let [first, second] = cluster(&server).await;
    for nodes in [[&one, &one], [&first, &second]] {
        for encoding in [PacketEncoding::Plain, PacketEncoding::Zlib] {
            let asking = json!({ "positions": true, "guilds": ["1"], "counts": true });
            let (mut told, success) = session_in(nodes[0], "website", asking, encoding).await;
            told.event("GLOBAL_GUILD_COUNT").await;
            let (mut other, untold) = session_in(nodes[1], "website", json!({ "guilds": ["1"] }), encoding).await;
            assert_eq!(untold["position"], Value::Null);
            let start = position(&success).to_owned();
            assert_eq!(heartbeat(&mut told).await, start);
            let notes = [note(nodes[1], 1).await, guild_note(nodes[1], "1", 2).await];
            for (n, sent) in (1..).zip(&notes) {
                assert_eq!(gets(&mut told, n).await, *sent);
                let payload = other.next().await;
                assert_eq!((&payload["d"]["n"], &payload["p"]), (&json!(n), &Value::Null));
            }
            assert_eq!(heartbeat(&mut told).await, notes[1]);
            other.heartbeat().await;
            // What is not for a session brings it further, too.
            let last = guild_note(nodes[1], "2", 3).await;
            eventually("the position of the last event", async || {
                (heartbeat(&mut told).await == last).then_some(())
            })
            .await;
        }
    }
}

/// The offset of a position.
fn offset(position: &str) -> u64 {
    let (_, offset) = position.split_once('-').expect("a position");
    offset.parse().expect("an offset")
}

#[tokio::test]
async fn whatever_has_a_position_comes_after_everything_before_it() {
    let server = RedisProcess::start().await;
    let one = setup().start().await;
    ready(&one).await;
    let [first, second] = cluster(&server).await;
    for nodes in [[&one, &one], [&first, &second]] {
        const EVENTS: u64 = 200;
        let (a, _) = session(nodes[0], "website", json!({ "positions": true })).await;
        let (b, _) = session(nodes[1], "website", json!({ "positions": true })).await;
        let exchange = async |mut client: V1Client| {
            for n in 1..=EVENTS {
                // Every other packet has an effect on this session alone.
                let packet = match n % 2 {
                    0 => json!({ "op": 1, "t": "watch_guilds", "n": n, "d": { "guilds": ["1"] } }),
                    _ => json!({ "op": 1, "t": "note", "n": n, "d": { "n": n } }),
                };
                client.send(&packet).await;
            }
            let (mut answers, mut events, mut highest) = (0, 0, 0);
            while answers < EVENTS || events < EVENTS / 2 {
                let payload = client.next().await;
                let told = match payload["t"].as_str() {
                    Some("event_accepted") => {
                        answers += 1;
                        position(&payload["d"])
                    }
                    Some("note") => {
                        events += 1;
                        let told = payload["p"].as_str().expect("a position");
                        assert!(offset(told) > highest, "{payload} after {highest}");
                        told
                    }
                    _ => panic!("{payload}"),
                };
                highest = highest.max(offset(told));
            }
        };
        tokio::join!(exchange(a), exchange(b));
    }
}

#[tokio::test]
async fn an_idle_session_keeps_a_position_that_the_log_still_has() {
    let server = RedisProcess::start().await;
    let setup = || setup().set("cluster.log_entries", 64);
    let nodes = [
        setup().redis(&server.url()).start().await,
        setup().redis(&server.url()).start().await,
    ];
    for node in &nodes {
        ready(node).await;
    }
    let (mut idle, _) = session(&nodes[0], "website", json!({ "positions": true, "guilds": ["1"] })).await;
    // All of these events are for a bot on the other node, and fill the log twice.
    let (mut bot, _) = session(&nodes[1], "bot", json!({})).await;
    let mut end = String::new();
    for n in 0..130 {
        end = match n % 2 {
            0 => send(&nodes[1], "bot_any_note", json!({ "n": n })).await,
            _ => send(&nodes[1], "bot_note", json!({ "n": n })).await,
        };
        assert_eq!(bot.next().await["d"]["n"], n);
    }
    let last = eventually("the position of the last event", async || {
        let last = heartbeat(&mut idle).await;
        (last == end).then_some(last)
    })
    .await;
    drop(idle);
    let (mut back, _) = session(&nodes[1], "website", json!({ "after": last, "guilds": ["1"] })).await;
    let nothing = json!({ "position": last, "events": 0 });
    assert_eq!(back.event("caught_up").await, nothing);
}
