//! Sessions that are told their positions, and that catch up on what they missed.

use gateway_harness::{
    ApiResponse, NodeProcess, PacketEncoding, RedisProcess, Setup, V1Client, eventually, full_setup, key, metric,
    publish, ready, request,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// Events for every type: to all, to a guild, and to one session.
const EVENTS: &str = r#"
[[events]]
name = "note"
from = ["bot", "website", "service"]
to = ["bot", "website", "service"]

[[events]]
name = "guild_note"
from = ["bot", "website", "service"]
to = ["bot", "website", "service"]
deliver = { guild = "/guildId" }
require_receiver = false

[[events]]
name = "bot_note"
from = ["service"]
to = ["bot"]

[[events]]
name = "any_note"
from = ["service"]
to = ["bot", "website"]
deliver = "any"
require_receiver = false

[[events]]
name = "bot_any_note"
from = ["service"]
to = ["bot"]
deliver = "any"
"#;

fn setup() -> Setup {
    full_setup().more(EVENTS).set("cluster.lease_ms", 1000)
}

/// Opens a session. Returns it, and the data of its connect success.
async fn session(node: &NodeProcess, kind: &str, more: Value) -> (V1Client, Value) {
    session_in(node, kind, more, PacketEncoding::Plain).await
}

async fn session_in(node: &NodeProcess, kind: &str, more: Value, encoding: PacketEncoding) -> (V1Client, Value) {
    let mut client = V1Client::greeted(node, encoding).await;
    let mut d = json!({ "type": kind, "key": key(kind) });
    d.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    client.send_event("identify", &d).await;
    let success = client.event(&format!("{kind}_connect_success")).await;
    if kind == "bot" {
        client.event("GLOBAL_GUILD_COUNT").await;
    }
    (client, success)
}

fn position(d: &Value) -> &str {
    d["position"].as_str().expect("a position")
}

async fn note(node: &NodeProcess, n: u64) -> String {
    send(node, "note", json!({ "n": n })).await
}

async fn guild_note(node: &NodeProcess, guild: &str, n: u64) -> String {
    send(node, "guild_note", json!({ "guildId": guild, "n": n })).await
}

/// Publishes an event and returns its position.
async fn send(node: &NodeProcess, name: &str, d: Value) -> String {
    let answer = publish(node, &key("service"), &json!({ "t": name, "d": d })).await;
    position(&answer).to_owned()
}

/// Receives an event of the application, which must have this number. Returns its position.
async fn gets(client: &mut V1Client, n: u64) -> String {
    let payload = client.next().await;
    assert_eq!(payload["d"]["n"], n, "{payload}");
    payload["p"].as_str().expect("a position").to_owned()
}

/// Sends a heartbeat and returns the position of its acknowledgement.
async fn heartbeat(client: &mut V1Client) -> String {
    client.send(&json!({ "op": 10 })).await;
    let ack = client.next().await;
    assert_eq!(ack["op"], 11, "{ack}");
    ack["p"].as_str().unwrap_or_else(|| panic!("{ack}")).to_owned()
}

/// Starts two nodes that share a Redis.
async fn cluster(server: &RedisProcess) -> [NodeProcess; 2] {
    let nodes = [
        setup().redis(&server.url()).start().await,
        setup().redis(&server.url()).start().await,
    ];
    for node in &nodes {
        ready(node).await;
    }
    nodes
}

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

#[tokio::test]
async fn a_session_gets_what_it_missed_once_and_in_order() {
    let server = RedisProcess::start().await;
    let one = setup().start().await;
    ready(&one).await;
    let [first, second] = cluster(&server).await;
    for nodes in [[&one, &one], [&first, &second]] {
        for encoding in [PacketEncoding::Plain, PacketEncoding::Zlib] {
            let guilds = json!(["1", "2"]);
            let more = json!({ "positions": true, "guilds": guilds });
            let (mut before, success) = session_in(nodes[0], "website", more, encoding).await;
            let start = position(&success).to_owned();
            // It sends an event itself: another session of the client has missed that.
            let own = json!({ "op": 1, "t": "guild_note", "n": 7, "d": { "guildId": "2", "n": 1 } });
            before.send(&own).await;
            let accepted = before.event("event_accepted").await;
            before.close(1000).await;
            let mut expected = vec![position(&accepted).to_owned()];
            for n in 2..200 {
                match n % 5 {
                    0 => drop(guild_note(nodes[1], "3", 0).await),
                    1 => drop(send(nodes[1], "bot_note", json!({})).await),
                    2 => expected.push(note(nodes[1], expected.len() as u64 + 1).await),
                    3 => drop(send(nodes[1], "any_note", json!({})).await),
                    _ => expected.push(guild_note(nodes[1], "1", expected.len() as u64 + 1).await),
                }
            }
            let more = json!({ "after": start, "guilds": guilds });
            let (mut after, success) = session_in(nodes[1], "website", more, encoding).await;
            for (n, sent) in (1..).zip(&expected) {
                assert_eq!(gets(&mut after, n).await, *sent);
            }
            // A client that is cut off before them begins again.
            assert_eq!(position(&success), start);
            let end = after.event("caught_up").await;
            assert_eq!(end["events"], expected.len());
            // An event for one session waits for the next one.
            for _ in 0..40 {
                assert_eq!(after.next().await["t"], "any_note");
            }
            let last = note(nodes[0], 5000).await;
            assert_eq!(gets(&mut after, 5000).await, last);
            assert_eq!(heartbeat(&mut after).await, last);
            after.close(1000).await;
            let (mut again, _) = session_in(nodes[0], "website", json!({ "after": last }), encoding).await;
            let nothing = json!({ "position": last, "events": 0 });
            assert_eq!(again.event("caught_up").await, nothing);
            // The middle of the log is as good a place as any.
            let more = json!({ "after": expected[9], "guilds": ["1"] });
            let (mut middle, _) = session_in(nodes[0], "website", more, encoding).await;
            let mut events = 0;
            while middle.next().await["t"] != "caught_up" {
                events += 1;
            }
            assert!((10..=expected.len()).contains(&events), "{events}");
        }
    }
}

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

#[tokio::test]
async fn a_bot_gets_the_events_of_its_guilds_once_whatever_becomes_of_its_node() {
    let server = RedisProcess::start().await;
    let [first, second] = cluster(&server).await;
    let (mut bot, _) = session(&first, "bot", json!({ "positions": true, "guilds": ["1", "2"] })).await;
    bot.event("GLOBAL_GUILD_COUNT").await;
    guild_note(&second, "1", 1).await;
    let last = gets(&mut bot, 1).await;
    // Its node stops answering: events for it are accepted, and wait until the node is given up.
    first.signal(Signal::SIGKILL);
    for n in 2..10 {
        guild_note(&second, if n % 2 == 0 { "1" } else { "2" }, n).await;
    }
    let (mut bot, _) = session(&second, "bot", json!({ "after": last, "guilds": ["1", "2"] })).await;
    for n in 2..10 {
        gets(&mut bot, n).await;
    }
    assert_eq!(bot.event("caught_up").await["events"], 8);
    // What waited for a bot is given to it again, and it has it already.
    let mut n = 10;
    eventually("the node is given up", async || {
        guild_note(&second, "1", n).await;
        let payload = loop {
            let payload = bot.next().await;
            if payload["t"] != "GLOBAL_GUILD_COUNT" {
                break payload;
            }
        };
        assert_eq!(payload["d"]["n"], n, "{payload}");
        n += 1;
        (server.cli(&["ZCARD", "utilbot:{utilbot}:nodes"]).await.trim() == "1").then_some(())
    })
    .await;
}

#[tokio::test]
async fn nothing_is_missed_or_repeated_while_events_go_on() {
    let server = RedisProcess::start().await;
    let one = setup().start().await;
    ready(&one).await;
    let [first, second] = cluster(&server).await;
    for nodes in [[&one, &one], [&first, &second]] {
        const EVENTS: u64 = 600;
        let (client, success) = session(nodes[0], "website", json!({ "positions": true, "guilds": ["1"] })).await;
        drop(client);
        let publishing = async {
            for n in 1..=EVENTS {
                match n % 2 {
                    0 => drop(note(nodes[0], n).await),
                    _ => drop(guild_note(nodes[1], "1", n).await),
                }
            }
        };
        let reconnecting = async {
            let (mut last, mut next, mut node) = (position(&success).to_owned(), 1, 0);
            while next <= EVENTS {
                node = 1 - node;
                let (mut client, _) = session(nodes[node], "website", json!({ "after": last, "guilds": ["1"] })).await;
                let mut live = 0;
                while live < 20 && next <= EVENTS {
                    let payload = client.next().await;
                    if payload["t"] == "caught_up" {
                        live += 1;
                        continue;
                    }
                    live += u64::from(live > 0);
                    assert_eq!(payload["d"]["n"], next, "{payload}");
                    next += 1;
                    payload["p"].as_str().expect("a position").clone_into(&mut last);
                }
            }
        };
        tokio::join!(publishing, reconnecting);
    }
}

#[tokio::test]
async fn a_list_of_guilds_sent_while_catching_up_takes_effect_afterwards() {
    let node = setup().start().await;
    ready(&node).await;
    let start = note(&node, 0).await;
    for n in 1..=100 {
        guild_note(&node, "1", n).await;
    }
    let mut client = V1Client::greeted(&node, PacketEncoding::Plain).await;
    let d = json!({ "type": "website", "key": key("website"), "guilds": ["1"], "after": start });
    client
        .send_at_once(&[
            json!({ "op": 1, "t": "identify", "d": d }),
            json!({ "op": 1, "t": "watch_guilds", "n": 1, "d": { "guilds": ["2"] } }),
        ])
        .await;
    client.event("website_connect_success").await;
    for n in 1..=100 {
        gets(&mut client, n).await;
    }
    assert_eq!(client.event("caught_up").await["events"], 100);
    client.event("event_accepted").await;
    guild_note(&node, "1", 101).await;
    guild_note(&node, "2", 102).await;
    gets(&mut client, 102).await;
}

async fn history(node: &NodeProcess, query: &str) -> ApiResponse {
    let bearer = format!("Bearer {}", key("root"));
    let headers = [("authorization", &*bearer)];
    request(node.address(), "GET", &format!("/api/v1/events{query}"), &headers, "").await
}

/// Reads a page of the history. Returns the numbers of its events, and the page.
async fn page(node: &NodeProcess, query: &str) -> (Vec<u64>, Value) {
    let response = history(node, query).await;
    assert_eq!(response.status, 200, "{query}: {response:?}");
    let page = response.json();
    let events = page["events"].as_array().expect("events");
    let numbers = events.iter().map(|event| event["d"]["n"].as_u64().expect("a number"));
    (numbers.collect(), page)
}

#[tokio::test]
async fn the_history_has_the_events_of_the_table_in_pages() {
    let server = RedisProcess::start().await;
    let one = setup().start().await;
    ready(&one).await;
    let [first, second] = cluster(&server).await;
    for nodes in [[&one, &one], [&first, &second]] {
        let (numbers, empty) = page(nodes[0], "").await;
        assert_eq!((numbers, &empty["more"]), (vec![], &json!(false)));
        let began = std::time::SystemTime::now();
        let mut positions = vec![empty["next"].as_str().expect("a position").to_owned()];
        for n in 1..=150 {
            positions.push(match n % 3 {
                0 => note(nodes[0], n).await,
                1 => guild_note(nodes[0], "7", n).await,
                _ => send(nodes[0], "any_note", json!({ "n": n })).await,
            });
        }
        let (numbers, page_1) = page(nodes[1], "").await;
        assert_eq!(numbers, (1..=100).collect::<Vec<_>>());
        assert_eq!(
            (&page_1["more"], &page_1["next"]),
            (&json!(true), &json!(positions[100]))
        );
        let event = &page_1["events"][0];
        assert_eq!(
            (&event["p"], &event["t"], &event["d"]),
            (
                &json!(positions[1]),
                &json!("guild_note"),
                &json!({ "guildId": "7", "n": 1 })
            )
        );
        let at = event["at"].as_u64().expect("a time");
        let began = began.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        let since_began = u128::from(at).abs_diff(began);
        assert!(since_began < 60_000, "{at} is {since_began} ms from the start");
        let (numbers, page_2) = page(nodes[1], &format!("?after={}&limit=1000", positions[100])).await;
        assert_eq!(numbers, (101..=150).collect::<Vec<_>>());
        assert_eq!(
            (&page_2["more"], &page_2["next"]),
            (&json!(false), &json!(positions[150]))
        );
        // The limit is one of the entries looked at.
        let (numbers, notes) = page(nodes[1], "?limit=30&t=note").await;
        assert_eq!(numbers, (1..=10).map(|n| 3 * n).collect::<Vec<_>>());
        assert_eq!((&notes["more"], &notes["next"]), (&json!(true), &json!(positions[30])));
        let of_guild = format!("?after={}&guild=7", positions[140]);
        assert_eq!(page(nodes[1], &of_guild).await.0, [142, 145, 148]);
        assert_eq!(page(nodes[1], "?guild=8&limit=1000").await.0, [0; 0]);
        let (numbers, end) = page(nodes[1], &format!("?after={}", positions[150])).await;
        assert_eq!((numbers, &end["more"]), (vec![], &json!(false)));
    }
}

#[tokio::test]
async fn a_history_that_is_gone_or_forbidden_says_so() {
    let server = RedisProcess::start().await;
    let setup = || setup().set("cluster.log_entries", 64);
    let one = setup().start().await;
    let cluster = setup().redis(&server.url()).start().await;
    for node in [&one, &cluster] {
        ready(node).await;
        let start = note(node, 1).await;
        for n in 2..=200 {
            note(node, n).await;
        }
        for gone in [&*start, "0123456789abcdef-1", "no-position"] {
            let response = history(node, &format!("?after={gone}")).await;
            assert_eq!(
                (response.status, &response.json()["code"]),
                (410, &json!("events_lost"))
            );
        }
        let (numbers, _) = page(node, "?limit=1000").await;
        assert_eq!(numbers.last(), Some(&200));
        assert!(numbers.len() >= 63, "{numbers:?}");
        for wrong in [
            "?after=A",
            "?after=",
            "?limit=0",
            "?limit=1001",
            "?limit=x",
            "?guild=x",
            "?t=nope",
            "?before=1",
        ] {
            let response = history(node, wrong).await;
            assert_eq!(
                (response.status, &response.json()["code"]),
                (400, &json!("malformed")),
                "{wrong}"
            );
        }
        let bearer = format!("Bearer {}", key("service"));
        let headers = [("authorization", &*bearer)];
        let response = request(node.address(), "GET", "/api/v1/events", &headers, "").await;
        assert_eq!((response.status, &response.json()["code"]), (403, &json!("forbidden")));
        let response = request(node.address(), "GET", "/api/v1/events", &[], "").await;
        assert_eq!(response.status, 401);
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

#[tokio::test]
async fn a_node_without_receivers_has_what_a_later_session_missed() {
    let server = RedisProcess::start().await;
    let [first, second] = cluster(&server).await;
    // The second node follows the log because of a website, which receives none of the events.
    let (mut website, _) = session(&second, "website", json!({ "positions": true })).await;
    let (mut bot, _) = session(&first, "bot", json!({ "positions": true })).await;
    let mut sent = Vec::new();
    for n in 0..300 {
        sent.push(send(&first, "bot_note", json!({ "n": n })).await);
    }
    for n in 0..150 {
        gets(&mut bot, n).await;
    }
    drop(bot);
    let (mut again, _) = session(&second, "bot", json!({ "after": sent[149] })).await;
    for (n, sent) in (150..).zip(&sent[150..]) {
        assert_eq!(gets(&mut again, n).await, *sent);
    }
    drop(again);
    // Its positions do not stay behind, although no event wakes its worker.
    let last = send(&first, "bot_note", json!({ "n": 300 })).await;
    eventually("the website is told the last position", async || {
        (heartbeat(&mut website).await == last).then_some(())
    })
    .await;
}
