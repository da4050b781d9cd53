//! Resumes that cannot be made whole are op 9, and those beside them that can go on.

use std::time::Duration;

use gateway_harness::{NodeProcess, RedisProcess, discord::DiscordClient, eventually};
use nix::sys::signal::Signal;
use serde_json::json;
use tokio::{join, time::interval};

use super::{SLACK, V10, ZLIB, accepts_again, expect_numbers, node, publish_numbers, resumed, session, setup, start};

/// How often a client says that it is there.
const BEAT: Duration = Duration::from_millis(200);

/// Where the server keeps a session.
fn kept(id: &str) -> String {
    format!("utilbot:{{utilbot}}:discord:{id}")
}

/// Has the client say what it has, and waits until the server knows.
async fn acknowledged(redis: &RedisProcess, client: &mut DiscordClient, id: &str) {
    client.heartbeat().await;
    let seen = client.sequence().to_string();
    eventually(&format!("a server that knows of {seen} dispatches"), async || {
        (redis.cli(&["HGET", &kept(id), "s"]).await == seen).then_some(())
    })
    .await;
}

/// Nothing but op 9 comes, and it is not worth trying again.
async fn is_refused(node: &NodeProcess, query: &str, id: &str, seq: u64) {
    let mut client = resumed(node, query, id, seq).await;
    assert_eq!(client.expect_op(9).await, json!(false));
}

/// The session goes on with these numbers alone.
async fn goes_on(node: &NodeProcess, id: &str, seq: u64, missed: impl IntoIterator<Item = u64>) -> DiscordClient {
    let mut client = resumed(node, V10, id, seq).await;
    expect_numbers(&mut client, missed).await;
    assert_eq!(client.expect_dispatch("RESUMED").await, json!({}));
    client
}

#[tokio::test]
async fn what_the_log_does_not_hold_any_more_is_op_9() {
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
    // This one has what the log holds, and has never said so: there is no way from what is known of it.
    expect_numbers(&mut silent, 0..150).await;
    let seen = [&behind, &silent, &near].map(DiscordClient::sequence);
    drop((behind, silent, near));
    publish_numbers(&one, 150..200).await;
    // Its memory holds nothing of the past.
    let two = start(short()).await;
    join!(
        is_refused(&two, V10, &behind_id, seen[0]),
        is_refused(&two, ZLIB, &silent_id, seen[1]),
    );
    let mut again = goes_on(&two, &near_id, seen[2], 150..200).await;
    publish_numbers(&one, 200..203).await;
    expect_numbers(&mut again, 200..203).await;
    // The refused one is over: nobody may find a part of it later.
    is_refused(&one, V10, &behind_id, seen[0]).await;
}

#[tokio::test]
async fn what_redis_has_lost_is_op_9() {
    let mut redis = RedisProcess::start().await;
    let (one, two) = (node(&redis).await, node(&redis).await);
    let (mut before, before_id) = session(&one, V10).await;
    let (mut beyond, beyond_id) = session(&one, V10).await;
    let (mut ahead, ahead_id) = session(&one, V10).await;
    let (mut there, _) = session(&one, ZLIB).await;
    publish_numbers(&one, 0..10).await;
    for client in [&mut before, &mut beyond, &mut ahead, &mut there] {
        expect_numbers(client, 0..10).await;
    }
    acknowledged(&redis, &mut before, &before_id).await;
    acknowledged(&redis, &mut beyond, &beyond_id).await;
    let (at, survives) = (before.sequence(), redis.log_bytes());
    drop(before);
    // All that is written from here on will not have been.
    publish_numbers(&one, 10..15).await;
    for client in [&mut beyond, &mut ahead, &mut there] {
        expect_numbers(client, 10..15).await;
    }
    acknowledged(&redis, &mut beyond, &beyond_id).await;
    let lost = beyond.sequence();
    drop((beyond, ahead));
    redis.kill().await;
    let newer = redis.log_bytes() - survives;
    assert_eq!(redis.truncate_log(newer), newer);
    redis.restart().await;

    // Whoever is connected has seen what never was.
    assert_eq!(there.expect_op(9).await, json!(false));
    accepts_again(&two).await;
    // There are fewer dispatches than it has seen.
    is_refused(&two, V10, &ahead_id, lost).await;
    publish_numbers(&two, 100..110).await;
    // As many dispatches as it has seen are there again, and they are others.
    is_refused(&two, V10, &beyond_id, lost).await;
    // This one has seen nothing of what is gone, and would never hear of it.
    is_refused(&two, V10, &before_id, at).await;
    let (mut new, _) = session(&two, V10).await;
    publish_numbers(&one, 110..113).await;
    expect_numbers(&mut new, 110..113).await;
}

#[tokio::test]
async fn a_session_whose_time_is_up_is_op_9() {
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
            eventually("a session whose time is up", async || {
                (redis.cli(&["EXISTS", &kept(id)]).await == "0").then_some(())
            })
            .await;
            join!(is_refused(&one, V10, id, 1), is_refused(&two, V10, id, 1));
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
    // One that has beaten all the time has all its time before it.
    let seen = staying.sequence();
    drop(staying);
    goes_on(&two, &staying_id, seen, []).await;
}

#[tokio::test]
async fn a_session_that_its_client_has_ended_elsewhere_is_op_9() {
    let redis = RedisProcess::start().await;
    let (one, two, three) = (node(&redis).await, node(&redis).await, node(&redis).await);
    for code in [1000, 1001] {
        let (client, id) = session(&one, V10).await;
        assert_eq!(client.close(code).await, Some(code));
        is_ended(&redis, &id).await;
        is_refused(&two, V10, &id, 1).await;
    }
    // Ended by its second connection, on another node than the first.
    let (first, id) = session(&one, V10).await;
    let second = goes_on(&two, &id, 1, []).await;
    drop(first);
    let seen = second.sequence();
    assert_eq!(second.close(1000).await, Some(1000));
    is_ended(&redis, &id).await;
    join!(
        is_refused(&one, V10, &id, seen),
        is_refused(&two, V10, &id, seen),
        is_refused(&three, V10, &id, seen),
    );
    // Any other end leaves it.
    let (client, id) = session(&one, V10).await;
    assert_eq!(client.close(4000).await, Some(4000));
    publish_numbers(&one, 0..3).await;
    goes_on(&two, &id, 1, 0..3).await;
}

/// Waits until the server knows that nobody can go on.
async fn is_ended(redis: &RedisProcess, id: &str) {
    eventually("a session that has ended", async || {
        (redis.cli(&["HEXISTS", &kept(id), "ended"]).await == "1").then_some(())
    })
    .await;
}
