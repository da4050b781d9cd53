//! Tests of Discord sessions on one server and several nodes.

use std::{sync::Arc, time::Duration};

use shared::discord::{Filter, Intents, Presence, Shard, Status, Version};

use crate::{
    backends::redis::{
        RedisSessions,
        test_node::{APPLICATION, ClusterNode, PROMPT, eventually},
        test_server::TestServer,
    },
    backplane::{Backplane, Owner, Position},
    resume::{
        Checkpoint, OpenedRow, PresenceChange, PresencePayload, PrivateBody, PrivateRecord, ReadError, Record,
        ResumeError, ResumeParams, ResumedRow, StartLimits, Store,
    },
};

pub(in crate::backends::redis) fn record() -> Arc<Record> {
    Arc::new(Record {
        application: APPLICATION.into(),
        key: "k".into(),
        filter: Filter {
            intents: Intents::ALL,
            shard: Shard { id: 1, count: 3 },
            user: 7,
            withholds_content: true,
        },
        filter_version: Filter::VERSION,
        version: Version::V10,
        large_threshold: 50,
    })
}

fn owner(begun: &OpenedRow, fencing_token: u64) -> Owner {
    Owner {
        application: APPLICATION.into(),
        id: begun.id,
        fencing_token,
    }
}

fn private(s: u64) -> PrivateRecord {
    PrivateRecord {
        s,
        body: PrivateBody::Event {
            name: "X".into(),
            d: r#"{"a":"\n"}"#.into(),
        },
    }
}

async fn resume(sessions: &RedisSessions, begun: &OpenedRow, seq: u64) -> Result<ResumedRow, ResumeError> {
    let params = ResumeParams {
        application: APPLICATION.into(),
        key: "k".into(),
        id: begun.id,
        seq,
    };
    sessions.resume(params).await
}

async fn is_flushed(node: &ClusterNode) {
    eventually("a flushed node", || node.backplane.is_flushed()).await;
}

#[tokio::test]
async fn a_session_resumes_on_another_node_and_its_earlier_owner_is_ignored() {
    let server = TestServer::start();
    let nodes = [
        ClusterNode::start(&server, 1).await,
        ClusterNode::start(&server, 2).await,
    ];
    let [first, second] = [
        RedisSessions::new(&nodes[0].backplane),
        RedisSessions::new(&nodes[1].backplane),
    ];
    let begun = first.open(record()).await.unwrap();
    let earlier = owner(&begun, begun.fencing_token);
    assert_eq!(
        first
            .keep(&earlier, vec![private(2), private(3), private(5)], None)
            .await,
        Ok(true)
    );
    // A call without an answer may be repeated.
    assert_eq!(first.keep(&earlier, vec![private(5)], None).await, Ok(true));
    let checkpoint = Checkpoint {
        s: 2,
        position: begun.since,
    };
    first.checkpoint(&earlier, Some(checkpoint));
    is_flushed(&nodes[0]).await;
    let ack = resume(&second, &begun, 4).await.unwrap().continued;
    assert_eq!(
        (ack.fencing_token, ack.checkpoint, &ack.record),
        (2, checkpoint, &record())
    );
    assert_eq!(
        ack.privates.into_iter().collect::<Vec<_>>(),
        [(3, private(3).body), (5, private(5).body)]
    );
    // Calls by the earlier owner change nothing.
    assert_eq!(first.keep(&earlier, vec![private(6)], None).await, Ok(false));
    first.end(&earlier);
    first.detach(&earlier, true);
    is_flushed(&nodes[0]).await;
    let again = resume(&second, &begun, 2).await.unwrap().continued;
    assert_eq!((again.fencing_token, again.privates.len()), (3, 2));
    assert!(
        resume(&second, &begun, 1).await.is_err(),
        "the client has confirmed a later dispatch"
    );
    // The refused resume does not end the session: it may have been delayed while the client continued elsewhere.
    let third = resume(&first, &begun, 9).await.unwrap().continued;
    assert_eq!(third.fencing_token, 4);
    first.end(&owner(&begun, 4));
    is_flushed(&nodes[0]).await;
    assert!(resume(&second, &begun, 9).await.is_err(), "the session has ended");
}

#[tokio::test]
async fn a_session_outlives_its_node_until_it_expires() {
    let server = TestServer::start();
    let nodes = [
        ClusterNode::start(&server, 1).await,
        ClusterNode::start(&server, 2).await,
    ];
    let second = RedisSessions::new(&nodes[1].backplane);
    let begun = RedisSessions::new(&nodes[0].backplane).open(record()).await.unwrap();
    let [dead, _alive] = nodes;
    dead.kill();
    let ack = resume(&second, &begun, 1).await.unwrap();
    assert_eq!(ack.continued.fencing_token, 2);
    let key = format!("test:{{{APPLICATION}}}:discord:{}", begun.id);
    let left = server.cli(&["PTTL", &key]);
    let left = Duration::from_millis(left.trim().parse().unwrap());
    assert!(
        (Duration::from_secs(130)..=Duration::from_secs(140)).contains(&left),
        "{left:?}"
    );
    server.cli(&["DEL", &key]);
    assert!(resume(&second, &begun, 1).await.is_err());
}

#[tokio::test]
async fn start_limits_are_shared_by_all_nodes() {
    let server = TestServer::start();
    let limits = StartLimits {
        max_concurrency: 1,
        per_day: 5,
    };
    for (incarnation, may) in [(1, true), (2, false)] {
        let node = ClusterNode::start(&server, incarnation).await;
        let sessions = RedisSessions::new(&node.backplane);
        assert_eq!(sessions.start(&APPLICATION.into(), Shard::WHOLE, limits).await, Ok(may));
        let budget = sessions.start_budget(&APPLICATION.into(), limits).await.unwrap();
        assert!(budget.remaining == 4 && !budget.reset_after.is_zero());
    }
}

#[tokio::test]
async fn the_log_is_readable_from_any_retained_position() {
    let mut server = TestServer::start();
    let node = ClusterNode::start(&server, 1).await;
    let sessions = RedisSessions::new(&node.backplane);
    let begun = sessions.open(record()).await.unwrap();
    for number in 0..10 {
        node.publish(number, PROMPT).await.unwrap();
    }
    let name = APPLICATION.into();
    let offsets = |page: crate::resume::LogPage| page.entries.iter().map(|it| it.position.offset).collect::<Vec<_>>();
    let page = sessions.read(&name, begun.since).await.unwrap();
    let end = page.through;
    assert_eq!((end.offset, page.cut), (begun.since.offset + 10, None));
    assert_eq!(offsets(page).len(), 10);
    let fourth = Position {
        offset: begun.since.offset + 4,
        ..end
    };
    assert_eq!(offsets(sessions.read(&name, fourth).await.unwrap()).len(), 6);
    assert_eq!(offsets(sessions.read(&name, end).await.unwrap()), [0; 0]);
    let beyond = Position {
        offset: end.offset + 1,
        ..end
    };
    assert_eq!(sessions.read(&name, beyond).await.unwrap_err(), ReadError::Severed);
    // The server comes back with all data, in a new epoch.
    server.kill();
    node.away().await;
    server.start_again();
    node.ready().await;
    let page = sessions.read(&name, begun.since).await.unwrap();
    assert_eq!((page.cut, page.through.offset), (Some(end.offset), end.offset));
    assert_ne!(page.through.epoch, end.epoch);
    assert!(sessions.read(&name, beyond).await.is_err());
    assert!(resume(&sessions, &begun, 1).await.is_ok());
}

#[tokio::test]
async fn positions_from_before_a_known_loss_are_unreadable() {
    let mut server = TestServer::start();
    let node = ClusterNode::start(&server, 1).await;
    node.join().await;
    let sessions = RedisSessions::new(&node.backplane);
    let kept = server.log_length();
    for number in 0..3 {
        node.publish(number, PROMPT).await.unwrap();
    }
    eventually("events", || node.seen.numbers().len() == 3).await;
    server.kill();
    server.cut_log(kept);
    node.away().await;
    server.start_again();
    node.ready().await;
    // The node records what it had seen when it first reads the log head.
    let lost_in = ["HGET", "test:{utilbot}:log:head", "lost_in"];
    eventually("a known loss", || !server.cli(&lost_in).trim().is_empty()).await;
    let name = APPLICATION.into();
    let begun = sessions.open(record()).await.unwrap();
    for number in 3..6 {
        node.publish(number, PROMPT).await.unwrap();
    }
    assert_eq!(sessions.read(&name, begun.since).await.unwrap().entries.len(), 3);
    server.kill();
    node.away().await;
    server.start_again();
    node.ready().await;
    assert_eq!(sessions.read(&name, begun.since).await.unwrap().entries.len(), 3);
    let after = sessions.open(record()).await.unwrap();
    // Another node learns later that the previous server had accepted more after the first session began.
    let epoch = server.cli(&["HGET", "test:{utilbot}:log:head", "epoch"]);
    server.cli(&["HSET", "test:{utilbot}:log:head", "lost_in", epoch.trim()]);
    assert_eq!(sessions.read(&name, begun.since).await.unwrap_err(), ReadError::Severed);
    assert_eq!(sessions.read(&name, after.since).await.unwrap().entries.len(), 0);
}

#[tokio::test]
async fn a_checkpoint_that_waited_during_an_outage_keeps_the_session_in_the_new_epoch() {
    let mut server = TestServer::start();
    let node = ClusterNode::start(&server, 1).await;
    node.join().await;
    let sessions = RedisSessions::new(&node.backplane);
    let begun = sessions.open(record()).await.unwrap();
    let name = format!("test:{{utilbot}}:discord:{}", begun.id);
    server.kill();
    node.away().await;
    server.start_again();
    node.ready().await;
    let now = sessions.open(record()).await.unwrap().since.epoch;
    assert_ne!(now, begun.since.epoch);
    let epoch_of_session = || server.cli(&["HGET", &name, "epoch"]).trim().to_owned();
    let earlier = owner(&begun, begun.fencing_token);
    // Everything that its client has seen is in the new epoch, and it may see more of it from here on.
    assert_eq!(sessions.keep(&earlier, Vec::new(), Some(now)).await, Ok(true));
    assert_eq!(epoch_of_session(), now.to_string());
    let checkpoint = Checkpoint {
        s: 1,
        position: begun.since,
    };
    let queue = &node.backplane.shared.write_behind;
    queue.checkpoint(&earlier, Some(checkpoint), Some(begun.since.epoch));
    is_flushed(&node).await;
    assert_eq!(epoch_of_session(), now.to_string());
    assert_eq!(server.cli(&["HGET", &name, "s"]).trim(), "1");
}

#[tokio::test]
async fn a_page_is_read_once_for_all_waiting_sessions() {
    const ENTRIES: u64 = 300;
    let server = TestServer::start();
    let node = ClusterNode::start(&server, 1).await;
    let sessions = RedisSessions::new(&node.backplane);
    let begun = sessions.open(record()).await.unwrap();
    for number in 0..ENTRIES {
        node.publish(number, PROMPT).await.unwrap();
    }
    let name = APPLICATION.into();
    let read = |offset| {
        let after = Position { offset, ..begun.since };
        sessions.read(&name, after)
    };
    let first = begun.since.offset;
    let places: Vec<_> = (first..first + ENTRIES).collect();
    let calls = || {
        let stats = server.cli(&["INFO", "commandstats"]);
        let line = stats
            .lines()
            .find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="))
            .unwrap();
        line.split(',').next().unwrap().parse::<u64>().unwrap()
    };
    let before = calls();
    let pages = futures_util::future::join_all(places.iter().map(|place| read(*place))).await;
    let after = calls();
    for (place, page) in places.iter().zip(pages) {
        let page = page.unwrap();
        let offsets: Vec<_> = page.entries.iter().map(|it| it.position.offset).collect();
        assert_eq!(offsets, (place + 1..=page.through.offset).collect::<Vec<_>>());
        assert!(page.through.offset > *place, "{place}");
    }
    // Six pages, and the node's own periodic calls.
    assert!(after - before < 60, "{} calls", after - before);
}

fn shows(sessions: &RedisSessions, owner: &Owner, status: Status, guilds: &[u64]) {
    let presence = Presence {
        status,
        ..Presence::default()
    };
    let change = PresenceChange::Presence(Arc::new(PresencePayload::new(7, presence)), guilds.to_vec());
    assert!(sessions.change_presence(owner, change));
}

/// The number of presences with this status that the node has delivered.
fn presences(node: &ClusterNode, status: &str) -> usize {
    let published = node.seen.named("PRESENCE_UPDATE");
    let status = format!("\"status\":\"{status}\"");
    published.iter().filter(|d| d.contains(&status)).count()
}

#[tokio::test]
async fn presences_queued_during_an_outage_are_published_once_afterwards() {
    let mut server = TestServer::start();
    let node = ClusterNode::start(&server, 1).await;
    let sessions = RedisSessions::new(&node.backplane);
    let begun = sessions.open(record()).await.unwrap();
    let owner = owner(&begun, begun.fencing_token);
    let guilds: Vec<_> = (0..100).map(|number| (3 * number + 1) << 22).collect();
    shows(&sessions, &owner, Status::Idle, &guilds);
    is_flushed(&node).await;
    server.kill();
    node.away().await;
    shows(&sessions, &owner, Status::Idle, &guilds);
    shows(&sessions, &owner, Status::Dnd, &guilds);
    server.start_again();
    node.ready().await;
    is_flushed(&node).await;
    shows(&sessions, &owner, Status::Dnd, &guilds);
    is_flushed(&node).await;
    sessions.end(&owner);
    eventually("a bot that is offline", || presences(&node, "offline") >= 100).await;
    assert_eq!((presences(&node, "idle"), presences(&node, "dnd")), (100, 100));
    assert_eq!(presences(&node, "offline"), 100);
}

#[tokio::test]
async fn sessions_of_a_dead_node_go_offline_exactly_once() {
    let server = TestServer::start();
    let nodes = [
        ClusterNode::start(&server, 1).await,
        ClusterNode::start(&server, 2).await,
    ];
    let dying = ClusterNode::start(&server, 3).await;
    let sessions = RedisSessions::new(&dying.backplane);
    let begun = sessions.open(record()).await.unwrap();
    let guilds: Vec<_> = (0..300).map(|number| (3 * number + 1) << 22).collect();
    shows(&sessions, &owner(&begun, begun.fencing_token), Status::Idle, &guilds);
    is_flushed(&dying).await;
    dying.kill();
    // Each of the other nodes has a session of another user, so that it follows the log.
    let mut other = Arc::unwrap_or_clone(record());
    other.filter.user = 8;
    let other = Arc::new(other);
    let mut theirs = Vec::new();
    for node in &nodes {
        theirs.push(
            RedisSessions::new(&node.backplane)
                .open(Arc::clone(&other))
                .await
                .unwrap(),
        );
    }
    // The session's resume window is made to end.
    server.cli(&[
        "ZADD",
        &format!("test:{{{APPLICATION}}}:discord:deadlines"),
        "1",
        &begun.id.to_string(),
    ]);
    for node in &nodes {
        eventually("a bot that is offline", || presences(node, "offline") >= 300).await;
    }
    for node in &nodes {
        node.publish(1, PROMPT).await.unwrap();
        is_flushed(node).await;
        assert_eq!(presences(node, "offline"), 300);
    }
    let left = server.cli(&["KEYS", &format!("test:{{{APPLICATION}}}:discord:*")]);
    let mut left: Vec<_> = left
        .lines()
        .map(|key| key.split("discord:").last().unwrap().to_owned())
        .collect();
    left.sort_unstable();
    let mut expected = vec!["covers".to_owned(), "covers:8".to_owned(), "deadlines".to_owned()];
    expected.extend(theirs.iter().map(|begun| begun.id.to_string()));
    expected.sort_unstable();
    assert_eq!(left, expected, "no key of the ended session remains");
}
