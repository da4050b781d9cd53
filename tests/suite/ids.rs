//! Ids of several nodes while clocks and Redis go wrong. The first is a short run of the tool `ids`; a failure prints the
//! seed and what was done.

use std::time::{Duration, Instant};

use gateway_chaos::ids::{IdPlan, Trouble};
use gateway_harness::{
    NodeProcess, PacketEncoding, RedisProcess, ToolReport as _, V1Client, eventually, full_setup, get, key, within_time,
};
use nix::sys::signal::Signal;

const LEASE: Duration = Duration::from_secs(1);

#[tokio::test]
async fn load_no_two_ids_are_equal_whatever_goes_wrong() {
    let world = IdPlan {
        ids: 20_000,
        nodes: 3,
        times: 2,
        clients: 24,
        seed: 1,
    };
    let report = within_time("the run", Duration::from_secs(170), world.run()).await;
    println!("{report}");
    assert_eq!(report.failures(), [""; 0], "{report}");
    assert!(Trouble::all().all(|trouble| report.troubles[&trouble] >= 2), "{report}");
}

/// A node of a cluster that is ready.
async fn node(redis: &RedisProcess) -> NodeProcess {
    let setup = full_setup()
        .redis(&redis.url())
        .set("cluster.lease_ms", LEASE.as_millis());
    let node = setup.start().await;
    eventually("the node is ready", async || {
        (get(&node, "/readyz").await.status == 200).then_some(())
    })
    .await;
    node
}

async fn id(node: &NodeProcess) -> u64 {
    let mut client = V1Client::greeted(node, PacketEncoding::Plain).await;
    client.identify("bot", &key("bot")).await.parse().unwrap()
}

/// The time in an id, in milliseconds.
fn time(id: u64) -> u64 {
    id >> 22
}

#[tokio::test]
async fn ids_go_on_when_the_clock_of_redis_goes_back() {
    let redis = RedisProcess::start_with_clock(&[]).await;
    let first = node(&redis).await;
    let mut latest = id(&first).await;
    redis.set_clock(-3_600_000);
    // For long enough that the lease has been renewed by the clock that went back, and the old one has ended.
    let began = Instant::now();
    while began.elapsed() < 2 * LEASE {
        let next = id(&first).await;
        assert!(next > latest);
        latest = next;
    }
    let second = node(&redis).await;
    assert!(time(id(&second).await) >= time(latest));
}

#[tokio::test]
async fn the_time_of_ids_outlives_a_redis_that_has_lost_everything_and_whose_clock_went_back() {
    let mut redis = RedisProcess::start_with_clock(&[]).await;
    let (witness, mut dead) = (node(&redis).await, node(&redis).await);
    id(&witness).await;
    let latest = id(&dead).await;
    dead.signal(Signal::SIGKILL);
    dead.ended(LEASE * 10).await;
    redis.kill().await;
    redis.truncate_log(u64::MAX);
    redis.set_clock(-60_000);
    redis.restart().await;
    let new = node(&redis).await;
    assert!(time(id(&new).await) > time(latest));
    assert!(time(id(&witness).await) > time(latest));
}
