//! What the guilds of an application are: told over HTTP and by events, on every node alike, and remembered by Redis when
//! no node does.

use std::{collections::BTreeSet, time::Duration};

use gateway_harness::{
    KEYS, NodeProcess, RedisProcess, Setup,
    discord::{ALL_INTENTS, DiscordClient, TestGuild},
    eventually, key, publish, ready, request,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

const V10: &str = "v=10&encoding=json";
const APPLICATION: &str = "[[applications]]\nid = \"utilbot\"\nmax_concurrency = 1000\n";
const EVENT_BYTES: usize = 20_000;
/// What a busy machine may take for a node to end.
const SLACK: Duration = Duration::from_secs(10);

fn setup() -> Setup {
    Setup::new()
        .file(&format!("{APPLICATION}{KEYS}"))
        .set("cluster.event_bytes", EVENT_BYTES)
        .set("discord.member_list_interval_ms", 0)
}

async fn node(redis: &RedisProcess) -> NodeProcess {
    let setup = setup().redis(&redis.url()).set("cluster.lease_ms", 2000);
    let node = setup.start().await;
    ready(&node).await;
    node
}

/// Asks about the guilds of the application, with this key.
async fn ask(node: &NodeProcess, who: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let bearer = format!("Bearer {}", key(who));
    let target = format!("/api/v1/applications/utilbot/guilds{path}");
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let answer = request(node.address(), method, &target, &[("authorization", &bearer)], &body).await;
    (answer.status, answer.json())
}

async fn get(node: &NodeProcess, path: &str) -> Value {
    let (status, answer) = ask(node, "root", "GET", path, &Value::Null).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

async fn put(node: &NodeProcess, path: &str, body: &Value) {
    let (status, answer) = ask(node, "root", "PUT", path, body).await;
    assert_eq!(status, 202, "{answer}");
    assert!(answer["offset"].is_u64() && answer["epoch"].is_string(), "{answer}");
}

/// Publishes an event of this guild.
async fn tell(node: &NodeProcess, guild: &TestGuild, t: &str, mut d: Value) {
    d["guild_id"] = json!(guild.id);
    publish(
        node,
        &key("root"),
        &json!({ "t": t, "to": { "guild": guild.id }, "d": d }),
    )
    .await;
}

fn member(id: u64, name: &str) -> Value {
    json!({ "user": { "id": id.to_string(), "username": name }, "nick": null, "roles": [] })
}

async fn session(node: &NodeProcess) -> (DiscordClient, Value) {
    DiscordClient::session(node, V10, &key("bot"), ALL_INTENTS).await
}

fn ids(list: &Value) -> BTreeSet<String> {
    let items = list.as_array().expect("a list").iter();
    let id = |item: &Value| {
        let id = item.get("user").unwrap_or(item).get("id").unwrap_or(item);
        id.as_str().expect("an id").to_owned()
    };
    items.map(id).collect()
}

/// The ids of the members that a session is told of when it asks for all.
async fn all_members(client: &mut DiscordClient, guild: &TestGuild) -> BTreeSet<String> {
    client
        .send(8, &json!({ "guild_id": guild.id, "query": "", "limit": 0 }))
        .await;
    let mut members = BTreeSet::new();
    loop {
        let chunk = client.expect_dispatch("GUILD_MEMBERS_CHUNK").await;
        members.extend(ids(&chunk["members"]));
        if chunk["chunk_index"].as_u64().expect("a number") + 1 == chunk["chunk_count"] {
            return members;
        }
    }
}

fn digits(ids: impl IntoIterator<Item = u64>) -> BTreeSet<String> {
    ids.into_iter().map(|id| id.to_string()).collect()
}

/// What the API does, whatever the guilds are kept in.
async fn is_told_and_asked(node: &NodeProcess) {
    let (guild, other) = (TestGuild::new(0, 2), TestGuild::new(1, 1));
    let (mut client, ready) = session(node).await;
    assert_eq!(ready["guilds"], json!([]));
    let mut whole = guild.whole();
    put(node, &format!("/{}", guild.id), &whole).await;
    assert_eq!(client.expect_dispatch("GUILD_CREATE").await, whole);
    // The path says the id as well.
    let mut nameless = other.whole();
    nameless.as_object_mut().expect("an object").remove("id");
    put(node, &format!("/{}", other.id), &nameless).await;
    assert_eq!(client.expect_dispatch("GUILD_CREATE").await["id"], other.id);
    tell(
        node,
        &guild,
        "CHANNEL_CREATE",
        json!({ "id": "70", "type": 0, "name": "new" }),
    )
    .await;
    client.expect_dispatch("CHANNEL_CREATE").await;
    let path = format!("/{}", guild.id);
    let about = get(node, &path).await;
    assert_eq!(about["name"], whole["name"]);
    assert_eq!(ids(&about["channels"]), [guild.channel.clone(), "70".to_owned()].into());
    assert_eq!((about.get("members"), about.get("presences")), (None, None));

    let members: Vec<_> = (1000..1600).map(|id| member(id, &format!("m{id}"))).collect();
    let path_of_members = format!("{path}/members");
    put(node, &path_of_members, &json!(members)).await;
    // Nothing was dispatched for that, and what was dispatched after it stands behind it.
    tell(node, &guild, "CHANNEL_DELETE", json!({ "id": "70" })).await;
    client.expect_dispatch("CHANNEL_DELETE").await;
    let own = ids(&whole["members"]);
    let expected: BTreeSet<_> = own.union(&digits(1000..1600)).cloned().collect();
    assert!(all_members(&mut client, &guild).await == expected);
    let (mut paged, mut after) = (Vec::new(), String::new());
    loop {
        let page = get(node, &format!("{path_of_members}?limit=250{after}")).await;
        paged.extend(ids(&page["members"]));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(paged.len(), expected.len());
    assert_eq!(paged.into_iter().collect::<BTreeSet<_>>(), expected);

    let list = get(node, "?limit=1").await;
    assert_eq!(list, json!({ "guilds": [guild.id], "next": guild.id }));
    let rest = get(node, &format!("?limit=1&after={}", guild.id)).await;
    assert_eq!(rest, json!({ "guilds": [other.id], "next": null }));
    let (status, _) = ask(node, "root", "DELETE", &path, &Value::Null).await;
    assert_eq!(status, 202);
    assert_eq!(client.expect_dispatch("GUILD_DELETE").await, json!({ "id": guild.id }));
    assert_eq!(get(node, "").await["guilds"], json!([other.id]));

    for (method, path) in [("GET", ""), ("DELETE", ""), ("GET", "/members"), ("PUT", "/members")] {
        let path = format!("/{}{path}", guild.id);
        let (status, answer) = ask(node, "root", method, &path, &json!([member(1, "m")])).await;
        assert_eq!((status, &answer["code"]), (404, &json!("not_found")), "{method} {path}");
    }
    whole["members"][1]["user"] = json!({});
    let large = "x".repeat(EVENT_BYTES);
    for (path, body, status, says) in [
        ("/7", json!([]), 400, "the body is no guild"),
        ("/7", json!({ "id": "8" }), 422, "`id` is not that of the path"),
        ("/7", json!({ "id": "7", "roles": 1 }), 422, "`roles` must be a list"),
        (
            "/7",
            json!({ "id": "7", "members": whole["members"] }),
            422,
            "`members[1]` has no id",
        ),
        ("/7", json!({ "id": "7", "name": large }), 413, "may have 20000 bytes"),
        ("/x", json!({}), 404, ""),
        ("/7/members", json!({}), 400, "the body is no list of members"),
        ("/7/members", json!([]), 413, "1 to 1000 members"),
        ("/7/members", json!([{}]), 422, "`members[0]` has no id"),
        ("/7/members", json!([member(1, &large)]), 413, "`members[0]`"),
    ] {
        let (known, answer) = ask(node, "root", "PUT", path, &body).await;
        let message = answer["message"].as_str().expect("a message");
        assert!(known == status && message.contains(says), "{path} {known} {answer}");
    }
    assert_eq!(
        get(node, "").await["guilds"],
        json!([other.id]),
        "nothing of it was taken"
    );
    // Who may publish may not read, and no key is about another application.
    assert_eq!(ask(node, "service", "GET", "", &Value::Null).await.0, 403);
    assert_eq!(ask(node, "bot", "PUT", "/7", &json!({})).await.0, 403);
    let bearer = format!("Bearer {}", key("root"));
    let elsewhere = "/api/v1/applications/other/guilds";
    let answer = request(node.address(), "GET", elsewhere, &[("authorization", &bearer)], "").await;
    assert_eq!(answer.status, 404);
}

#[tokio::test]
async fn a_node_that_is_alone_is_told_and_asked_about_guilds() {
    is_told_and_asked(&setup().start().await).await;
}

#[tokio::test]
async fn a_node_of_a_cluster_is_told_and_asked_about_guilds() {
    let redis = RedisProcess::start().await;
    is_told_and_asked(&node(&redis).await).await;
}

#[tokio::test]
async fn every_node_knows_the_guilds_and_so_does_one_that_starts_later() {
    let redis = RedisProcess::start().await;
    let guild = TestGuild::new(0, 3);
    let (mut one, mut two) = (node(&redis).await, node(&redis).await);
    // Nobody is connected, so no node listens.
    put(&one, &format!("/{}", guild.id), &guild.whole()).await;
    tell(&two, &guild, "GUILD_MEMBER_ADD", member(77, "late")).await;
    tell(
        &one,
        &guild,
        "GUILD_MEMBER_REMOVE",
        json!({ "user": guild.whole()["members"][0]["user"] }),
    )
    .await;
    let path = format!("/{}/members", guild.id);
    put(
        &two,
        &path,
        &json!((500..520).map(|id| member(id, "bulk")).collect::<Vec<_>>()),
    )
    .await;
    tell(
        &two,
        &guild,
        "GUILD_UPDATE",
        json!({ "id": guild.id, "name": "renamed" }),
    )
    .await;
    let mut expected: BTreeSet<_> = ids(&guild.whole()["members"]).into_iter().skip(1).collect();
    expected.extend(digits([77]));
    expected.extend(digits(500..520));
    for node in [&one, &two] {
        let (mut client, ready) = session(node).await;
        assert_eq!(ids(&ready["guilds"]), [guild.id.clone()].into());
        let created = client.expect_dispatch("GUILD_CREATE").await;
        assert_eq!(
            (
                &created["name"],
                &created["member_count"],
                created["unavailable"].as_bool()
            ),
            (&json!("renamed"), &json!(23), Some(false))
        );
        assert_eq!(all_members(&mut client, &guild).await, expected);
        client.close(1000).await;
    }
    // What changes while a node has nobody, and does not listen, it knows when somebody comes.
    let watched = one.address();
    eventually("a node without sessions", async || {
        let health = request(watched, "GET", "/health", &[], "").await.json();
        (health["sessions"]["discord"] == 0).then_some(())
    })
    .await;
    tell(&two, &guild, "GUILD_MEMBER_ADD", member(78, "later")).await;
    expected.extend(digits([78]));
    let (mut client, _) = session(&one).await;
    client.expect_dispatch("GUILD_CREATE").await;
    assert_eq!(all_members(&mut client, &guild).await, expected);
    // No node is left that has seen any of it.
    for node in [&mut one, &mut two] {
        node.signal(Signal::SIGKILL);
        node.ended(SLACK).await;
    }
    let three = node(&redis).await;
    let (mut client, ready) = session(&three).await;
    assert_eq!(ids(&ready["guilds"]), [guild.id.clone()].into());
    assert_eq!(client.expect_dispatch("GUILD_CREATE").await["name"], "renamed");
    assert_eq!(all_members(&mut client, &guild).await, expected);
    assert_eq!(
        ids(&get(&three, &format!("{path}?limit=1000")).await["members"]),
        expected
    );
}

#[tokio::test]
async fn what_has_changed_a_guild_is_folded_into_it() {
    let redis = RedisProcess::start().await;
    let guild = TestGuild::new(0, 1);
    let one = node(&redis).await;
    put(&one, &format!("/{}", guild.id), &guild.whole()).await;
    let long = "x".repeat(2000);
    let list = format!("utilbot:{{utilbot}}:guild:{}", guild.id);
    for round in 0..3_u64 {
        for id in 0..50 {
            let mut member = member(1000 + id, &long);
            member["nick"] = json!(format!("{round}"));
            tell(&one, &guild, "GUILD_MEMBER_ADD", member).await;
        }
        eventually("a guild without much beside it", async || {
            let items: u64 = redis.cli(&["LLEN", &list]).await.trim().parse().expect("a number");
            (items < 40).then_some(())
        })
        .await;
    }
    // Another node puts together what is written down.
    let two = node(&redis).await;
    let path = format!("/{}", guild.id);
    let page = get(&two, &format!("{path}/members?limit=1000")).await;
    let members = page["members"].as_array().expect("members").iter();
    let put = members.filter(|it| it["user"]["username"] == long);
    assert_eq!(put.map(|it| &it["nick"]).collect::<Vec<_>>(), vec!["2"; 50]);
    assert_eq!(get(&two, &path).await["member_count"], 51);
}

#[tokio::test]
async fn a_redis_that_has_lost_a_change_is_believed() {
    let mut redis = RedisProcess::start().await;
    let guild = TestGuild::new(0, 1);
    let one = node(&redis).await;
    let (mut client, _) = session(&one).await;
    put(&one, &format!("/{}", guild.id), &guild.whole()).await;
    client.expect_dispatch("GUILD_CREATE").await;
    tell(&one, &guild, "GUILD_UPDATE", json!({ "id": guild.id, "name": "lost" })).await;
    client.expect_dispatch("GUILD_UPDATE").await;
    redis.kill().await;
    redis.truncate_log(1 << 20);
    redis.restart().await;
    // What the client has seen is gone.
    assert_eq!(client.expect_op(9).await, json!(false));
    ready(&one).await;
    let known = get(&one, "").await["guilds"].clone();
    let (mut client, ready) = session(&one).await;
    assert_eq!(ids(&ready["guilds"]), ids(&known), "the node knows what Redis does");
    put(&one, &format!("/{}", guild.id), &guild.whole()).await;
    client.dispatch_among_others("GUILD_CREATE").await;
}

/// Changes of members that several publish at the same time, through nodes that lose their subscriptions and then Redis
/// itself for a moment. Whatever the order, each node has to come to what Redis has.
#[tokio::test]
async fn every_node_comes_to_the_same_guild() {
    const PUBLISHERS: u64 = 4;
    const ROUNDS: u64 = 40;
    let mut redis = RedisProcess::start().await;
    let guild = TestGuild::new(0, 1);
    let nodes = [node(&redis).await, node(&redis).await];
    put(&nodes[0], &format!("/{}", guild.id), &guild.whole()).await;
    let mut clients = Vec::new();
    for node in &nodes {
        let (mut client, _) = session(node).await;
        client.expect_dispatch("GUILD_CREATE").await;
        clients.push(client);
    }
    let change = async |publisher: u64, round: u64| {
        let node = &nodes[usize::try_from((publisher + round) % 2).expect("one of two")];
        let id = 1000 + (publisher * 7 + round * 3) % 30;
        let (t, d) = match (publisher + round) % 3 {
            0 => ("GUILD_MEMBER_REMOVE", json!({ "user": { "id": id.to_string() } })),
            1 => ("GUILD_MEMBER_ADD", member(id, &format!("{publisher} {round}"))),
            _ => (
                "GUILD_MEMBER_UPDATE",
                json!({ "user": { "id": id.to_string() }, "nick": format!("{publisher} {round}") }),
            ),
        };
        tell(node, &guild, t, d).await;
    };
    let publish = async |rounds: std::ops::Range<u64>| {
        let publishers = (0..PUBLISHERS).map(|publisher| {
            let (change, rounds) = (&change, rounds.clone());
            async move {
                for round in rounds {
                    change(publisher, round).await;
                }
            }
        });
        futures_util::future::join_all(publishers).await;
    };
    for half in [0..ROUNDS / 2, ROUNDS / 2..ROUNDS] {
        let middle = half.start.midpoint(half.end);
        publish(half.start..middle).await;
        redis.kill_pubsub_clients().await;
        publish(middle..half.end).await;
        redis.stop().await;
        redis.restart().await;
        for node in &nodes {
            eventually("a node that has found Redis again", async || {
                let health = request(node.address(), "GET", "/health", &[], "").await.json();
                (health["backplane"]["available"] == true).then_some(())
            })
            .await;
        }
    }
    tell(
        &nodes[0],
        &guild,
        "CHANNEL_UPDATE",
        json!({ "id": guild.channel, "name": "last" }),
    )
    .await;
    let path = format!("/{}/members?limit=1000", guild.id);
    let kept = get(&nodes[1], &path).await["members"].clone();
    assert!(ids(&kept).len() > 5, "{kept}");
    for mut client in clients {
        client.dispatch_among_others("CHANNEL_UPDATE").await;
        client
            .send(8, &json!({ "guild_id": guild.id, "query": "", "limit": 0 }))
            .await;
        let chunk = client.expect_dispatch("GUILD_MEMBERS_CHUNK").await;
        assert_eq!(chunk["members"], kept);
    }
}
