//! Answers to requests about guilds.

use super::*;

/// The number of the guild's members: more than two chunks.
const MEMBERS: u64 = 2500;

/// Gives the node a guild of [`MEMBERS`] members. Returns a client that has received it, and its session's id.
async fn asking(node: &DiscordTestNode) -> (DiscordTestClient, String) {
    let members: Vec<_> = (1..=MEMBERS)
        .map(|id| json!({"user": {"id": id.to_string(), "username": "someone with a long name"}, "roles": []}))
        .collect();
    let d = json!({"id": "7", "members": members});
    node.publish("GUILD_CREATE", &d).await;
    let mut client = node.connect().await;
    client.send(&identify(ALL_INTENTS)).await;
    let id = client.seen[1]["d"]["session_id"].as_str().unwrap().to_owned();
    made(&mut client).await;
    client.drained().await;
    assert_eq!(client.dispatches().last().unwrap().1, "GUILD_CREATE");
    (client, id)
}

/// Lets the node make everything that it makes before the client takes more.
async fn made(client: &mut DiscordTestClient) {
    for _ in 0..10 {
        client.settle().await;
    }
}

fn call(nonce: &str) -> Value {
    json!({"op": 8, "d": {"guild_id": "7", "query": "", "limit": 0, "nonce": nonce}})
}

/// Returns the nonce and the index of each chunk received.
fn chunks(client: &DiscordTestClient) -> Vec<(String, u64)> {
    let chunks = client.seen.iter().filter(|it| it["t"] == "GUILD_MEMBERS_CHUNK");
    chunks
        .map(|it| {
            let nonce = it["d"]["nonce"].as_str().unwrap().to_owned();
            (nonce, it["d"]["chunk_index"].as_u64().unwrap())
        })
        .collect()
}

fn expected(list: &[(&str, u64)]) -> Vec<(String, u64)> {
    list.iter()
        .map(|(nonce, index)| ((*nonce).to_owned(), *index))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn chunks_are_made_one_by_one_as_the_client_takes_them() {
    on(DiscordTestNode::new, async |node| {
        let (mut client, _) = asking(&node).await;
        for nonce in ["a", "b", "c"] {
            client.send(&call(nonce)).await;
        }
        let all: Vec<_> = ["a", "b", "c"]
            .iter()
            .flat_map(|nonce| (0..3).map(|index| (*nonce, index)))
            .collect();
        for sent in 1..=all.len() {
            made(&mut client).await;
            assert_eq!(chunks(&client), expected(&all[..sent]));
            client.drained().await;
        }
        let ids: Vec<u64> = client
            .seen
            .iter()
            .filter(|it| it["d"]["nonce"] == "c")
            .flat_map(|it| it["d"]["members"].as_array().unwrap())
            .map(|it| it["user"]["id"].as_str().unwrap().parse().unwrap())
            .collect();
        assert_eq!(ids, (1..=MEMBERS).collect::<Vec<_>>());
        node.publish("X", &json!({"n": 1})).await;
        client.settle().await;
        assert_eq!(client.dispatches().last(), Some(&(12, "1".to_owned())));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn events_are_sent_between_two_answers() {
    on(DiscordTestNode::new, async |node| {
        let (mut client, _) = asking(&node).await;
        client.send(&call("a")).await;
        client.send(&call("b")).await;
        made(&mut client).await;
        node.publish("X", &json!({"n": 1})).await;
        for _ in 0..6 {
            client.drained().await;
            made(&mut client).await;
        }
        let names: Vec<_> = client.dispatches().into_iter().skip(2).map(|(_, name)| name).collect();
        let chunk = "GUILD_MEMBERS_CHUNK";
        assert_eq!(names, [chunk, chunk, chunk, "1", chunk, chunk, chunk]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_resume_during_an_answer_continues_with_the_right_chunks() {
    on(DiscordTestNode::new, async |node| {
        let (mut client, id) = asking(&node).await;
        client.send(&call("a")).await;
        made(&mut client).await;
        client.drained().await;
        made(&mut client).await;
        assert_eq!(client.dispatches().last().unwrap().0, 4);
        client.cut().await;
        // The second chunk was lost, and one of its members has left.
        let d = json!({"guild_id": "7", "user": {"id": "1500"}});
        node.publish("GUILD_MEMBER_REMOVE", &d).await;
        let mut again = node.resumed(&id, 3).await;
        for _ in 0..3 {
            made(&mut again).await;
            again.drained().await;
        }
        made(&mut again).await;
        assert_eq!(chunks(&again), expected(&[("a", 1), ("a", 2)]));
        let lengths: Vec<_> = again
            .seen
            .iter()
            .filter_map(|it| it["d"]["members"].as_array())
            .map(Vec::len)
            .collect();
        assert_eq!(lengths, [999, 500]);
        let numbers: Vec<_> = again.dispatches().into_iter().map(|(s, _)| s).collect();
        assert_eq!(numbers, [4, 5, 6, 7]);
        assert_eq!(again.dispatches().last().unwrap().1, "RESUMED");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn too_many_pending_requests_close_with_4008() {
    on(DiscordTestNode::new, async |node| {
        let (mut client, _) = asking(&node).await;
        for _ in 0..requests::WAITING {
            client.send(&call("a")).await;
            // Slowly enough for the payload rate limit.
            advance(Duration::from_millis(500)).await;
        }
        assert_eq!((client.close, chunks(&client).len()), (None, 1));
        client.send(&call("a")).await;
        assert_eq!(client.close, Some(4008));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn sockets_are_polled_between_two_turns() {
    use crate::session::Turns;
    use std::cell::Cell;
    let (turns, turn_count, others) = (Rc::new(Turns::default()), Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let work = async {
        for _ in 0..8 {
            let (turns, turn_count) = (Rc::clone(&turns), Rc::clone(&turn_count));
            tokio::task::spawn_local(async move {
                drop(turns.take().await);
                turn_count.set(turn_count.get() + 1);
            });
        }
        while turn_count.get() < 8 {
            others.set(others.get() + 1);
            yield_now().await;
        }
    };
    LocalSet::new().run_until(work).await;
    assert!(others.get() >= 8, "{} polls beside 8 turns", others.get());
}
