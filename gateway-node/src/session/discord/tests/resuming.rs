//! Resuming sessions.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_session_resumes_where_its_client_stopped() {
    on(DiscordTestNode::new, async |node| {
        let (mut client, id) = node.identified(ALL_INTENTS).await;
        for n in 0..3 {
            node.publish("X", &json!({"n": n})).await;
        }
        client.settle().await;
        client.send(&json!({"op": 1, "d": 3})).await;
        client.cut().await;
        for n in 3..5 {
            node.publish("X", &json!({"n": n})).await;
        }
        // The client has seen up to 3. What was written after that may not have arrived.
        let mut again = node.resumed(&id, 3).await;
        let expected = numbered(&[(4, "2"), (5, "3"), (6, "4"), (7, "RESUMED")]);
        assert_eq!(again.dispatches(), expected);
        assert_eq!(again.seen.last().unwrap()["d"], json!({}));
        node.publish("X", &json!({"n": 5})).await;
        again.settle().await;
        assert_eq!(again.dispatches().last(), Some(&(8, "5".to_owned())));
        // Resuming once more from before RESUMED replays RESUMED at its place.
        again.cut().await;
        let third = node.resumed(&id, 6).await;
        assert_eq!(
            third.dispatches(),
            numbered(&[(7, "RESUMED"), (8, "5"), (9, "RESUMED")])
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_with_sequence_0_resumes_without_a_second_ready() {
    on(DiscordTestNode::new, async |node| {
        let (client, id) = node.identified(0).await;
        node.publish("X", &json!({"n": 1})).await;
        client.cut().await;
        let again = node.resumed(&id, 0).await;
        assert_eq!(again.dispatches(), numbered(&[(2, "1"), (3, "RESUMED")]));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_resume_gets_op_9_after_a_delay() {
    on(DiscordTestNode::new, async |node| {
        let (client, id) = node.identified(0).await;
        client.cut().await;
        for (id, seq) in [("1", 1), ("nonsense", 1), (&*id, 50)] {
            let mut again = node.resumed(id, seq).await;
            assert_eq!(again.seen.len(), 1, "{id}");
            again.after(Duration::from_millis(999)).await;
            assert_eq!(again.seen.len(), 1, "{id}");
            again.after(Duration::from_secs(4)).await;
            let last = again.seen.last().unwrap();
            assert_eq!((&last["op"], &last["d"]), (&json!(9), &json!(false)), "{id}");
            // The same connection may try again.
            again.send(&identify(0)).await;
            assert_eq!(again.seen.last().unwrap()["t"], "READY", "{id}");
        }
        let mut idle = node.resumed("1", 1).await;
        idle.after(Duration::from_secs(5)).await;
        assert_eq!(idle.close, None);
        idle.after(SECOND_TRY).await;
        assert_eq!(idle.close, Some(4000));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_resume_takes_the_session_from_its_connection() {
    on(DiscordTestNode::new, async |node| {
        let (mut first, id) = node.identified(0).await;
        let mut second = node.resumed(&id, 1).await;
        first.settle().await;
        assert_eq!(first.close, Some(4000));
        node.publish("X", &json!({"n": 1})).await;
        first.settle().await;
        second.settle().await;
        assert_eq!(first.dispatches(), numbered(&[(1, "READY")]));
        assert_eq!(second.dispatches(), numbered(&[(2, "RESUMED"), (3, "1")]));
        // The end of the first connection comes late and does not end the session.
        first.task.abort();
        let third = node.resumed(&id, 3).await;
        assert_eq!(third.dispatches(), numbered(&[(4, "RESUMED")]));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_long_replay_waits_for_its_client() {
    on(DiscordTestNode::new, async |node| {
        let (client, id) = node.identified(0).await;
        client.cut().await;
        for n in 0..100 {
            node.publish("X", &json!({"n": n})).await;
        }
        let mut again = node.resumed(&id, 1).await;
        assert_eq!(again.dispatches().len(), 64);
        node.publish("X", &json!({"n": 100})).await;
        again.settle().await;
        assert_eq!(again.dispatches().len(), 64);
        again.drained().await;
        let seen = again.dispatches();
        let numbers: Vec<_> = seen.iter().map(|(s, _)| *s).collect();
        assert_eq!(numbers, (2..=103).collect::<Vec<_>>());
        assert_eq!(seen.last().unwrap().1, "RESUMED");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_resume_past_the_end_of_the_history_gets_op_9() {
    on(DiscordTestNode::new, async |node| {
        let (client, id) = node.identified(0).await;
        client.cut().await;
        for n in 0..101 {
            node.publish("X", &json!({"n": n})).await;
        }
        let mut again = node.resumed(&id, 1).await;
        again.after(Duration::from_secs(5)).await;
        assert_eq!(again.dispatches(), []);
        assert_eq!(again.seen.last().unwrap()["op"], 9);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_do_not_carry_over_to_a_new_session() {
    on(DiscordTestNode::new, async |node| {
        let mut client = node.resumed("1", 500).await;
        client.after(Duration::from_secs(5)).await;
        client.send(&identify(0)).await;
        let id = client.seen.last().unwrap()["d"]["session_id"]
            .as_str()
            .unwrap()
            .to_owned();
        node.publish("X", &json!({"n": 1})).await;
        client.settle().await;
        client.send(&json!({"op": 1, "d": 1})).await;
        client.cut().await;
        let again = node.resumed(&id, 1).await;
        assert_eq!(again.dispatches(), numbered(&[(2, "1"), (3, "RESUMED")]));
    })
    .await;
}
