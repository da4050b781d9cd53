//! Resumes that would lose events get op 9, and other sessions of the same cluster still resume.

use std::time::Duration;

use gateway_harness::{NodeProcess, RedisProcess, discord::DiscordClient, eventually};
use nix::sys::signal::Signal;
use serde_json::json;
use tokio::{join, time::interval};

use super::{
    SLACK, V10, ZLIB, expect_numbers, node, publish_numbers, resumed, session, setup, start, wait_until_accepting,
};

/// The interval of a client's heartbeats.
const BEAT: Duration = Duration::from_millis(200);

/// Returns the Redis key of a session.
fn session_key(id: &str) -> String {
    format!("utilbot:{{utilbot}}:discord:{id}")
}

/// Sends a heartbeat with the client's sequence number, and waits until Redis has stored it.
async fn acknowledged(redis: &RedisProcess, client: &mut DiscordClient, id: &str) {
    client.heartbeat().await;
    let seen = client.sequence().to_string();
    eventually(&format!("Redis stores {seen} acknowledged dispatches"), async || {
        (redis.cli(&["HGET", &session_key(id), "s"]).await == seen).then_some(())
    })
    .await;
}

/// Asserts that a resume gets op 9 with `d: false`.
async fn expect_invalid_session(node: &NodeProcess, query: &str, id: &str, seq: u64) {
    let mut client = resumed(node, query, id, seq).await;
    assert_eq!(client.expect_op(9).await, json!(false));
}

/// Asserts that a resume replays exactly these numbers. Returns the client.
async fn expect_resumed(
    node: &NodeProcess,
    id: &str,
    seq: u64,
    missed: impl IntoIterator<Item = u64>,
) -> DiscordClient {
    let mut client = resumed(node, V10, id, seq).await;
    expect_numbers(&mut client, missed).await;
    assert_eq!(client.expect_dispatch("RESUMED").await, json!({}));
    client
}

#[tokio::test]
async fn a_resume_from_trimmed_entries_gets_op_9() {
    let redis = RedisProcess::start().await;
    let short = || setup(&redis).set("cluster.log_entries", 64);
    let one = start(short()).await;
    let (mut behind, behind_id) = session(&one, V10).await;
    let (mut silent, silent_id) = session(&one, ZLIB).await;
    let (mut near, near_id) = session(&one, V10).await;
    publish_numbers(&one, 0..10).await;
    expect_numbers(&mut behind, 0..10).await;
    acknowledged(&redis, &mut behind, &behind_id).await;
    publish_numbers(&one, 10..150).await;
    expect_numbers(&mut near, 0..150).await;
    acknowledged(&redis, &mut near, &near_id).await;
    // This client has received everything but never acknowledged it, so another node cannot tell what it has.
    expect_numbers(&mut silent, 0..150).await;
    let seen = [&behind, &silent, &near].map(DiscordClient::sequence);
    drop((behind, silent, near));
    publish_numbers(&one, 150..200).await;
    // A new node has no replay buffer of earlier events.
    let two = start(short()).await;
    join!(
        expect_invalid_session(&two, V10, &behind_id, seen[0]),
        expect_invalid_session(&two, ZLIB, &silent_id, seen[1]),
    );
    let mut again = expect_resumed(&two, &near_id, seen[2], 150..200).await;
    publish_numbers(&one, 200..203).await;
    expect_numbers(&mut again, 200..203).await;
    // A refused session has ended, so that no other node resumes a part of it later.
    expect_invalid_session(&one, V10, &behind_id, seen[0]).await;
}

#[tokio::test]
async fn a_resume_from_entries_that_redis_lost_gets_op_9() {
    let mut redis = RedisProcess::start().await;
    let (one, two) = (node(&redis).await, node(&redis).await);
    let (mut before, before_id) = session(&one, V10).await;
    let (mut beyond, beyond_id) = session(&one, V10).await;
    let (mut ahead, ahead_id) = session(&one, V10).await;
    let (mut connected, _) = session(&one, ZLIB).await;
    publish_numbers(&one, 0..10).await;
    for client in [&mut before, &mut beyond, &mut ahead, &mut connected] {
        expect_numbers(client, 0..10).await;
    }
    acknowledged(&redis, &mut before, &before_id).await;
    acknowledged(&redis, &mut beyond, &beyond_id).await;
    let (at, survives) = (before.sequence(), redis.log_bytes());
    drop(before);
    // Redis loses everything that is written from here on.
    publish_numbers(&one, 10..15).await;
    for client in [&mut beyond, &mut ahead, &mut connected] {
        expect_numbers(client, 10..15).await;
    }
    acknowledged(&redis, &mut beyond, &beyond_id).await;
    let lost = beyond.sequence();
    drop((beyond, ahead));
    redis.kill().await;
    let newer = redis.log_bytes() - survives;
    assert_eq!(redis.truncate_log(newer), newer);
    redis.restart().await;

    // The connected client has received events that are lost.
    assert_eq!(connected.expect_op(9).await, json!(false));
    wait_until_accepting(&two).await;
    // The log has fewer dispatches than this client has received.
    expect_invalid_session(&two, V10, &ahead_id, lost).await;
    publish_numbers(&two, 100..110).await;
    // The log has as many dispatches again, but different ones.
    expect_invalid_session(&two, V10, &beyond_id, lost).await;
    // This client received none of the lost events, and a resume could not deliver them.
    expect_invalid_session(&two, V10, &before_id, at).await;
    let (mut new, _) = session(&two, V10).await;
    publish_numbers(&one, 110..113).await;
    expect_numbers(&mut new, 110..113).await;
}

#[tokio::test]
async fn a_resume_of_an_expired_session_gets_op_9() {
    let redis = RedisProcess::start().await;
    let brief = || {
        setup(&redis)
            .set("session.resume_window_ms", 500)
            .set("discord.heartbeat_interval_ms", 1000)
    };
    let (mut dying, one, two) = (start(brief()).await, start(brief()).await, start(brief()).await);
    let (left, left_id) = session(&one, V10).await;
    let (_killed, killed_id) = session(&dying, V10).await;
    let (mut staying, staying_id) = session(&one, V10).await;
    publish_numbers(&two, 0..3).await;
    expect_numbers(&mut staying, 0..3).await;
    drop(left);
    dying.signal(Signal::SIGKILL);
    dying.ended(SLACK).await;
    let waiting = async {
        for id in [&left_id, &killed_id] {
            eventually("the session expires", async || {
                (redis.cli(&["EXISTS", &session_key(id)]).await == "0").then_some(())
            })
            .await;
            join!(
                expect_invalid_session(&one, V10, id, 1),
                expect_invalid_session(&two, V10, id, 1)
            );
        }
    };
    let beating = async {
        let mut pace = interval(BEAT);
        loop {
            pace.tick().await;
            staying.heartbeat().await;
        }
    };
    tokio::select! { () = waiting => {} () = beating => {} }
    // A session with heartbeats all along has its full resume window left.
    let seen = staying.sequence();
    drop(staying);
    expect_resumed(&two, &staying_id, seen, []).await;
}

#[tokio::test]
async fn a_resume_of_a_session_ended_by_its_client_gets_op_9_on_every_node() {
    let redis = RedisProcess::start().await;
    let (one, two, three) = (node(&redis).await, node(&redis).await, node(&redis).await);
    for code in [1000, 1001] {
        let (client, id) = session(&one, V10).await;
        assert_eq!(client.close(code).await, Some(code));
        wait_until_ended(&redis, &id).await;
        expect_invalid_session(&two, V10, &id, 1).await;
    }
    // The session is ended by its second connection, on another node than the first.
    let (first, id) = session(&one, V10).await;
    let second = expect_resumed(&two, &id, 1, []).await;
    drop(first);
    let seen = second.sequence();
    assert_eq!(second.close(1000).await, Some(1000));
    wait_until_ended(&redis, &id).await;
    join!(
        expect_invalid_session(&one, V10, &id, seen),
        expect_invalid_session(&two, V10, &id, seen),
        expect_invalid_session(&three, V10, &id, seen),
    );
    // Any other close code keeps the session.
    let (client, id) = session(&one, V10).await;
    assert_eq!(client.close(4000).await, Some(4000));
    publish_numbers(&one, 0..3).await;
    expect_resumed(&two, &id, 1, 0..3).await;
}

/// Waits until Redis has the session marked as ended.
async fn wait_until_ended(redis: &RedisProcess, id: &str) {
    eventually("the session is marked as ended", async || {
        (redis.cli(&["HEXISTS", &session_key(id), "ended"]).await == "1").then_some(())
    })
    .await;
}
