//! Three nodes and a Redis under load while something goes wrong; the checker judges what the clients saw.
//!
//! Each of these is one short run of the tool `faults`. A failure prints the seed: `faults --fault NAME --seeds SEED
//! --seconds 3 --strikes 2` makes the same schedule again.

use std::time::Duration;

use gateway_chaos::faults::{Backing, ClusterFault, FaultPlan};
use gateway_harness::within_time;

/// How long a run may take: what is sent, the fault, and everybody coming back.
const RUN: Duration = Duration::from_secs(110);

async fn is_survived(fault: ClusterFault, seed: u64, backing: Backing) {
    let world = FaultPlan {
        fault,
        seed,
        time: Duration::from_secs(3),
        hold: None,
        strikes: 2,
        backing,
    };
    println!("{} with seed {seed}", fault.name());
    let row = within_time("the run", RUN, world.run()).await;
    assert!(row.is_clean(), "{row}");
    assert!(row.verdict.deliveries > 0, "{row}");
}

#[tokio::test]
async fn one_node_loses_nothing() {
    is_survived(ClusterFault::Nothing, 1, Backing::Memory).await;
}

#[tokio::test]
async fn one_node_that_is_stopped_loses_nothing() {
    is_survived(ClusterFault::NodePaused, 1, Backing::Memory).await;
}

#[tokio::test]
async fn three_nodes_lose_nothing() {
    is_survived(ClusterFault::Nothing, 1, Backing::Redis).await;
}

#[tokio::test]
async fn a_redis_that_is_killed_and_keeps_its_data_loses_nothing() {
    is_survived(ClusterFault::RedisRestarted, 1, Backing::Redis).await;
}

#[tokio::test]
async fn what_a_redis_has_lost_is_noticed() {
    is_survived(ClusterFault::RedisTruncated, 1, Backing::Redis).await;
}

#[tokio::test]
async fn two_primaries_lose_nothing_in_silence_and_reorder_nothing() {
    is_survived(ClusterFault::SplitBrain, 1, Backing::Redis).await;
}

#[tokio::test]
async fn a_redis_that_is_stopped_loses_nothing() {
    is_survived(ClusterFault::RedisStopped, 1, Backing::Redis).await;
}

#[tokio::test]
async fn subscribers_that_are_cut_miss_nothing() {
    is_survived(ClusterFault::PubSubKilled, 1, Backing::Redis).await;
}

#[tokio::test]
async fn a_node_that_is_killed_takes_only_its_own_sessions_with_it() {
    is_survived(ClusterFault::NodeKilled, 1, Backing::Redis).await;
}

#[tokio::test]
async fn accepted_events_outlive_the_node_of_their_only_receiver() {
    is_survived(ClusterFault::ReceiverKilled, 1, Backing::Redis).await;
}

#[tokio::test]
async fn accepted_events_outlive_all_nodes_and_redis() {
    is_survived(ClusterFault::AllKilled, 1, Backing::Redis).await;
}

#[tokio::test]
async fn a_node_that_is_stopped_for_longer_than_its_lease_misses_nothing() {
    is_survived(ClusterFault::NodePaused, 1, Backing::Redis).await;
}

#[tokio::test]
async fn nodes_that_are_restarted_one_after_the_other_lose_nothing() {
    is_survived(ClusterFault::RollingRestart, 1, Backing::Redis).await;
}

#[tokio::test]
async fn connections_to_redis_that_are_reset_lose_nothing() {
    is_survived(ClusterFault::RedisConnectionsReset, 1, Backing::Redis).await;
}

#[tokio::test]
async fn connections_to_redis_that_hang_lose_nothing() {
    is_survived(ClusterFault::RedisHalfOpen, 1, Backing::Redis).await;
}

#[tokio::test]
async fn a_slow_redis_loses_nothing() {
    is_survived(ClusterFault::SlowRedis, 1, Backing::Redis).await;
}
