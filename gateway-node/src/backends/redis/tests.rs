//! Tests of several nodes on one server, in which a node or the server goes away.
//!
//! The behaviour required of any backplane is tested in the conformance suite; real processes under load are tested in
//! the fault suite.

use std::time::Duration;

use shared::{guild::GuildId, routing::Delivery};

use super::{
    RedisOptions,
    test_node::{APPLICATION, ClusterNode, LEASE, PROMPT, WAIT, eventually},
    test_server::TestServer,
};
use crate::backplane::{Backplane as _, JoinError, PublishError, WhenUnavailable};

#[tokio::test]
async fn events_reach_every_node_once_and_in_order() {
    let server = TestServer::start();
    let nodes = [
        ClusterNode::start(&server, 1).await,
        ClusterNode::start(&server, 2).await,
    ];
    for node in &nodes {
        node.join().await;
    }
    for number in 0..200 {
        let node = &nodes[usize::try_from(number % 2).unwrap()];
        node.publish(number, PROMPT).await.unwrap();
    }
    for node in &nodes {
        node.saw(0..200).await;
    }
}

#[tokio::test]
async fn ids_of_several_nodes_never_collide() {
    let server = TestServer::start();
    let mut seen = std::collections::HashSet::new();
    for incarnation in 1..=4 {
        let node = ClusterNode::start(&server, incarnation).await;
        for _ in 0..500 {
            assert!(seen.insert(node.join().await.id));
        }
        // The next node waits until this one's worker number may be granted again, or takes another.
        node.kill();
    }
}

#[tokio::test]
async fn a_returning_server_gets_all_sessions_and_held_events() {
    let mut server = TestServer::start();
    let nodes = [
        ClusterNode::start(&server, 1).await,
        ClusterNode::start(&server, 2).await,
    ];
    for (node, guild) in nodes.iter().zip(1..) {
        let bot = node.join().await;
        node.report(bot.id, &[guild]);
    }
    nodes[0].published(2, 2).await;
    nodes[0].publish(0, PROMPT).await.unwrap();
    server.kill();
    for node in &nodes {
        node.away().await;
    }
    assert_eq!(nodes[0].publish(99, PROMPT).await, Err(PublishError::Unavailable));
    assert_eq!(nodes[0].try_join().await.unwrap_err(), JoinError::Unavailable);
    let held: Vec<_> = (1..=50)
        .map(|number| Box::pin(nodes[1].publish(number, WhenUnavailable::Hold)))
        .collect();
    let held = futures_util::future::join_all(held);
    let coming_back = async {
        // Longer than a lease, so that all leases have expired.
        tokio::time::sleep(2 * LEASE).await;
        server.start_again();
    };
    let (held, ()) = futures_util::future::join(held, coming_back).await;
    assert!(held.iter().all(Result::is_ok), "{held:?}");
    for node in &nodes {
        node.saw(0..=50).await;
        assert_eq!((node.seen.lost(), node.seen.gap()), (0, 0));
    }
    // No live session was removed, and a new session receives the full counts.
    tokio::time::sleep(2 * LEASE).await;
    let late = nodes[0].join().await;
    assert_eq!((late.counts.guilds, late.counts.guild_members), (2, 20));
}

#[tokio::test]
async fn lost_entries_are_counted_and_later_ones_are_delivered() {
    let mut server = TestServer::start();
    let nodes = [
        ClusterNode::start(&server, 1).await,
        ClusterNode::start(&server, 2).await,
    ];
    for node in &nodes {
        node.join().await;
    }
    for number in 0..10 {
        nodes[0].publish(number, PROMPT).await.unwrap();
    }
    for node in &nodes {
        node.saw(0..10).await;
    }
    // The server writes the file before it replies.
    let kept = server.log_length();
    for number in 10..20 {
        nodes[0].publish(number, PROMPT).await.unwrap();
    }
    for node in &nodes {
        node.saw(0..20).await;
    }
    server.kill();
    server.cut_log(kept);
    for node in &nodes {
        node.away().await;
    }
    server.start_again();
    for node in &nodes {
        node.ready().await;
    }
    for number in 20..30 {
        nodes[1].publish(number, PROMPT).await.unwrap();
    }
    for node in &nodes {
        node.saw(0..30).await;
        assert_eq!(node.seen.lost(), 10);
        // They were delivered here before they were lost.
        assert_eq!(node.seen.gap(), 0);
    }
}

#[tokio::test]
async fn a_node_paused_beyond_its_lease_returns_and_misses_nothing() {
    let server = TestServer::start();
    let (sleeper, living) = (
        ClusterNode::start(&server, 1).await,
        ClusterNode::start(&server, 2).await,
    );
    let (asleep, awake) = (sleeper.join().await, living.join().await);
    sleeper.report(asleep.id, &[1]);
    living.report(awake.id, &[2]);
    living.published(2, 2).await;
    // The node's lease is made to expire on the server, as if it had not been renewed.
    let owner = server.cli(&["ZRANGE", "test:{utilbot}:nodes", "0", "-1"]);
    let owner = owner.lines().find(|owner| owner.ends_with("01")).unwrap().to_owned();
    // Repeated against its renewals, until another node has started to reap it.
    let expire = "local lease = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or -1)
        if lease >= 0 then redis.call('ZADD', KEYS[1], 1, ARGV[1]) end
        return lease >= 0 and 1 or 0";
    eventually("a node whose lease has expired", || {
        let lives = server.cli(&["EVAL", expire, "1", "test:{utilbot}:nodes", &owner]);
        lives.trim() == "0"
    })
    .await;
    for number in 0..20 {
        living.publish(number, PROMPT).await.unwrap();
    }
    living.saw(0..20).await;
    sleeper.saw(0..20).await;
    sleeper.ready().await;
    living.published(2, 2).await;
    let guild = Delivery::Guild(GuildId::from_raw(1));
    eventually_published(&living, 20, guild).await;
    sleeper.saw(0..=20).await;
}

/// Publishes once there is a receiver.
async fn eventually_published(node: &ClusterNode, number: u64, delivery: Delivery) {
    let publishing = async {
        while node.publish_to(number, delivery.clone(), PROMPT).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let published = tokio::time::timeout(WAIT, publishing).await;
    assert!(published.is_ok(), "no receiver within {WAIT:?}");
}

#[tokio::test]
async fn expired_leases_say_nothing_until_a_node_had_its_connection_for_a_lease() {
    let server = TestServer::start();
    let dead = ClusterNode::start(&server, 1).await;
    let bot = dead.join().await;
    dead.report(bot.id, &[5]);
    eventually("a report", || dead.backplane.is_flushed()).await;
    dead.kill();
    let expire = ["ZADD", "test:{utilbot}:nodes", "XX", "1", "0000000000000001"];
    server.cli(&expire);
    let fresh = ClusterNode::start_with_options(RedisOptions {
        lease: Duration::from_secs(3600),
        ..server.options(2)
    });
    // Publishing needs no number for ids, for which a node waits as long as its lease.
    fresh.available().await;
    for delivery in [Delivery::Guild(GuildId::from_raw(5)), Delivery::Any] {
        fresh.publish_to(1, delivery, PROMPT).await.unwrap();
    }
    let no_guild = fresh.publish_to(1, Delivery::Guild(GuildId::from_raw(6)), PROMPT).await;
    assert_eq!(no_guild, Err(PublishError::NoReceiver { index: 0 }));
    let judge = ClusterNode::start_unready(&server, 3);
    judge.available().await;
    for delivery in [Delivery::Guild(GuildId::from_raw(5)), Delivery::Any] {
        let refusing = async {
            while judge.publish_to(1, delivery.clone(), PROMPT).await != Err(PublishError::NoReceiver { index: 0 }) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let refused = tokio::time::timeout(WAIT, refusing).await;
        assert!(refused.is_ok(), "accepted for {WAIT:?}");
    }
}

#[tokio::test]
async fn a_request_repeated_on_another_node_is_not_appended_again() {
    let server = TestServer::start();
    let nodes = [
        ClusterNode::start(&server, 1).await,
        ClusterNode::start(&server, 2).await,
    ];
    let bot = nodes[0].join().await;
    let first = nodes[0].publish_once(1, "once").await.unwrap();
    assert_eq!(nodes[1].publish_once(1, "once").await, Ok(first));
    nodes[1].publish(2, PROMPT).await.unwrap();
    nodes[0].saw([1, 2]).await;
    nodes[0].backplane.leave(APPLICATION, bot.id);
}

#[tokio::test]
async fn expired_idempotency_keys_leave_the_count_in_portions() {
    let server = TestServer::start();
    let node = ClusterNode::start(&server, 1).await;
    node.join().await;
    // More expired keys than the limit, and one fewer unexpired key than the limit.
    let fill = "for n = 1, 2000 do redis.call('ZADD', KEYS[1], 1, 'old' .. n) end \
                for n = 1, 999 do redis.call('ZADD', KEYS[1], 99999999999999, 'new' .. n) end";
    server.cli(&["EVAL", fill, "1", "test:{utilbot}:requests"]);
    node.publish_once(1, "a").await.unwrap();
    assert!(matches!(
        node.publish_once(2, "b").await,
        Err(PublishError::TooManyKeys { .. })
    ));
    let left = server.cli(&["ZCARD", "test:{utilbot}:requests"]);
    assert_eq!(left.trim(), (2000 - 2 * 64 + 999 + 1).to_string());
    node.saw([1]).await;
}

#[tokio::test]
async fn a_request_appended_by_an_older_node_is_not_appended_again() {
    let server = TestServer::start();
    let node = ClusterNode::start(&server, 1).await;
    node.join().await;
    let first = node.publish_once(1, "once").await.unwrap();
    // Older nodes write only the key.
    server.cli(&["DEL", "test:{utilbot}:requests"]);
    assert_eq!(node.publish_once(1, "once").await, Ok(first));
    let lasts = server.cli(&["PTTL", "test:{utilbot}:request:once"]);
    assert!(lasts.trim().parse::<u64>().unwrap() > 0, "{lasts}");
    node.saw([1]).await;
}

#[tokio::test]
async fn missing_messages_are_read_from_the_log() {
    let server = TestServer::start();
    let node = ClusterNode::start(&server, 1).await;
    node.join().await;
    for number in 0..100 {
        if number % 10 == 0 {
            server.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        }
        node.publish(number, PROMPT).await.unwrap();
    }
    node.saw(0..100).await;
}

#[tokio::test]
async fn trimming_undelivered_entries_reports_a_gap() {
    let server = TestServer::start();
    let node = ClusterNode::start(&server, 1).await;
    node.join().await;
    node.publish(0, PROMPT).await.unwrap();
    node.saw([0]).await;
    // Entries are trimmed before the node has read them.
    server.cli(&["XTRIM", "test:{utilbot}:log", "MAXLEN", "0"]);
    let hidden = "local top = redis.call('HINCRBY', KEYS[1]..'log:head', 'top', 5); \
                  redis.call('HSET', KEYS[1]..'log:head', 'trimmed', top)";
    server.cli(&["EVAL", hidden, "1", "test:{utilbot}:"]);
    eventually("a reported gap", || node.seen.gap() == 1).await;
    assert_eq!(node.seen.lost(), 5);
    node.publish(1, PROMPT).await.unwrap();
    node.saw([0, 1]).await;
}

#[tokio::test]
async fn a_report_sent_in_parts_changes_the_counts_once() {
    let server = TestServer::start();
    let (node, other) = (
        ClusterNode::start(&server, 1).await,
        ClusterNode::start(&server, 2).await,
    );
    let bot = node.join().await;
    other.join().await;
    let guilds: Vec<u64> = (1..=10_000).collect();
    node.report(bot.id, &guilds);
    other.published(10_000, 1).await;
    // No intermediate counts were broadcast.
    assert_eq!(other.seen.times_told(), 1);
    node.report(bot.id, &guilds[5000..]);
    other.published(5000, 1).await;
    node.backplane.leave(APPLICATION, bot.id);
    other.published(0, 0).await;
    assert_eq!(other.seen.times_told(), 3);
    let left = server.cli(&["KEYS", "test:{utilbot}:report:*"]);
    assert_eq!(left.trim(), "");
}
