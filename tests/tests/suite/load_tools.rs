//! The load tools at a size that fits every run. They fail on what is lost, never on what is slow.

use clap::Parser as _;
use gateway_tests::load::{Outcome as _, cluster, heartbeat, slow};

/// Runs a tool away from the test's own thread, which it would block.
async fn run<R: Send + 'static>(tool: impl FnOnce() -> anyhow::Result<R> + Send + 'static) -> anyhow::Result<R> {
    tokio::task::spawn_blocking(tool).await?
}

#[tokio::test]
async fn load_a_thousand_sessions_beat_and_none_is_lost() -> anyhow::Result<()> {
    let arguments = "heartbeat --no-pin --sessions 1000 --interval-ms 1000 --seconds 3";
    let options = heartbeat::Options::parse_from(arguments.split(' '));
    let report = run(move || heartbeat::run(&options)).await?;
    assert_eq!(report.failures(), [""; 0], "{report}");
    assert_eq!(report.heartbeats, 3000);
    Ok(())
}

#[tokio::test]
async fn load_slow_clients_are_evicted_by_bytes_and_leave_nothing_behind() -> anyhow::Result<()> {
    let arguments = "slow --no-pin --stopped 20 --resuming 10 --drip 5 --healthy 10 --seconds 2 --settle-seconds 2 \
                     --outbox-bytes 131072 --rate 50";
    let options = slow::Options::parse_from(arguments.split_ascii_whitespace());
    let report = run(move || slow::run(&options)).await?;
    assert_eq!(report.failures(), [""; 0], "{report}");
    Ok(())
}

#[tokio::test]
async fn load_slow_clients_are_evicted_by_age() -> anyhow::Result<()> {
    let arguments = "slow --no-pin --stopped 10 --resuming 5 --drip 5 --healthy 10 --waves 1 --seconds 2 \
                     --settle-seconds 0 --outbox-bytes 268435456 --outbox-age-ms 500 --rate 50";
    let options = slow::Options::parse_from(arguments.split_ascii_whitespace());
    let report = run(move || slow::run(&options)).await?;
    assert_eq!(report.failures(), [""; 0], "{report}");
    Ok(())
}

#[tokio::test]
async fn load_cluster_of_three_nodes_loses_doubles_and_reorders_nothing() -> anyhow::Result<()> {
    let options = cluster::Options::parse_from("cluster --rounds 1 --seconds 0.2".split(' '));
    let report = run(move || cluster::run(&options)).await?;
    assert_eq!(report.failures(), [""; 0], "{report}");
    assert!(report.events > 1000 && report.log.is_empty(), "{report}");
    Ok(())
}
