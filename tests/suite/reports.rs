//! `send_servers` and `GLOBAL_GUILD_COUNT`.

use std::time::{Duration, Instant};

use gateway_harness::{NodeProcess, PacketEncoding, V1Client, full_setup, key};
use serde_json::{Value, json};

async fn bot(node: &NodeProcess) -> V1Client {
    V1Client::session(node, "bot", &key("bot")).await
}

fn counts(guilds: u64, members: u64, cached: u64) -> Value {
    json!({ "guilds": guilds, "guildMembers": members, "cachedGuildMembers": cached })
}

/// Reads on until these counts come. Others may come before: changes are told together, but not always.
async fn reaches(client: &mut V1Client, expected: &Value) {
    loop {
        let seen = client.event("GLOBAL_GUILD_COUNT").await;
        if seen == *expected {
            return;
        }
        println!("{seen} on the way to {expected}");
    }
}

#[tokio::test]
async fn counts_are_the_sums_over_all_bots_and_go_to_every_bot() {
    let node = full_setup().start().await;
    let mut bots = [bot(&node).await, bot(&node).await, bot(&node).await];
    bots[0].send_event("send_servers", &counts(1, 10, 100)).await;
    bots[1].send_event("send_servers", &counts(2, 20, 200)).await;
    bots[2].send_event("send_servers", &counts(3, 30, 300)).await;
    for bot in &mut bots {
        reaches(bot, &counts(6, 60, 600)).await;
    }
}

#[tokio::test]
async fn only_bots_are_told_and_zlib_bots_too() {
    let node = full_setup().start().await;
    let mut website = V1Client::session(&node, "website", &key("website")).await;
    let mut service = V1Client::session(&node, "service", &key("service")).await;
    let mut zlib = V1Client::session_in(&node, "bot", &key("bot"), PacketEncoding::Zlib).await;
    zlib.send_event("send_servers", &counts(1, 2, 3)).await;
    assert_eq!(zlib.event("GLOBAL_GUILD_COUNT").await, counts(1, 2, 3));
    // Events reach everybody in one order: what comes next was sent after the counts.
    zlib.send_event("announce", &json!({ "after": "counts" })).await;
    website.event("announce").await;
    service.event("announce").await;
}

#[tokio::test]
async fn an_id_that_several_bots_report_counts_once() {
    let node = full_setup().start().await;
    let (mut first, mut second) = (bot(&node).await, bot(&node).await);
    first
        .send_event(
            "send_servers",
            &json!({ "guilds": ["7", 8, "007", 9_007_199_254_740_991_u64] }),
        )
        .await;
    reaches(&mut first, &counts(3, 0, 0)).await;
    second
        .send_event(
            "send_servers",
            &json!({ "guilds": [7, "18446744073709551615"], "guildMembers": 1 }),
        )
        .await;
    reaches(&mut first, &counts(4, 1, 0)).await;
    // Counts and ids are added up.
    let mut third = bot(&node).await;
    third.send_event("send_servers", &json!({ "guilds": 1000 })).await;
    reaches(&mut first, &counts(1004, 1, 0)).await;
    // 7 is still reported by the second one.
    first.send_event("send_servers", &json!({ "guilds": [] })).await;
    reaches(&mut second, &counts(1002, 1, 0)).await;
}

#[tokio::test]
async fn a_report_replaces_the_previous_one_and_a_field_left_out_counts_as_0() {
    let node = full_setup().start().await;
    let mut bot = bot(&node).await;
    for (report, expected) in [
        (
            json!({ "guilds": 5, "guildMembers": 6, "cachedGuildMembers": 7, "shard": [0, 2] }),
            counts(5, 6, 7),
        ),
        (json!({ "guilds": ["1", "2"] }), counts(2, 0, 0)),
        (json!({ "guildMembers": 9 }), counts(0, 9, 0)),
        (
            json!({ "cachedGuildMembers": 1, "shard": [1, 2], "other": [] }),
            counts(0, 0, 1),
        ),
        (
            json!({ "guilds": 9_007_199_254_740_991_u64 }),
            counts(9_007_199_254_740_991, 0, 0),
        ),
        (json!({ "guilds": 0 }), counts(0, 0, 0)),
    ] {
        bot.send_event("send_servers", &report).await;
        assert_eq!(bot.event("GLOBAL_GUILD_COUNT").await, expected, "{report}");
    }
}

#[tokio::test]
async fn ten_thousand_ids_are_taken_and_one_more_is_not() {
    let node = full_setup().set("limits.message_bytes", 1_000_000).start().await;
    let mut bot = bot(&node).await;
    let ids: Vec<u64> = (1..=10_000).collect();
    bot.send_event("send_servers", &json!({ "guilds": ids })).await;
    reaches(&mut bot, &counts(10_000, 0, 0)).await;
    let ids: Vec<u64> = (1..=10_001).collect();
    bot.send_event("send_servers", &json!({ "guilds": ids })).await;
    let error = bot.error(4005, 4005).await;
    assert_eq!(error["d"]["errors"], json!(["Guilds must be at most 10000 ids."]));
}

#[tokio::test]
async fn the_report_of_a_bot_that_leaves_is_taken_out_however_it_leaves() {
    let node = full_setup().start().await;
    let mut stays = bot(&node).await;
    for way in ["closes", "drops", "errs"] {
        let mut leaves = bot(&node).await;
        leaves
            .send_event("send_servers", &json!({ "guilds": ["1", "2"], "guildMembers": 5 }))
            .await;
        reaches(&mut stays, &counts(2, 5, 0)).await;
        match way {
            "closes" => assert_eq!(leaves.close(1000).await, Some(1000)),
            "drops" => drop(leaves),
            _ => leaves.send(&json!({})).await,
        }
        reaches(&mut stays, &counts(0, 0, 0)).await;
    }
}

#[tokio::test]
async fn changes_in_quick_succession_are_told_together() {
    const INTERVAL: Duration = Duration::from_millis(300);
    let node = full_setup().set("v1.guild_count_interval_ms", 300).start().await;
    let (mut reporter, mut listener) = (bot(&node).await, bot(&node).await);
    let begin = Instant::now();
    let mut guilds = 0;
    while begin.elapsed() < 4 * INTERVAL {
        guilds += 1;
        reporter.send_event("send_servers", &json!({ "guilds": guilds })).await;
        // Its answer says that the report was taken; counts may come before it.
        reporter.send(&json!({ "op": 10 })).await;
        while reporter.next().await["op"] != 11 {}
    }
    let mut seen = Vec::new();
    while seen.last() != Some(&guilds) {
        seen.push(listener.event("GLOBAL_GUILD_COUNT").await["guilds"].as_u64().unwrap());
    }
    assert!(seen.is_sorted_by(|earlier, later| earlier < later), "{seen:?}");
    let most = begin.elapsed().as_millis() / INTERVAL.as_millis() + 1;
    assert!(
        seen.len() as u128 <= most,
        "{} messages for {guilds} changes in {most} intervals",
        seen.len()
    );
    assert!(guilds > 20, "only {guilds} changes");
}

#[tokio::test]
async fn the_default_interval_is_a_second() {
    let node = gateway_harness::Setup::new().start().await;
    let mut bot = V1Client::session(&node, "bot", &node.development_key()).await;
    bot.send_event("send_servers", &json!({ "guilds": 1 })).await;
    assert_eq!(bot.event("GLOBAL_GUILD_COUNT").await, counts(1, 0, 0));
    let first = Instant::now();
    bot.send_event("send_servers", &json!({ "guilds": 2 })).await;
    assert_eq!(bot.event("GLOBAL_GUILD_COUNT").await, counts(2, 0, 0));
    // The first one may have been a little late.
    assert!(first.elapsed() > Duration::from_millis(900), "{:?}", first.elapsed());
}

#[tokio::test]
async fn a_change_that_leaves_the_totals_equal_is_not_told() {
    const INTERVAL: Duration = Duration::from_millis(20);
    let node = full_setup().set("v1.guild_count_interval_ms", 20).start().await;
    let (mut first, mut second) = (bot(&node).await, bot(&node).await);
    first.send_event("send_servers", &json!({ "guilds": 2 })).await;
    assert_eq!(second.event("GLOBAL_GUILD_COUNT").await, counts(2, 0, 0));
    // For many intervals reports come that change nothing in sum, and bots that report nothing come and go.
    let begin = Instant::now();
    while begin.elapsed() < 10 * INTERVAL {
        for report in [
            json!({ "guilds": ["1", "2"] }),
            json!({ "guilds": ["2", "1"] }),
            json!({ "guilds": 2 }),
        ] {
            first.send_event("send_servers", &report).await;
        }
        bot(&node).await.close(1000).await;
    }
    first.send_event("announce", &json!({ "marker": true })).await;
    // The marker is the next thing on the stream.
    second.event("announce").await;
}
