//! Tests of interference by other programs: forged messages on the channel, and entries that no script has added to the
//! log.

use super::{
    RedisSessions,
    sessions::tests::record,
    test_node::{APPLICATION, ClusterNode, PROMPT, eventually},
    test_server::TestServer,
};
use crate::{backplane::Epoch, resume::Store};

const LOG: &str = "test:{utilbot}:log";

/// The current epoch of the log, and the offset of its last entry.
fn head(server: &TestServer) -> (Epoch, u64) {
    let head = server.cli(&["HMGET", "test:{utilbot}:log:head", "epoch", "top"]);
    let mut lines = head.lines().map(|line| line.trim_matches('"'));
    let epoch = lines.next().unwrap().parse().unwrap();
    (epoch, lines.next().unwrap().parse().unwrap())
}

/// Publishes a message that claims an event with this number at `offset` of the current epoch.
fn forge(server: &TestServer, offset: u64, number: u64) {
    let channels = server.cli(&["PUBSUB", "CHANNELS", "test:{utilbot}:events*"]);
    let channel = channels.trim();
    // The channel's name ends with the prefix of its messages, if they carry an identity.
    let prefix = match channel.split_once("events:") {
        Some((_, identity)) => format!("{identity} "),
        None => String::new(),
    };
    let (epoch, _) = head(server);
    let message = format!("{prefix}{epoch} {offset}\na 1 - - {number:x} 5\nevent{{\"n\":{number}}}");
    assert_eq!(server.cli(&["PUBLISH", channel, &message]).trim(), "1");
}

/// A node with a session that has received events with the first `count` numbers.
async fn node_after(server: &TestServer, count: u64) -> ClusterNode {
    let node = ClusterNode::start(server, 1).await;
    node.join().await;
    for number in 0..count {
        node.publish(number, PROMPT).await.unwrap();
    }
    node.saw(0..count).await;
    node
}

fn published(node: &ClusterNode) -> (u64, usize) {
    (node.seen.lost(), node.seen.gap())
}

#[tokio::test]
async fn a_message_about_an_entry_far_beyond_the_log_is_ignored() {
    let server = TestServer::start();
    let node = node_after(&server, 5).await;
    for number in 5..50 {
        let (_, top) = head(&server);
        forge(&server, top + 1_000_000, 1000 + number);
        forge(&server, top + 1000, 2000 + number);
        node.publish(number, PROMPT).await.unwrap();
    }
    node.saw(0..50).await;
    assert_eq!(published(&node), (0, 0));
}

#[tokio::test]
async fn a_forged_next_entry_is_a_loss() {
    let server = TestServer::start();
    let node = node_after(&server, 1).await;
    let (before, top) = head(&server);
    forge(&server, top + 1, 99);
    node.saw([0, 99]).await;
    // The next read of the log head finds that the log does not reach that far.
    eventually("a reported gap", || node.seen.gap() == 1).await;
    let (after, end) = head(&server);
    assert_ne!(after, before);
    assert_eq!(end, top);
    for number in 1..5 {
        node.publish(number, PROMPT).await.unwrap();
    }
    node.saw([0, 99, 1, 2, 3, 4]).await;
    assert_eq!(published(&node), (1, 1));
}

#[tokio::test]
async fn a_forged_message_before_the_genuine_one_is_a_loss() {
    let server = TestServer::start();
    let node = node_after(&server, 1).await;
    let begun = crate::clock::monotonic();
    let (_, top) = head(&server);
    forge(&server, top + 1, 99);
    node.publish(1, PROMPT).await.unwrap();
    eventually("a reported gap", || node.seen.gap() == 1).await;
    for number in 2..5 {
        node.publish(number, PROMPT).await.unwrap();
    }
    eventually("the events after it", || node.seen.numbers().ends_with(&[2, 3, 4])).await;
    assert!(begun.elapsed().as_secs() < 3);
    assert_eq!(node.seen.gap(), 1);
}

#[tokio::test]
async fn a_message_that_differs_from_the_delivered_entry_is_ignored() {
    let server = TestServer::start();
    let node = node_after(&server, 5).await;
    let (_, top) = head(&server);
    forge(&server, top, 99);
    forge(&server, top - 3, 99);
    node.publish(5, PROMPT).await.unwrap();
    node.saw(0..6).await;
    assert_eq!(published(&node), (0, 0));
}

#[tokio::test]
async fn entries_of_another_program_are_deleted_and_the_log_continues() {
    let server = TestServer::start();
    let nodes = [
        ClusterNode::start(&server, 1).await,
        ClusterNode::start(&server, 2).await,
    ];
    for node in &nodes {
        node.join().await;
    }
    nodes[0].publish(0, PROMPT).await.unwrap();
    let (first, top) = head(&server);
    let ids = [
        "5000000-1".to_owned(),
        format!("{}-0", top + 2),
        "9007199254740993-0".to_owned(),
        "18446744073709551615-18446744073709551615".to_owned(),
        "*".to_owned(),
        // This one does not block the next append.
        format!("{}-7", top + 5),
    ];
    let mut epochs = vec![first];
    for (id, number) in ids.iter().zip(1..) {
        let added = server.cli(&["XADD", LOG, id, "e", "x"]);
        assert!(added.contains('-'), "{id}: {added}");
        let begun = crate::clock::monotonic();
        let node = &nodes[usize::try_from(number % 2).unwrap()];
        node.publish(number, PROMPT).await.unwrap();
        for node in &nodes {
            node.saw(0..=number).await;
        }
        assert!(begun.elapsed().as_secs() < 3, "{id}");
        epochs.push(head(&server).0);
    }
    assert_ne!(epochs[0], epochs[1]);
    // A program that continues causes no further epochs.
    assert!(epochs[2..].iter().all(|epoch| *epoch == epochs[1]), "{epochs:?}");
    for node in &nodes {
        assert_eq!(published(node), (0, 0));
    }
    assert_eq!(head(&server).1, top + 6);
}

#[tokio::test]
async fn entries_of_another_program_do_not_survive_a_restart() {
    let mut server = TestServer::start();
    let node = node_after(&server, 3).await;
    for (id, number) in [("5000000-7", 3), ("18446744073709551615-3", 4)] {
        let (_, top) = head(&server);
        server.cli(&["XADD", LOG, id, "e", "x"]);
        server.kill();
        node.away().await;
        server.start_again();
        node.ready().await;
        node.publish(number, PROMPT).await.unwrap();
        node.saw(0..=number).await;
        assert_eq!((head(&server).1, published(&node)), (top + 1, (0, 0)));
    }
}

#[tokio::test]
async fn a_log_without_a_head_continues_after_its_own_entries() {
    let mut server = TestServer::start();
    let node = node_after(&server, 1).await;
    let (_, top) = head(&server);
    server.cli(&["XADD", LOG, "18446744073709551615-3", "e", "x"]);
    server.cli(&["DEL", "test:{utilbot}:log:head"]);
    server.kill();
    node.away().await;
    server.start_again();
    node.ready().await;
    node.publish(1, PROMPT).await.unwrap();
    node.saw([0, 1]).await;
    assert_eq!(head(&server).1, top + 1);
}

#[tokio::test]
async fn reading_the_log_skips_entries_of_another_program() {
    let server = TestServer::start();
    let node = ClusterNode::start(&server, 1).await;
    let sessions = RedisSessions::new(&node.backplane);
    let begun = sessions.open(record()).await.unwrap();
    let start = begun.since.offset;
    for number in 0..3 {
        node.publish(number, PROMPT).await.unwrap();
        let (_, top) = head(&server);
        // More than one page of them.
        for id in 1..=70 {
            server.cli(&["XADD", LOG, &format!("{top}-{id}"), "e", "x"]);
        }
    }
    server.cli(&["XADD", LOG, "5000000-1", "e", "x"]);
    let page = sessions.read(&APPLICATION.into(), begun.since).await.unwrap();
    let offsets: Vec<_> = page.entries.iter().map(|entry| entry.position.offset).collect();
    assert_eq!(offsets, [start + 1, start + 2, start + 3]);
    assert_eq!(page.through.offset, start + 3);
}
