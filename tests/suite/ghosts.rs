//! Who counts: the bots of a node that was killed do not, those of a node that lives do, whatever became of Redis.

use std::time::Duration;

use gateway_harness::{NodeProcess, RedisProcess, V1Client, full_setup, key, ready, within_time};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

const LEASE: Duration = Duration::from_secs(2);
/// The longest time between two looks for nodes whose lease has ended.
const REAP: Duration = Duration::from_millis(700);
/// What a busy machine may take for all the rest.
const SLACK: Duration = Duration::from_secs(3);

async fn node(redis: &RedisProcess) -> NodeProcess {
    let node = full_setup()
        .redis(&redis.url())
        .set("cluster.lease_ms", LEASE.as_millis())
        .start()
        .await;
    ready(&node).await;
    node
}

/// A bot that has reported these guilds.
async fn bot(node: &NodeProcess, guilds: &[&str]) -> V1Client {
    let mut bot = V1Client::session(node, "bot", &key("bot")).await;
    let report = json!({ "guilds": guilds, "guildMembers": 10, "cachedGuildMembers": 1 });
    bot.send_event("send_servers", &report).await;
    bot
}

fn counts(guilds: u64, bots: u64) -> Value {
    json!({ "guilds": guilds, "guildMembers": 10 * bots, "cachedGuildMembers": bots })
}

/// Reads on until these counts are told.
async fn told(bot: &mut V1Client, counts: &Value) {
    while bot.event_among_others("GLOBAL_GUILD_COUNT").await != *counts {}
}

#[tokio::test]
async fn the_bots_of_a_killed_node_leave_the_counts_within_its_lease_and_a_look() {
    let redis = RedisProcess::start().await;
    let (mut dying, living, other) = (node(&redis).await, node(&redis).await, node(&redis).await);
    let mut ghosts = Vec::new();
    for guilds in [["1", "2"], ["2", "3"], ["3", "4"]] {
        ghosts.push(bot(&dying, &guilds).await);
    }
    let mut watching = [bot(&living, &["4", "5"]).await, bot(&other, &["5", "6"]).await];
    for bot in &mut watching {
        told(bot, &counts(6, 5)).await;
    }
    // Nobody is removed who has had a lease less long than those who look; it begins with their connections.
    sleep(LEASE).await;
    let killed = Instant::now();
    dying.signal(Signal::SIGKILL);
    dying.ended(SLACK).await;
    for bot in &mut watching {
        within_time(
            "the counts without the dead",
            LEASE + REAP + SLACK,
            told(bot, &counts(3, 2)),
        )
        .await;
    }
    let took = killed.elapsed();
    println!("the dead left the counts {} ms after they died", took.as_millis());
}

#[tokio::test]
async fn nobody_who_lives_leaves_the_counts_because_redis_was_away() {
    let mut redis = RedisProcess::start().await;
    let (one, two) = (node(&redis).await, node(&redis).await);
    let mut bots = [bot(&one, &["1", "2"]).await, bot(&two, &["2", "3"]).await];
    for bot in &mut bots {
        told(bot, &counts(3, 2)).await;
    }
    redis.kill().await;
    // Every lease ends meanwhile.
    sleep(2 * LEASE).await;
    redis.restart().await;
    ready(&one).await;
    ready(&two).await;
    // Long enough for anybody who would remove somebody to do so.
    sleep(2 * LEASE + REAP).await;
    let mut late = V1Client::greeted(&one, gateway_harness::PacketEncoding::Plain).await;
    late.identify("bot", &key("bot")).await;
    assert_eq!(late.event("GLOBAL_GUILD_COUNT").await, counts(3, 2));
    // And nobody was told anything else: the next counts are those with one more.
    late.send_event(
        "send_servers",
        &json!({ "guilds": ["9"], "guildMembers": 10, "cachedGuildMembers": 1 }),
    )
    .await;
    for bot in &mut bots {
        assert_eq!(bot.event("GLOBAL_GUILD_COUNT").await, counts(4, 3));
    }
}
