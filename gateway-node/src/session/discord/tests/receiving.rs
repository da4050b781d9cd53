//! What sessions receive.

use super::*;

#[tokio::test(start_paused = true)]
async fn each_session_numbers_the_dispatches_it_receives() {
    on(DiscordTestNode::new, async |node| {
        let (mut guilds, _) = node.identified(1).await;
        let (mut messages, _) = node.identified(1 << 9 | 1 << 12).await;
        for n in 0..6 {
            let name = if n % 3 == 0 { "CHANNEL_CREATE" } else { "MESSAGE_CREATE" };
            node.publish(name, &json!({"guild_id": "1", "n": n, "content": "secret"}))
                .await;
        }
        guilds.settle().await;
        messages.settle().await;
        assert_eq!(guilds.dispatches(), numbered(&[(1, "READY"), (2, "0"), (3, "3")]));
        let expected = numbered(&[(1, "READY"), (2, "1"), (3, "2"), (4, "4"), (5, "5")]);
        assert_eq!(messages.dispatches(), expected);
        assert_eq!(
            messages.seen.last().unwrap()["d"]["content"],
            "",
            "it lacks the message content intent"
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_event_for_one_session_reaches_only_that_session() {
    on(DiscordTestNode::new, async |node| {
        let (mut first, id) = node.identified(0).await;
        let (mut second, _) = node.identified(0).await;
        node.publish_to("X", &json!({"n": 1}), Target::Session(id.parse().unwrap()))
            .await;
        node.publish("X", &json!({"n": 2})).await;
        first.settle().await;
        second.settle().await;
        assert_eq!(first.dispatches(), numbered(&[(1, "READY"), (2, "1"), (3, "2")]));
        assert_eq!(second.dispatches(), numbered(&[(1, "READY"), (2, "2")]));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn answers_are_numbered_like_other_dispatches() {
    on(DiscordTestNode::new, async |node| {
        let (mut client, _) = node.identified(0).await;
        client
            .send(&json!({"op": 8, "d": {"guild_id": "5", "user_ids": [7], "nonce": "n"}}))
            .await;
        let chunk = client.seen.last().unwrap();
        assert_eq!((&chunk["t"], &chunk["s"]), (&json!("GUILD_MEMBERS_CHUNK"), &json!(2)));
        let expected = json!({
            "guild_id": "5", "members": [], "chunk_index": 0, "chunk_count": 1, "not_found": ["7"], "nonce": "n",
        });
        assert_eq!(chunk["d"], expected);
        client.send(&json!({"op": 31, "d": {"guild_ids": ["5"]}})).await;
        client.send(&json!({"op": 43, "d": {"guild_id": "5"}})).await;
        client.send(&json!({"op": 5, "d": null})).await;
        let expected = numbered(&[
            (1, "READY"),
            (2, "GUILD_MEMBERS_CHUNK"),
            (3, "SOUNDBOARD_SOUNDS"),
            (4, "CHANNEL_INFO"),
        ]);
        assert_eq!(client.dispatches(), expected);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_session_gets_its_guilds_and_gets_unseen_ones_again_on_resume() {
    on(DiscordTestNode::new, async |node| {
        for id in 1..=20_u64 {
            let d = json!({"id": (id << 22).to_string(), "name": format!("guild {id}"), "members": []});
            node.publish("GUILD_CREATE", &d).await;
        }
        let mut client = node.connect().await;
        let shard = json!({"token": TOKEN, "intents": 1, "shard": [1, 2]});
        client.send(&json!({"op": 2, "d": shard})).await;
        let ready = client.seen[1].clone();
        assert_eq!(ready["d"]["guilds"].as_array().unwrap().len(), 10);
        assert_eq!(
            ready["d"]["guilds"][0],
            json!({"id": (1_u64 << 22).to_string(), "unavailable": true})
        );
        client.drained().await;
        assert_eq!(client.dispatches().len(), 11);
        node.publish(
            "CHANNEL_CREATE",
            &json!({"guild_id": (1_u64 << 22).to_string(), "id": "5"}),
        )
        .await;
        client.settle().await;
        assert_eq!(client.dispatches().last(), Some(&(12, "CHANNEL_CREATE".to_owned())));
        let id = ready["d"]["session_id"].as_str().unwrap().to_owned();
        node.publish("GUILD_DELETE", &json!({"id": (3_u64 << 22).to_string()}))
            .await;
        client.cut().await;
        // The client has not received the second guild yet. The guilds are sent with their old sequence numbers and
        // their current state.
        let again = node.resumed(&id, 2).await;
        let seen = again.dispatches();
        let numbers: Vec<_> = seen.iter().map(|(s, _)| *s).collect();
        assert_eq!(numbers, (3..=14).collect::<Vec<_>>());
        assert_eq!(seen[0].1, "GUILD_DELETE");
        assert_eq!(seen.last().unwrap().1, "RESUMED");
    })
    .await;
}
