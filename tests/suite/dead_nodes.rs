//! Guild counts exclude the bots of a killed node, and include those of live nodes even after a Redis outage.

use std::time::Duration;

use gateway_harness::{NodeProcess, RedisProcess, V1Client, full_setup, key, ready, within_time};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

const LEASE: Duration = Duration::from_secs(2);
/// The longest interval between two searches for nodes whose lease has expired.
const REAP_INTERVAL: Duration = Duration::from_millis(700);
/// Extra time for a busy machine.
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

/// Connects a bot and reports these guilds.
async fn bot(node: &NodeProcess, guilds: &[&str]) -> V1Client {
    let mut bot = V1Client::session(node, "bot", &key("bot")).await;
    let report = json!({ "guilds": guilds, "guildMembers": 10, "cachedGuildMembers": 1 });
    bot.send_event("send_servers", &report).await;
    bot
}

fn counts(guilds: u64, bots: u64) -> Value {
    json!({ "guilds": guilds, "guildMembers": 10 * bots, "cachedGuildMembers": bots })
}

/// Reads until the bot receives these counts.
async fn wait_for_counts(bot: &mut V1Client, counts: &Value) {
    while bot.event_among_others("GLOBAL_GUILD_COUNT").await != *counts {}
}

#[tokio::test]
async fn bots_of_a_killed_node_leave_the_counts_within_a_lease_and_a_reap() {
    let redis = RedisProcess::start().await;
    let (mut dying, living, other) = (node(&redis).await, node(&redis).await, node(&redis).await);
    let mut dead_bots = Vec::new();
    for guilds in [["1", "2"], ["2", "3"], ["3", "4"]] {
        dead_bots.push(bot(&dying, &guilds).await);
    }
    let mut watching = [bot(&living, &["4", "5"]).await, bot(&other, &["5", "6"]).await];
    for bot in &mut watching {
        wait_for_counts(bot, &counts(6, 5)).await;
    }
    // A node removes another one only after watching it for a whole lease, which begins with its Redis connection.
    sleep(LEASE).await;
    let killed = Instant::now();
    dying.signal(Signal::SIGKILL);
    dying.ended(SLACK).await;
    for bot in &mut watching {
        within_time(
            "the counts exclude the killed node",
            LEASE + REAP_INTERVAL + SLACK,
            wait_for_counts(bot, &counts(3, 2)),
        )
        .await;
    }
    let took = killed.elapsed();
    println!("the counts excluded the killed node after {} ms", took.as_millis());
}

#[tokio::test]
async fn live_bots_stay_in_the_counts_through_a_redis_outage() {
    let mut redis = RedisProcess::start().await;
    let (one, two) = (node(&redis).await, node(&redis).await);
    let mut bots = [bot(&one, &["1", "2"]).await, bot(&two, &["2", "3"]).await];
    for bot in &mut bots {
        wait_for_counts(bot, &counts(3, 2)).await;
    }
    redis.kill().await;
    // Every lease expires meanwhile.
    sleep(2 * LEASE).await;
    redis.restart().await;
    ready(&one).await;
    ready(&two).await;
    // Long enough for a node to remove another one, if it did.
    sleep(2 * LEASE + REAP_INTERVAL).await;
    let mut late = V1Client::greeted(&one, gateway_harness::PacketEncoding::Plain).await;
    late.identify("bot", &key("bot")).await;
    assert_eq!(late.event("GLOBAL_GUILD_COUNT").await, counts(3, 2));
    // The bots received no other counts meanwhile: the next ones include the new bot.
    late.send_event(
        "send_servers",
        &json!({ "guilds": ["9"], "guildMembers": 10, "cachedGuildMembers": 1 }),
    )
    .await;
    for bot in &mut bots {
        assert_eq!(bot.event("GLOBAL_GUILD_COUNT").await, counts(4, 3));
    }
}
