//! Discord sessions on one server and several nodes.

use std::{sync::Arc, time::Duration};

use shared::discord::{Filter, Intents, Shard, Version};

use super::{
    super::{Checkpoint, Owner, Position, Private, ReadError, Record, ResumeError, Resuming, Store, Taken, What},
    RedisSessions,
    test_server::TestServer,
    tests::{APPLICATION, Node, PROMPT, eventually},
};
use crate::cluster::{Backplane, Begun, StartLimits};

fn record() -> Arc<Record> {
    Arc::new(Record {
        application: APPLICATION.into(),
        key: "k".to_owned(),
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

fn owner(begun: &Begun, generation: u64) -> Owner {
    Owner {
        application: APPLICATION.into(),
        id: begun.id,
        generation,
    }
}

fn private(s: u64) -> Private {
    Private {
        s,
        what: What::Event {
            name: "X".into(),
            d: r#"{"a":"\n"}"#.into(),
        },
    }
}

async fn resume(sessions: &RedisSessions, begun: &Begun, seq: u64) -> Result<Taken, ResumeError> {
    let resuming = Resuming {
        application: APPLICATION.into(),
        key: "k".to_owned(),
        id: begun.id,
        seq,
    };
    sessions.resume(resuming).await
}

async fn settled(node: &Node) {
    eventually("a node that has said everything", || node.backplane.settled()).await;
}

#[tokio::test]
async fn a_session_goes_on_at_another_node_and_its_first_one_is_not_heard_any_more() {
    let server = TestServer::start();
    let nodes = [Node::start(&server, 1).await, Node::start(&server, 2).await];
    let [first, second] = [
        RedisSessions::new(&nodes[0].backplane),
        RedisSessions::new(&nodes[1].backplane),
    ];
    let begun = first.open(record()).await.unwrap();
    let earlier = owner(&begun, begun.generation);
    assert_eq!(
        first.keep(&earlier, vec![private(2), private(3), private(5)]).await,
        Ok(true)
    );
    // What had no answer may come again.
    assert_eq!(first.keep(&earlier, vec![private(5)]).await, Ok(true));
    let checkpoint = Checkpoint {
        s: 2,
        position: begun.since,
    };
    first.checkpoint(&earlier, Some(checkpoint));
    settled(&nodes[0]).await;
    let taken = resume(&second, &begun, 4).await.unwrap().continued;
    assert_eq!(
        (taken.generation, taken.checkpoint, &taken.record),
        (2, checkpoint, &record())
    );
    assert_eq!(
        taken.privates.into_iter().collect::<Vec<_>>(),
        [(3, private(3).what), (5, private(5).what)]
    );
    // The earlier owner changes nothing.
    assert_eq!(first.keep(&earlier, vec![private(6)]).await, Ok(false));
    first.end(&earlier);
    first.detach(&earlier, true);
    settled(&nodes[0]).await;
    let again = resume(&second, &begun, 2).await.unwrap().continued;
    assert_eq!((again.generation, again.privates.len()), (3, 2));
    assert!(
        resume(&second, &begun, 1).await.is_err(),
        "that is before what its client said it has"
    );
    assert!(resume(&second, &begun, 9).await.is_err(), "it has ended");
}

#[tokio::test]
async fn a_session_outlives_its_node_for_a_while_and_no_longer() {
    let server = TestServer::start();
    let nodes = [Node::start(&server, 1).await, Node::start(&server, 2).await];
    let second = RedisSessions::new(&nodes[1].backplane);
    let begun = RedisSessions::new(&nodes[0].backplane).open(record()).await.unwrap();
    let [dead, _alive] = nodes;
    dead.kill();
    let taken = resume(&second, &begun, 1).await.unwrap();
    assert_eq!(taken.continued.generation, 2);
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
async fn sessions_are_started_at_one_pace_on_all_nodes() {
    let server = TestServer::start();
    let limits = StartLimits {
        max_concurrency: 1,
        per_day: 5,
    };
    for (incarnation, may) in [(1, true), (2, false)] {
        let node = Node::start(&server, incarnation).await;
        let sessions = RedisSessions::new(&node.backplane);
        assert_eq!(sessions.start(&APPLICATION.into(), Shard::WHOLE, limits).await, Ok(may));
        let budget = sessions.start_budget(&APPLICATION.into(), limits).await.unwrap();
        assert!(budget.remaining == 4 && !budget.reset_after.is_zero());
    }
}

#[tokio::test]
async fn the_log_is_read_from_any_point_that_it_still_has() {
    let mut server = TestServer::start();
    let node = Node::start(&server, 1).await;
    let sessions = RedisSessions::new(&node.backplane);
    let begun = sessions.open(record()).await.unwrap();
    for number in 0..10 {
        node.publish(number, PROMPT).await.unwrap();
    }
    let name = APPLICATION.into();
    let offsets = |page: super::super::LogPage| page.entries.iter().map(|it| it.position.offset).collect::<Vec<_>>();
    let page = sessions.read(&name, begun.since, 4).await.unwrap();
    assert_eq!((page.through.offset, page.cut), (begun.since.offset + 4, None));
    let rest = sessions.read(&name, page.through, 100).await.unwrap();
    let end = rest.through;
    assert_eq!(offsets(rest).len(), 6);
    let beyond = Position {
        offset: end.offset + 1,
        ..end
    };
    assert_eq!(sessions.read(&name, beyond, 9).await.unwrap_err(), ReadError::Severed);
    // The server comes back with everything, in another life.
    server.kill();
    node.away().await;
    server.start_again();
    node.ready().await;
    let page = sessions.read(&name, begun.since, 100).await.unwrap();
    assert_eq!((page.cut, page.through.offset), (Some(end.offset), end.offset));
    assert_ne!(page.through.epoch, end.epoch);
    assert!(sessions.read(&name, beyond, 9).await.is_err());
    assert!(resume(&sessions, &begun, 1).await.is_ok());
}
