//! A Redis that answers but refuses writes. HTTP publishers get 503 at once with the cause, events from sockets are
//! held as during an outage, and both work again once the cause is gone.

use std::time::{Duration, Instant};

use gateway_harness::{
    ApiResponse, NodeProcess, PacketEncoding, RedisProcess, V1Client, eventually, full_setup, get, key, post, ready,
    within,
};
use serde_json::{Value, json};

/// The longest that an answer to a publish may take. One with an unknown outcome would take 8 s.
const AT_ONCE: Duration = Duration::from_secs(3);

/// The reason why Redis refuses writes.
#[derive(Debug, Clone, Copy)]
enum Cause {
    Full,
    NoReplicas,
    NoDisk,
}

impl Cause {
    async fn begin(self, redis: &RedisProcess) {
        match self {
            Self::Full => set(redis, "maxmemory", "1").await,
            Self::NoReplicas => set(redis, "min-replicas-to-write", "1").await,
            Self::NoDisk => {
                set(redis, "save", "3600 1").await;
                let folder = tempfile::tempdir().unwrap();
                set(redis, "dir", &folder.path().display().to_string()).await;
                // Writing to a deleted folder fails for every user, root included.
                drop(folder);
                redis.cli(&["BGSAVE"]).await;
                eventually("the snapshot fails", async || {
                    let info = redis.cli(&["INFO", "persistence"]).await;
                    info.contains("rdb_last_bgsave_status:err").then_some(())
                })
                .await;
            }
        }
    }

    async fn end(self, redis: &RedisProcess) {
        match self {
            Self::Full => set(redis, "maxmemory", "0").await,
            Self::NoReplicas => set(redis, "min-replicas-to-write", "0").await,
            Self::NoDisk => set(redis, "stop-writes-on-bgsave-error", "no").await,
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Full => "is out of memory",
            Self::NoReplicas => "NOREPLICAS",
            Self::NoDisk => "MISCONF",
        }
    }
}

async fn set(redis: &RedisProcess, name: &str, value: &str) {
    assert_eq!(redis.cli(&["CONFIG", "SET", name, value]).await, "OK", "{name} {value}");
}

async fn started() -> (RedisProcess, NodeProcess) {
    let redis = RedisProcess::start_with(&[("enable-protected-configs", "yes")]).await;
    let node = full_setup().redis(&redis.url()).set("cluster.lease_ms", 1000);
    let node = node.start().await;
    ready(&node).await;
    (redis, node)
}

async fn announce(node: &NodeProcess, n: u32) -> ApiResponse {
    let event = json!({ "t": "announce", "d": { "n": n } });
    post(node, &key("service"), &event.to_string()).await
}

/// Reads announcements up to the number `last`. Returns their numbers in order of arrival.
async fn numbers(client: &mut V1Client, last: u32) -> Vec<Value> {
    let mut numbers = Vec::new();
    within("the announcements", async {
        while numbers.last() != Some(&json!(last)) {
            let event = client.event_among_others("announce").await;
            numbers.push(event["n"].clone());
        }
    })
    .await;
    numbers
}

/// Waits until the node has read everything that the client has sent, which a heartbeat ACK shows.
async fn wait_until_read(client: &mut V1Client) {
    client.send(&json!({ "op": 10 })).await;
    while client.next().await["op"] != 11 {}
}

async fn refuses_and_recovers(cause: Cause) {
    let (redis, node) = started().await;
    let mut bot = V1Client::session(&node, "bot", &key("bot")).await;
    let mut website = V1Client::session(&node, "website", &key("website")).await;
    assert_eq!(announce(&node, 0).await.status, 202);

    cause.begin(&redis).await;
    let begin = Instant::now();
    let refused = announce(&node, 99).await;
    assert!(begin.elapsed() < AT_ONCE, "{cause:?}: {:?}", begin.elapsed());
    assert_eq!(refused.status, 503, "{refused:?}");
    assert_eq!(refused.header("retry-after"), Some("1"), "{refused:?}");
    assert_eq!(refused.json()["code"], "unavailable");
    let message = refused.json()["message"].to_string();
    assert!(message.contains(cause.words()), "{message}");

    for n in 1..=3 {
        website.send_event("announce", &json!({ "n": n })).await;
    }
    wait_until_read(&mut website).await;
    eventually("the node is not ready", async || {
        let ready = get(&node, "/readyz").await;
        (ready.status == 503 && ready.body.contains(cause.words())).then_some(())
    })
    .await;
    for n in 4..=6 {
        website.send_event("announce", &json!({ "n": n })).await;
    }
    wait_until_read(&mut website).await;
    let mut client = V1Client::greeted(&node, PacketEncoding::Plain).await;
    client.send_identify("bot", &key("bot")).await;
    assert_eq!(client.error(1000, 1013).await["m"], "Redis is unavailable.");
    let refused = announce(&node, 99).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.body.contains(cause.words()), "{refused:?}");

    cause.end(&redis).await;
    ready(&node).await;
    eventually("a publish is accepted", async || {
        (announce(&node, 7).await.status == 202).then_some(())
    })
    .await;
    let expected: Vec<_> = (0..=7).map(|n| json!(n)).collect();
    assert_eq!(numbers(&mut bot, 7).await, expected, "{cause:?}");
    bot.heartbeat().await;
    numbers(&mut website, 7).await;
    website.heartbeat().await;
}

#[tokio::test]
async fn publishing_recovers_after_redis_was_out_of_memory() {
    refuses_and_recovers(Cause::Full).await;
}

#[tokio::test]
async fn publishing_recovers_after_redis_had_too_few_replicas() {
    refuses_and_recovers(Cause::NoReplicas).await;
}

#[tokio::test]
async fn publishing_recovers_after_redis_could_not_save() {
    refuses_and_recovers(Cause::NoDisk).await;
}

/// The first command that Redis refuses makes the node close the connection. Commands already sent on it must still be
/// answered.
#[tokio::test]
async fn publications_in_flight_get_a_definite_answer_when_redis_starts_to_refuse() {
    let (redis, node) = started().await;
    let publisher = async |first: u32| {
        let mut statuses = Vec::new();
        for n in first.. {
            let begin = Instant::now();
            let status = announce(&node, n).await.status;
            assert!(begin.elapsed() < AT_ONCE, "{status} after {:?}", begin.elapsed());
            statuses.push(status);
            if statuses.ends_with(&[503, 503, 503]) {
                break;
            }
        }
        statuses
    };
    let publishers: Vec<_> = (0..8).map(|place| publisher(place * 100_000)).collect();
    let refusing = async {
        // Long enough for health checks and lease renewals to fall among the publications.
        for _ in 0..5 {
            assert_eq!(announce(&node, 1).await.status, 202);
        }
        Cause::NoReplicas.begin(&redis).await;
    };
    let (answers, ()) = within(
        "all publishers are refused",
        futures_util::future::join(futures_util::future::join_all(publishers), refusing),
    )
    .await;
    for status in answers.concat() {
        assert!(matches!(status, 202 | 503), "{status}");
    }
}
