//! Tests of reports that change many guilds, and of their cost for the server.

use shared::{
    guild::GuildId,
    v1::{Report, ReportedGuilds},
};

use super::{
    test_node::{APPLICATION, ClusterNode, eventually},
    test_server::TestServer,
};
use crate::backplane::{Backplane as _, ReportLimits};

/// An allowance of 100 ids that is restored in two seconds.
const FEW: ReportLimits = ReportLimits {
    ids_per_second: 50,
    ids_burst: 100,
};

#[tokio::test]
async fn only_the_latest_report_beyond_the_allowance_is_sent_later() {
    let server = TestServer::start();
    let node = ClusterNode::start_with(&server, 1, FEW);
    node.ready().await;
    let bot = node.join().await;
    let all: Vec<u64> = (1..=1000).collect();
    node.report(bot.id, &all[..120]);
    node.published(120, 1).await;
    for last in 200..=210 {
        node.report(bot.id, &all[..last]);
    }
    assert!(!node.backplane.is_flushed());
    node.published(210, 1).await;
    assert_eq!(node.seen.times_told(), 2, "no counts between the first and the last");
}

#[tokio::test]
async fn a_key_without_an_allowance_delays_no_other_key_and_no_leave() {
    let server = TestServer::start();
    let node = ClusterNode::start_with(
        &server,
        1,
        ReportLimits {
            ids_per_second: 1,
            ..FEW
        },
    );
    node.ready().await;
    let (busy, other) = (node.join().await, node.join().await);
    let all: Vec<u64> = (1..=1000).collect();
    node.report(busy.id, &all);
    node.published(1000, 1).await;
    // This report would wait for a quarter of an hour.
    node.report(busy.id, &all[..10]);
    let report = Report {
        guilds: ReportedGuilds::Ids(vec![GuildId::from_raw(2000)]),
        guild_members: 10,
        cached_guild_members: 1,
        shard: None,
    };
    drop(node.backplane.report(APPLICATION, other.id, &"other".into(), report));
    node.published(1001, 2).await;
    node.backplane.leave(APPLICATION, busy.id);
    node.published(1, 1).await;
}

#[tokio::test]
async fn reports_lost_by_redis_are_restored_without_an_allowance() {
    let mut server = TestServer::start();
    let node = ClusterNode::start_with(
        &server,
        1,
        ReportLimits {
            ids_per_second: 1,
            ..FEW
        },
    );
    node.ready().await;
    let bots = [node.join().await, node.join().await];
    let all: Vec<u64> = (1..=1000).collect();
    node.report(bots[0].id, &all[..99]);
    node.published(99, 1).await;
    node.report(bots[1].id, &all);
    node.published(1000, 2).await;
    server.cli(&["FLUSHALL"]);
    server.kill();
    node.away().await;
    server.start_again();
    node.ready().await;
    let joined = |node: &ClusterNode| node.backplane.is_flushed();
    eventually("the reports on the new server", || joined(&node)).await;
    let guilds = server.cli(&["HLEN", "test:{utilbot}:guilds"]);
    assert_eq!(guilds.trim(), "1000");
}

#[tokio::test]
async fn a_script_call_touches_at_most_one_part_of_a_report() {
    let server = TestServer::start();
    let node = ClusterNode::start(&server, 1).await;
    // One session stays, to receive the counts.
    let (bot, _) = (node.join().await, node.join().await);
    server.cli(&["CONFIG", "RESETSTAT"]);
    let all: Vec<u64> = (1..=10_000).collect();
    node.report(bot.id, &all);
    node.published(10_000, 1).await;
    node.backplane.leave(APPLICATION, bot.id);
    node.published(0, 0).await;
    let stats = server.cli(&["INFO", "commandstats"]);
    let calls = |command: &str| -> u64 {
        let line = stats
            .lines()
            .find(|line| line.starts_with(&format!("cmdstat_{command}:calls=")));
        let number = line.and_then(|line| line.split(['=', ',']).nth(1));
        number.map_or(0, |number| number.parse().unwrap())
    };
    // 10,000 guilds in parts of 64, once to report them and once to leave.
    assert!(calls("evalsha") >= 312, "{stats}");
    assert!(calls("spop") >= 156, "{stats}");
}
