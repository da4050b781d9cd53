//! Missed events: a session gets each once, in order.

use gateway_harness::{PacketEncoding, RedisProcess, V1Client, eventually, key, ready};
use nix::sys::signal::Signal;
use serde_json::json;

use super::{cluster, gets, guild_note, heartbeat, note, position, send, session, session_in, setup};

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
