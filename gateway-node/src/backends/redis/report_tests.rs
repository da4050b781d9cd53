//! Reports that change too many guilds, and what they cost the server.

use shared::{
    guild::GuildId,
    v1::{Report, ReportedGuilds},
};

use super::{
    test_server::TestServer,
    tests::{APPLICATION, ClusterNode, eventually},
};
use crate::backplane::{Backplane as _, ReportLimits};

/// An allowance of 100 ids that comes back in two seconds.
const FEW: ReportLimits = ReportLimits {
    ids_per_second: 50,
    ids_burst: 100,
};

#[tokio::test]
async fn reports_beyond_the_allowance_come_later_and_only_the_latest() {
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
    assert_eq!(node.seen.times_told(), 2, "none between the first and the last");
}

#[tokio::test]
async fn a_key_without_an_allowance_holds_up_no_other_and_no_leave() {
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
    // This one would wait for a quarter of an hour.
    node.report(busy.id, &all[..10]);
    let report = Report {
        guilds: ReportedGuilds::Ids(vec![GuildId::from_raw(2000)]),
        guild_members: 10,
        cached_guild_members: 1,
        shard: None,
    };
    node.backplane.report(APPLICATION, other.id, &"other".into(), report);
    node.published(1001, 2).await;
    node.backplane.leave(APPLICATION, busy.id);
    node.published(1, 1).await;
}

#[tokio::test]
async fn reports_that_redis_has_lost_come_back_without_an_allowance() {
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
async fn no_call_of_a_script_touches_more_than_a_part_of_a_report() {
    let server = TestServer::start();
    let node = ClusterNode::start(&server, 1).await;
    // One stays, to be told the counts.
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
