//! Ids of several nodes during faults of clocks and Redis. The first test is a short run of the tool `ids`; a failure
//! prints the seed and the faults.

use std::time::{Duration, Instant};

use gateway_chaos::ids::{IdPlan, Trouble};
use gateway_harness::{
    NodeProcess, PacketEncoding, RedisProcess, ToolReport as _, V1Client, eventually, full_setup, get, key, within_time,
};
use nix::sys::signal::Signal;

const LEASE: Duration = Duration::from_secs(1);

#[tokio::test]
async fn load_ids_stay_unique_under_faults() {
    let world = IdPlan {
        ids: 5000,
        nodes: 3,
        times: 1,
        clients: 24,
        seed: 1,
    };
    let report = within_time("the run", Duration::from_secs(170), world.run()).await;
    println!("{report}");
    assert_eq!(report.failures(), [""; 0], "{report}");
    assert!(Trouble::all().all(|trouble| report.troubles[&trouble] >= 1), "{report}");
}

/// Starts a node on this Redis and waits until it is ready.
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

/// Returns the timestamp in an id, in milliseconds.
fn time(id: u64) -> u64 {
    id >> 22
}

#[tokio::test]
async fn ids_keep_increasing_when_the_clock_of_redis_goes_back() {
    let redis = RedisProcess::start_with_clock(&[]).await;
    let first = node(&redis).await;
    let mut latest = id(&first).await;
    redis.set_clock(-3_600_000);
    // Long enough for the lease to be renewed by the changed clock, and for the old one to expire.
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
async fn ids_keep_increasing_when_redis_loses_its_data_and_its_clock_goes_back() {
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
