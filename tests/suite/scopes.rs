//! The guilds of a session: websites and services watch them, bots report them, and events of a guild reach both.

use gateway_harness::{
    NodeProcess, PacketEncoding, RedisProcess, Setup, V1Client, eventually, full_setup, get, key, publish, ready,
    request,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// Two events of a guild: one for every type, and one for websites that needs no receiver.
const EVENTS: &str = r#"
[[events]]
name = "guild_note"
from = ["bot", "website", "service"]
to = ["bot", "website", "service"]
deliver = { guild = "/guildId" }

[[events]]
name = "guild_news"
from = ["service"]
to = ["website"]
deliver = { guild = "/guildId" }
require_receiver = false
"#;

fn setup() -> Setup {
    full_setup().more(EVENTS).set("cluster.lease_ms", 1000)
}

async fn session(node: &NodeProcess, kind: &str, more: Value) -> V1Client {
    let mut client = V1Client::greeted(node, PacketEncoding::Plain).await;
    identify(&mut client, kind, more).await;
    let success = client.event(&format!("{kind}_connect_success")).await;
    assert!(success["id"].is_string(), "{success}");
    client
}

async fn identify(client: &mut V1Client, kind: &str, more: Value) {
    let mut d = json!({ "type": kind, "key": key(kind) });
    d.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    client.send_event("identify", &d).await;
}

/// Sends an event with a nonce and returns the data of the answer, which must have this name.
async fn answer(client: &mut V1Client, event: &str, d: &Value, name: &str) -> Value {
    client.send(&json!({ "op": 1, "t": event, "n": 1, "d": d })).await;
    client.event(name).await
}

async fn watch(client: &mut V1Client, guilds: &Value) -> String {
    let d = answer(client, "watch_guilds", &json!({ "guilds": guilds }), "event_accepted").await;
    d["position"].as_str().expect("a position").to_owned()
}

fn note(guild: &str, n: u64) -> Value {
    json!({ "t": "guild_note", "d": { "guildId": guild, "n": n } })
}

fn news(guild: &str, n: u64) -> Value {
    json!({ "t": "guild_news", "d": { "guildId": guild, "n": n } })
}

/// Asserts that the next event is the note with this number.
async fn gets(client: &mut V1Client, n: u64) {
    assert_eq!(client.event("guild_note").await["n"], n);
}

#[tokio::test]
async fn sessions_get_the_events_of_the_guilds_that_they_watch() {
    let server = RedisProcess::start().await;
    let one = setup().start().await;
    let cluster = [
        setup().redis(&server.url()).start().await,
        setup().redis(&server.url()).start().await,
    ];
    for nodes in [[&one, &one], [&cluster[0], &cluster[1]]] {
        for node in nodes {
            ready(node).await;
        }
        let mut both = session(nodes[0], "website", json!({ "guilds": ["1", 2] })).await;
        let mut second = session(nodes[1], "service", json!({ "guilds": ["2"] })).await;
        let mut none = session(nodes[1], "website", json!({})).await;
        let mut bot = session(nodes[1], "bot", json!({ "guilds": [1], "guildMembers": 7 })).await;
        // The counts at its connect success, and after its report.
        while bot.event("GLOBAL_GUILD_COUNT").await["guildMembers"] != 7 {}
        let key = key("service");
        for (n, guild) in [(1, "1"), (2, "2"), (3, "02"), (4, "1")] {
            publish(nodes[1], &key, &note(guild, n)).await;
        }
        publish(nodes[0], &key, &json!({ "t": "announce", "d": {} })).await;
        for n in 1..=4 {
            gets(&mut both, n).await;
        }
        for n in [2, 3] {
            gets(&mut second, n).await;
        }
        for n in [1, 4] {
            gets(&mut bot, n).await;
        }
        for client in [&mut both, &mut second, &mut none, &mut bot] {
            client.event("announce").await;
        }
        // The sender does not get its own event.
        both.send_event("guild_note", &json!({ "guildId": "2", "n": 5 })).await;
        gets(&mut second, 5).await;
        both.heartbeat().await;
    }
}

#[tokio::test]
async fn a_new_list_takes_effect_after_the_position_of_its_answer() {
    let server = RedisProcess::start().await;
    for setup in [setup(), setup().redis(&server.url())] {
        let node = setup.start().await;
        ready(&node).await;
        let mut website = session(&node, "website", json!({ "guilds": ["1"] })).await;
        // Events are published while the lists change: each list must have exactly those after the position of its
        // answer, up to that of the next answer.
        let publishing = async {
            let mut published = Vec::new();
            for n in 0..200 {
                let guild = if n % 2 == 0 { "1" } else { "2" };
                let answer = publish(&node, &key("service"), &news(guild, n)).await;
                published.push((offset(answer["position"].as_str().unwrap()), guild, n));
            }
            published
        };
        let watching = async {
            let (mut lists, mut received) = (vec![(0, "1")], Vec::new());
            for n in 0..40 {
                let guild = if n % 2 == 0 { "2" } else { "1" };
                website
                    .send(&json!({ "op": 1, "t": "watch_guilds", "n": n, "d": { "guilds": [guild] } }))
                    .await;
                let position = loop {
                    let payload = website.next().await;
                    match payload["t"].as_str() {
                        Some("event_accepted") => break payload["d"]["position"].as_str().unwrap().to_owned(),
                        _ => received.push(payload["d"]["n"].as_u64().unwrap()),
                    }
                };
                lists.push((offset(&position), guild));
            }
            (lists, received)
        };
        let (published, (lists, mut received)) = tokio::join!(publishing, watching);
        publish(&node, &key("service"), &json!({ "t": "announce", "d": {} })).await;
        loop {
            let payload = website.next().await;
            match payload["t"].as_str() {
                Some("announce") => break,
                _ => received.push(payload["d"]["n"].as_u64().unwrap()),
            }
        }
        let list_at = |offset| lists.iter().rev().find(|(from, _)| offset > *from).unwrap().1;
        let expected: Vec<_> = published
            .iter()
            .filter(|(at, guild, _)| list_at(*at) == *guild)
            .map(|(_, _, n)| *n)
            .collect();
        assert_eq!(received, expected, "{lists:?}");
    }
}

/// The offset in a position.
fn offset(position: &str) -> u64 {
    position
        .split_once('-')
        .expect("an epoch and an offset")
        .1
        .parse()
        .unwrap()
}

#[tokio::test]
async fn a_list_that_redis_confirms_late_takes_effect_late() {
    let mut server = RedisProcess::start().await;
    let node = setup().redis(&server.url()).set("cluster.hold_ms", 300).start().await;
    ready(&node).await;
    let mut website = session(&node, "website", json!({ "guilds": ["1"] })).await;
    server.kill().await;
    let unknown = answer(
        &mut website,
        "watch_guilds",
        &json!({ "guilds": ["2"] }),
        "event_refused",
    )
    .await;
    assert_eq!(unknown["code"], "unknown");
    server.restart().await;
    ready(&node).await;
    let headers = [("authorization", &*format!("Bearer {}", key("service")))];
    let event = note("2", 7).to_string();
    // An event is accepted as soon as Redis has the list, and is delivered if it comes after the position at which the
    // list takes effect.
    loop {
        request(node.address(), "POST", "/api/v1/events", &headers, &event).await;
        website.send(&json!({ "op": 10 })).await;
        let payload = website.next().await;
        if payload["t"] == "guild_note" {
            assert_eq!(payload["d"], json!({ "guildId": "2", "n": 7 }));
            break;
        }
        assert_eq!(payload, json!({ "op": 11 }));
    }
}

#[tokio::test]
async fn bots_do_not_watch_and_faulty_lists_are_refused() {
    let node = setup().set("limits.guilds_per_session", 3).start().await;
    let mut bot = session(&node, "bot", json!({})).await;
    bot.event("GLOBAL_GUILD_COUNT").await;
    let refused = answer(&mut bot, "watch_guilds", &json!({ "guilds": [] }), "event_refused").await;
    assert_eq!(
        (&refused["code"], &refused["data"]),
        (&json!("not_allowed"), &json!(["watch_guilds"]))
    );
    bot.send_event("watch_guilds", &json!({ "guilds": [] })).await;
    assert_eq!(
        bot.error(4005, 4005).await["d"]["errors"],
        json!(["Bots do not watch guilds."])
    );

    let mut website = session(&node, "website", json!({})).await;
    for (d, error) in [
        (json!({}), "Guilds not provided."),
        (json!({ "guilds": 7 }), "Guilds must be an array of ids."),
        (json!({ "guilds": ["x"] }), "Guild is not an id."),
        (json!({ "guilds": [1, 2, 3, 4] }), "Guilds must be at most 3 ids."),
    ] {
        let refused = answer(&mut website, "watch_guilds", &d, "event_refused").await;
        assert_eq!(
            (&refused["code"], &refused["errors"]),
            (&json!("invalid_data"), &json!([error]))
        );
    }
    watch(&mut website, &json!([1, "2", 3])).await;

    for (kind, more, errors) in [
        (
            "website",
            json!({ "guilds": "1", "counts": "yes" }),
            json!(["Guilds must be an array of ids.", "Counts must be true or false."]),
        ),
        (
            "website",
            json!({ "guilds": [1, 2, 3, 4] }),
            json!(["Guilds must be at most 3 ids."]),
        ),
        (
            "bot",
            json!({ "guilds": 3 }),
            json!(["Guilds must be an array of ids."]),
        ),
        (
            "bot",
            json!({ "counts": true }),
            json!(["Bots always receive the counts."]),
        ),
    ] {
        let mut client = V1Client::greeted(&node, PacketEncoding::Plain).await;
        identify(&mut client, kind, more).await;
        assert_eq!(client.error(4005, 4005).await["d"]["errors"], errors);
    }
}

#[tokio::test]
async fn a_session_that_watches_a_guild_is_a_live_receiver_until_it_ends() {
    let server = RedisProcess::start().await;
    let start = async || {
        let node = setup().redis(&server.url()).start().await;
        ready(&node).await;
        node
    };
    let (first, second) = (start().await, start().await);
    let event = note("1", 1).to_string();
    let headers = [("authorization", &*format!("Bearer {}", key("service")))];
    let publish = async || request(first.address(), "POST", "/api/v1/events", &headers, &event).await;
    assert_eq!(publish().await.status, 409);
    let website = session(&second, "website", json!({ "guilds": ["1"] })).await;
    assert_eq!(publish().await.status, 202);
    website.close(1000).await;
    eventually("no receiver", async || (publish().await.status == 409).then_some(())).await;
    let _watching = session(&second, "website", json!({ "guilds": ["1"] })).await;
    assert_eq!(publish().await.status, 202);
    // Its node dies: it counts until the lease has ended.
    second.signal(Signal::SIGKILL);
    eventually("no receiver", async || (publish().await.status == 409).then_some(())).await;
}

#[tokio::test]
async fn websites_and_services_get_the_counts_that_they_ask_for() {
    let server = RedisProcess::start().await;
    for setup in [setup(), setup().redis(&server.url())] {
        let node = setup.set("metrics.public", true).start().await;
        ready(&node).await;
        let zero = json!({ "guilds": 0, "guildMembers": 0, "cachedGuildMembers": 0 });
        let mut website = session(&node, "website", json!({ "counts": true })).await;
        assert_eq!(website.event("GLOBAL_GUILD_COUNT").await, zero);
        let mut plain = session(&node, "website", json!({ "counts": false })).await;
        let mut bot = session(&node, "bot", json!({})).await;
        assert_eq!(bot.event("GLOBAL_GUILD_COUNT").await, zero);
        let report = json!({ "guilds": ["1", "2"], "guildMembers": 50, "cachedGuildMembers": 40 });
        bot.send_event("send_servers", &report).await;
        let counts = json!({ "guilds": 2, "guildMembers": 50, "cachedGuildMembers": 40 });
        for client in [&mut website, &mut bot] {
            assert_eq!(client.event("GLOBAL_GUILD_COUNT").await, counts);
        }
        plain.heartbeat().await;
        let mut late = session(&node, "service", json!({ "counts": true })).await;
        assert_eq!(late.event("GLOBAL_GUILD_COUNT").await, counts);
        let headers = [("authorization", &*format!("Bearer {}", key("root")))];
        eventually("the counts over HTTP", async || {
            let response = request(node.address(), "GET", "/api/v1/counts", &headers, "").await;
            assert_eq!(response.status, 200, "{response:?}");
            (response.json() == counts).then_some(())
        })
        .await;
        let metrics = get(&node, "/metrics").await.body;
        for line in [
            r#"utilbot_guilds{application="utilbot"} 2"#,
            r#"utilbot_guild_members{application="utilbot"} 50"#,
            r#"utilbot_cached_guild_members{application="utilbot"} 40"#,
        ] {
            assert!(metrics.contains(line), "{line} in {metrics}");
        }
    }
}

#[tokio::test]
async fn the_counts_over_http_need_the_permission_to_read() {
    let node = setup().start().await;
    assert_eq!(get(&node, "/api/v1/counts").await.status, 401);
    let headers = [("authorization", &*format!("Bearer {}", key("service")))];
    let response = request(node.address(), "GET", "/api/v1/counts", &headers, "").await;
    assert_eq!((response.status, &response.json()["code"]), (403, &json!("forbidden")));
}
