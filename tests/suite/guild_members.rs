//! Requests for the members of large guilds: answered in order, as the client takes the answers, while others are served.

use gateway_harness::{
    KEYS, NodeProcess, SECRET, Setup,
    discord::{ALL_INTENTS, DiscordClient, TestGuild},
    key, publish, ready, request,
};
use serde_json::{Value, json};

const V10: &str = "v=10&encoding=json";
const MEMBERS: u64 = 4500;

/// A node with two applications; the bot of the second has the key `other`.
async fn node(interval_ms: u64) -> NodeProcess {
    let file = format!(
        "[[applications]]\nid = \"utilbot\"\nmax_concurrency = 100\n\n\
         [[applications]]\nid = \"other\"\nmax_concurrency = 100\n{KEYS}\n\
         [[keys]]\nid = \"other\"\napplication = \"other\"\ntype = \"bot\"\nsecret = \"{SECRET}\"\n"
    );
    let node = Setup::new()
        .file(&file)
        .set("discord.member_list_interval_ms", interval_ms)
        .start()
        .await;
    ready(&node).await;
    node
}

/// Puts a guild with so many members, a thousand in each request.
async fn put(node: &NodeProcess, guild: &TestGuild, members: u64) {
    publish(node, &key("root"), &guild.create()).await;
    let bearer = format!("Bearer {}", key("root"));
    let target = format!("/api/v1/applications/utilbot/guilds/{}/members", guild.id);
    let ids: Vec<u64> = (1..=members).map(|number| (900_000 + number) << 22).collect();
    for some in ids.chunks(1000) {
        let member = |id: &u64| json!({"user": {"id": id.to_string(), "username": "someone"}, "roles": []});
        let body = json!(some.iter().map(member).collect::<Vec<_>>()).to_string();
        let answer = request(node.address(), "PUT", &target, &[("authorization", &bearer)], &body).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
    }
}

async fn ask(client: &mut DiscordClient, guild: &TestGuild, nonce: &str) {
    let d = json!({ "guild_id": guild.id, "query": "", "limit": 0, "nonce": nonce });
    client.send(8, &d).await;
}

/// Takes one whole answer, and returns the ids of its members in their order.
async fn answer(client: &mut DiscordClient, nonce: &str) -> Vec<u64> {
    let mut members = Vec::new();
    for index in 0.. {
        let chunk = client.expect_dispatch("GUILD_MEMBERS_CHUNK").await;
        assert_eq!((&chunk["nonce"], &chunk["chunk_index"]), (&json!(nonce), &json!(index)));
        let some = chunk["members"].as_array().unwrap();
        assert!(some.len() <= 1000);
        members.extend(
            some.iter()
                .map(|it| it["user"]["id"].as_str().unwrap().parse::<u64>().unwrap()),
        );
        if chunk["chunk_count"] == json!(index + 1) {
            break;
        }
    }
    members
}

#[tokio::test]
async fn many_requests_at_once_are_answered_completely_and_in_order_while_others_beat() {
    let node = node(0).await;
    let guild = TestGuild::new(1, 0);
    put(&node, &guild, MEMBERS).await;
    let (mut bot, _) = DiscordClient::session(&node, V10, &key("bot"), ALL_INTENTS).await;
    bot.expect_dispatch("GUILD_CREATE").await;
    let other = format!("other.{SECRET}");
    let (mut other, _) = DiscordClient::session(&node, V10, &other, 1).await;
    let nonces: Vec<String> = (0..8).map(|number| format!("n{number}")).collect();
    for nonce in &nonces {
        ask(&mut bot, &guild, nonce).await;
    }
    for nonce in &nonces {
        let members = answer(&mut bot, nonce).await;
        assert_eq!(members.len() as u64, MEMBERS);
        assert!(members.is_sorted(), "{nonce}");
        other.heartbeat().await;
    }
    // Afterwards it receives as before.
    let event = json!({ "t": "CHANNEL_CREATE", "to": { "guild": guild.id }, "d": { "id": "5", "guild_id": guild.id } });
    publish(&node, &key("root"), &event).await;
    bot.expect_dispatch("CHANNEL_CREATE").await;
}

#[tokio::test]
async fn a_session_that_resumes_in_the_middle_of_an_answer_gets_the_rest_of_it() {
    let node = node(0).await;
    let guild = TestGuild::new(1, 0);
    put(&node, &guild, MEMBERS).await;
    let (mut bot, ready) = DiscordClient::session(&node, V10, &key("bot"), ALL_INTENTS).await;
    bot.expect_dispatch("GUILD_CREATE").await;
    ask(&mut bot, &guild, "a").await;
    for index in 0..2 {
        let chunk = bot.expect_dispatch("GUILD_MEMBERS_CHUNK").await;
        assert_eq!(chunk["chunk_index"], index);
    }
    let (session, sequence) = (ready["session_id"].as_str().unwrap().to_owned(), bot.sequence());
    drop(bot);
    let mut again = DiscordClient::greeted(&node, V10).await;
    again.resume(&key("bot"), &session, sequence).await;
    for index in 2..5 {
        let chunk = again.expect_dispatch("GUILD_MEMBERS_CHUNK").await;
        assert_eq!(
            (&chunk["chunk_index"], &chunk["chunk_count"]),
            (&json!(index), &json!(5))
        );
    }
    again.expect_dispatch("RESUMED").await;
}

#[tokio::test]
async fn a_second_full_list_of_a_guild_too_soon_is_rate_limited() {
    let node = node(3_600_000).await;
    let guild = TestGuild::new(1, 2);
    publish(&node, &key("root"), &guild.create()).await;
    let (mut bot, _) = DiscordClient::session(&node, V10, &key("bot"), ALL_INTENTS).await;
    bot.expect_dispatch("GUILD_CREATE").await;
    ask(&mut bot, &guild, "a").await;
    answer(&mut bot, "a").await;
    ask(&mut bot, &guild, "b").await;
    let d = bot.expect_dispatch("RATE_LIMITED").await;
    assert_eq!(d["opcode"], 8);
    assert!(d["retry_after"].as_f64().unwrap() > 0.0, "{d}");
    assert_eq!(d["meta"], json!({ "guild_id": guild.id, "nonce": "b" }));
    // Anything but the whole list is answered.
    let some: Value = json!({ "guild_id": guild.id, "query": "nobody", "limit": 1, "nonce": "c" });
    bot.send(8, &some).await;
    assert_eq!(answer(&mut bot, "c").await, [0; 0]);
}

/// A close with 4001 would be fatal to hikari.
#[tokio::test]
async fn each_id_is_answered_once_and_what_is_no_id_is_not_found() {
    let node = node(0).await;
    let guild = TestGuild::new(1, 0);
    put(&node, &guild, 1).await;
    let member = (900_001_u64 << 22).to_string();
    let (mut bot, _) = DiscordClient::session(&node, V10, &key("bot"), ALL_INTENTS).await;
    bot.expect_dispatch("GUILD_CREATE").await;
    let mut request = async |user_ids: Value| {
        let d = json!({ "guild_id": guild.id, "user_ids": user_ids, "nonce": "n" });
        bot.send(8, &d).await;
        let chunk = bot.expect_dispatch("GUILD_MEMBERS_CHUNK").await;
        let members = chunk["members"].as_array().unwrap();
        let ids: Vec<_> = members.iter().map(|it| it["user"]["id"].clone()).collect();
        (ids, chunk["not_found"].clone())
    };
    let found = vec![json!(member)];
    assert_eq!(request(json!(vec![&member; 101])).await, (found.clone(), Value::Null));
    let number: u64 = member.parse().unwrap();
    assert_eq!(request(json!([member, number])).await, (found.clone(), Value::Null));
    let mut ids: Vec<_> = (1..150).map(|id: u64| id.to_string()).collect();
    ids.push(member);
    assert_eq!(request(json!(ids)).await, (found, json!(ids[..149])));
    let too_long = "9".repeat(40);
    let invalid = json!(["x", "", too_long, -1, null, "x", "7", 7]);
    let not_found = json!(["x", "", too_long, -1, null, "7"]);
    assert_eq!(request(invalid).await, (vec![], not_found));
    assert_eq!(request(json!("x")).await, (vec![], json!(["x"])));
}
