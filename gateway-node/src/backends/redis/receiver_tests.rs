//! Tests of addressed events: who receives them when their sessions or nodes have ended.

use std::time::Duration;

use shared::{guild::GuildId, routing::Delivery};
use tokio::time::sleep;

use super::{
    test_node::{APPLICATION, ClusterNode, PROMPT, eventually},
    test_server::TestServer,
};
use crate::backplane::{Audience, Backplane, PublishError};

#[tokio::test]
async fn sessions_of_a_dead_node_leave_the_counts_and_their_events_are_reassigned() {
    let server = TestServer::start();
    let (dying, living) = (
        ClusterNode::start(&server, 1).await,
        ClusterNode::start(&server, 2).await,
    );
    let (gone, stays) = (dying.join().await, living.join().await);
    dying.report(gone.id, &[1, 2]);
    living.report(stays.id, &[2, 3]);
    living.published(3, 2).await;
    // Each session is chosen once. The dying node never acknowledges its event.
    for number in 0..2 {
        living.publish_to(number, Delivery::Any, PROMPT).await.unwrap();
    }
    dying.kill();
    living.published(2, 1).await;
    eventually("both events", || living.seen.numbers().len() >= 2).await;
    let mut numbers = living.seen.numbers();
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 1]);
    let guild = Delivery::Guild(GuildId::from_raw(1));
    let refused = living.publish_to(9, guild, PROMPT).await;
    assert_eq!(refused, Err(PublishError::NoReceiver { index: 0 }));
}

#[tokio::test]
async fn a_live_receiver_is_found_behind_more_dead_ones_than_one_call_skips() {
    let server = TestServer::start();
    let (dying, living) = (
        ClusterNode::start(&server, 1).await,
        ClusterNode::start(&server, 2).await,
    );
    let joins = (0..600).map(|_| Box::pin(dying.join()));
    futures_util::future::join_all(joins).await;
    living.join().await;
    dying.kill();
    // The dead node must not be reaped before the calls: its lease is expired by hand.
    let owner = server.cli(&["ZRANGE", "test:{utilbot}:nodes", "0", "-1"]);
    let owner = owner.lines().find(|owner| owner.ends_with('1')).unwrap().to_owned();
    server.cli(&["ZADD", "test:{utilbot}:nodes", "1", &owner]);
    for number in 0..10 {
        living.publish_to(number, Delivery::Any, PROMPT).await.unwrap();
    }
    // The first ones were addressed to dead sessions, and are reassigned to the live one when those are removed.
    eventually("all events", || living.seen.numbers().len() >= 10).await;
    let mut numbers = living.seen.numbers();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_guild_event_that_one_of_its_nodes_delivered_is_not_repeated_for_the_others() {
    let server = TestServer::start();
    let (dying, living) = (
        ClusterNode::start(&server, 1).await,
        ClusterNode::start(&server, 2).await,
    );
    let (gone, stays) = (dying.join().await.id, living.join().await.id);
    dying.report(gone, &[1]);
    living.report(stays, &[1]);
    living.published(1, 2).await;
    let guild = Delivery::Guild(GuildId::from_raw(1));
    living.publish_to(0, guild.clone(), PROMPT).await.unwrap();
    living.saw([0]).await;
    living.backplane.ack(&living.seen.first_event());
    dying.kill();
    living.published(1, 1).await;
    living.publish_to(1, guild, PROMPT).await.unwrap();
    living.saw([0, 1]).await;
    let next = living.join().await.id;
    living.report(next, &[1]);
    living.published(1, 2).await;
    living.publish(2, PROMPT).await.unwrap();
    living.saw([0, 1, 2]).await;
}

#[tokio::test]
async fn events_outlive_all_nodes_and_the_server() {
    let mut server = TestServer::start();
    let node = ClusterNode::start(&server, 1).await;
    let gone = node.join().await.id;
    node.report(gone, &[1]);
    node.published(1, 1).await;
    node.kill();
    // No node receives this one's pub/sub messages; the lease of the killed node is still valid.
    let publisher = ClusterNode::start(&server, 2).await;
    publisher.publish_to(0, Delivery::Any, PROMPT).await.unwrap();
    publisher
        .publish_to(1, Delivery::Guild(GuildId::from_raw(1)), PROMPT)
        .await
        .unwrap();
    publisher.kill();
    server.kill();
    server.start_again();
    let back = ClusterNode::start(&server, 3).await;
    let next = back.join().await.id;
    back.report(next, &[1]);
    eventually("both events", || back.seen.numbers().len() >= 2).await;
    let mut numbers = back.seen.numbers();
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 1]);
}

#[tokio::test]
async fn events_whose_only_receiver_died_with_its_node_wait_for_the_next() {
    let server = TestServer::start();
    let (dying, living) = (
        ClusterNode::start(&server, 1).await,
        ClusterNode::start(&server, 2).await,
    );
    let gone = dying.join().await.id;
    dying.report(gone, &[1]);
    dying.published(1, 1).await;
    dying.kill();
    // Until its lease expires, the dead node counts as a receiver; from then on there is none.
    let deliveries = [Delivery::Any, Delivery::Guild(GuildId::from_raw(1))];
    let mut accepted = vec![Vec::new(), Vec::new()];
    let mut refused = [false; 2];
    for number in 0.. {
        let turn = usize::try_from(number % 2).unwrap();
        match living.publish_to(number, deliveries[turn].clone(), PROMPT).await {
            Ok(_) if !refused[turn] => accepted[turn].push(number),
            Err(PublishError::NoReceiver { index: 0 }) => refused[turn] = true,
            other => panic!("{other:?} for {number} when {refused:?}"),
        }
        if refused == [true, true] {
            break;
        }
        // The log has to hold all of them twice, even on a slow machine: a few hundred, and more than one call gives
        // back.
        sleep(Duration::from_millis(2)).await;
    }
    assert!(accepted.iter().all(|numbers| !numbers.is_empty()), "{accepted:?}");
    eventually("a reaped node", || {
        server.cli(&["ZCARD", "test:{utilbot}:nodes"]).trim() == "1"
    })
    .await;
    let next = living.join().await.id;
    eventually("the events waiting for a bot", || {
        living.seen.numbers().len() >= accepted[0].len()
    })
    .await;
    assert_eq!(living.seen.numbers(), accepted[0]);
    living.report(next, &[2, 1]);
    let all = accepted.concat();
    eventually("the events waiting for the guild", || {
        living.seen.numbers().len() >= all.len()
    })
    .await;
    assert_eq!(living.seen.numbers(), all);
    eventually("acknowledged events", || living.backplane.is_flushed()).await;
}

#[tokio::test]
async fn an_acknowledged_event_is_not_reassigned() {
    let server = TestServer::start();
    let (dying, living) = (
        ClusterNode::start(&server, 1).await,
        ClusterNode::start(&server, 2).await,
    );
    dying.join().await;
    living.publish_to(1, Delivery::Any, PROMPT).await.unwrap();
    dying.saw([1]).await;
    let entry = dying.seen.first_event();
    assert!(matches!(entry.audience, Audience::One { .. }));
    dying.backplane.ack(&entry);
    eventually("an acknowledged event", || dying.backplane.is_flushed()).await;
    let bot = living.join().await;
    living.report(bot.id, &[1]);
    living.published(1, 1).await;
    dying.kill();
    eventually("a reaped node", || {
        server.cli(&["ZCARD", "test:{utilbot}:nodes"]).trim() == "1"
    })
    .await;
    living.publish(2, PROMPT).await.unwrap();
    living.saw([2]).await;
}

#[tokio::test]
async fn events_for_a_session_that_leaves_first_wait_for_the_next() {
    let server = TestServer::start();
    let (leaving, staying) = (
        ClusterNode::start(&server, 1).await,
        ClusterNode::start(&server, 2).await,
    );
    let mut accepted = Vec::new();
    for number in 0..20 {
        let bot = leaving.join().await;
        // It leaves while the event is in flight, and then its node stops reading the log.
        let publishing = staying.publish_to(number, Delivery::Any, PROMPT);
        let (published, ()) = tokio::join!(publishing, async { leaving.backplane.leave(APPLICATION, bot.id) });
        match published {
            Ok(_) => accepted.push(number),
            Err(PublishError::NoReceiver { index: 0 }) => {}
            Err(error) => panic!("{error:?}"),
        }
        eventually("a session that has left", || leaving.backplane.is_flushed()).await;
    }
    assert!(!accepted.is_empty());
    staying.join().await;
    eventually("the waiting events", || staying.seen.numbers().len() >= accepted.len()).await;
    assert_eq!(staying.seen.numbers(), accepted);
}
