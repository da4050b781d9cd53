//! A Redis that answers and takes no writes: publishers over HTTP get 503 at once and know the cause, what sockets send is held
//! as without a server, and both go on when the cause is gone.

use std::time::{Duration, Instant};

use gateway_harness::{
    ApiResponse, NodeProcess, PacketEncoding, RedisProcess, V1Client, eventually, full_setup, get, key, post, ready,
    within,
};
use serde_json::{Value, json};

/// No answer to a publication may take longer. An unknown outcome takes 8 s.
const AT_ONCE: Duration = Duration::from_secs(3);

/// Why Redis takes no writes.
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
                // A folder that is gone takes no file, whoever the server runs as.
                drop(folder);
                redis.cli(&["BGSAVE"]).await;
                eventually("a snapshot that fails", async || {
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

/// The numbers of the announcements up to this one, in the order in which they come.
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

/// Waits until the node has read what the client has sent: small packets may wait for each other on their way.
async fn read_by_the_node(client: &mut V1Client) {
    client.send(&json!({ "op": 10 })).await;
    while client.next().await["op"] != 11 {}
}

async fn refuses_and_goes_on(cause: Cause) {
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
    read_by_the_node(&mut website).await;
    eventually("a node that is not ready", async || {
        let ready = get(&node, "/readyz").await;
        (ready.status == 503 && ready.body.contains(cause.words())).then_some(())
    })
    .await;
    for n in 4..=6 {
        website.send_event("announce", &json!({ "n": n })).await;
    }
    read_by_the_node(&mut website).await;
    let mut client = V1Client::greeted(&node, PacketEncoding::Plain).await;
    client.send_identify("bot", &key("bot")).await;
    assert_eq!(client.error(1000, 1013).await["m"], "Redis is unavailable.");
    let refused = announce(&node, 99).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.body.contains(cause.words()), "{refused:?}");

    cause.end(&redis).await;
    ready(&node).await;
    eventually("a publication that is accepted", async || {
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
async fn out_of_memory() {
    refuses_and_goes_on(Cause::Full).await;
}

#[tokio::test]
async fn without_its_replicas() {
    refuses_and_goes_on(Cause::NoReplicas).await;
}

#[tokio::test]
async fn without_its_disk() {
    refuses_and_goes_on(Cause::NoDisk).await;
}

/// Whoever finds out first that Redis refuses ends the connection to it; what others have sent there is answered all the same.
#[tokio::test]
async fn publications_under_way_are_never_unknown_when_redis_begins_to_refuse() {
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
        // Some of each second's looks and renewals fall among the publications.
        for _ in 0..5 {
            assert_eq!(announce(&node, 1).await.status, 202);
        }
        Cause::NoReplicas.begin(&redis).await;
    };
    let (answers, ()) = within(
        "publishers that are refused",
        futures_util::future::join(futures_util::future::join_all(publishers), refusing),
    )
    .await;
    for status in answers.concat() {
        assert!(matches!(status, 202 | 503), "{status}");
    }
}
