//! Nodes under load during a fault, mostly three with a Redis. The checker verifies what the clients received.
//!
//! Each test is a short run of the tool `faults`. A failure prints the seed: `faults --fault NAME --seeds SEED
//! --seconds 3 --strikes 2` repeats the schedule.

use std::time::Duration;

use gateway_chaos::faults::{Backing, ClusterFault, FaultPlan};
use gateway_harness::within_time;

/// The longest that a run may take: sending, the fault, and the reconnecting of all clients.
const RUN: Duration = Duration::from_secs(110);

async fn loses_nothing(fault: ClusterFault, seed: u64, backing: Backing) {
    let world = FaultPlan {
        fault,
        seed,
        time: Duration::from_secs(3),
        hold: None,
        strikes: 2,
        backing,
        rate: None,
        log_entries: None,
    };
    println!("{} with seed {seed}", fault.name());
    let row = within_time("the run", RUN, world.run()).await;
    assert!(row.is_clean(), "{row}");
    assert!(row.verdict.deliveries > 0 && row.caught_up > 0, "{row}");
}

#[tokio::test]
async fn one_node_without_faults_loses_nothing() {
    loses_nothing(ClusterFault::Nothing, 1, Backing::Memory).await;
}

#[tokio::test]
async fn one_paused_node_loses_nothing() {
    loses_nothing(ClusterFault::NodePaused, 1, Backing::Memory).await;
}

#[tokio::test]
async fn three_nodes_without_faults_lose_nothing() {
    loses_nothing(ClusterFault::Nothing, 1, Backing::Redis).await;
}

#[tokio::test]
async fn a_redis_restart_with_its_data_loses_nothing() {
    loses_nothing(ClusterFault::RedisRestarted, 1, Backing::Redis).await;
}

#[tokio::test]
async fn writes_lost_by_redis_are_detected() {
    loses_nothing(ClusterFault::RedisTruncated, 1, Backing::Redis).await;
}

#[tokio::test]
async fn a_split_brain_reorders_nothing_and_loses_nothing_silently() {
    loses_nothing(ClusterFault::SplitBrain, 1, Backing::Redis).await;
}

#[tokio::test]
async fn a_paused_redis_loses_nothing() {
    loses_nothing(ClusterFault::RedisStopped, 1, Backing::Redis).await;
}

#[tokio::test]
async fn cut_subscriptions_miss_nothing() {
    loses_nothing(ClusterFault::PubSubKilled, 1, Backing::Redis).await;
}

#[tokio::test]
async fn a_killed_node_ends_only_its_own_sessions() {
    loses_nothing(ClusterFault::NodeKilled, 1, Backing::Redis).await;
}

#[tokio::test]
async fn accepted_events_survive_the_death_of_their_only_receivers_node() {
    loses_nothing(ClusterFault::ReceiverKilled, 1, Backing::Redis).await;
}

#[tokio::test]
async fn accepted_events_survive_the_death_of_all_nodes_and_redis() {
    loses_nothing(ClusterFault::AllKilled, 1, Backing::Redis).await;
}

#[tokio::test]
async fn a_node_paused_past_its_lease_misses_nothing() {
    loses_nothing(ClusterFault::NodePaused, 1, Backing::Redis).await;
}

#[tokio::test]
async fn a_rolling_restart_loses_nothing() {
    loses_nothing(ClusterFault::RollingRestart, 1, Backing::Redis).await;
}

#[tokio::test]
async fn reset_redis_connections_lose_nothing() {
    loses_nothing(ClusterFault::RedisConnectionsReset, 1, Backing::Redis).await;
}

#[tokio::test]
async fn half_open_redis_connections_lose_nothing() {
    loses_nothing(ClusterFault::RedisHalfOpen, 1, Backing::Redis).await;
}

#[tokio::test]
async fn a_slow_redis_loses_nothing() {
    loses_nothing(ClusterFault::SlowRedis, 1, Backing::Redis).await;
}
