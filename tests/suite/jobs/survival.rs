//! Jobs outlive nodes, Redis and the entries of the log.

use std::time::Duration;

use gateway_harness::{eventually, ready};
use nix::sys::signal::Signal;
use serde_json::json;

use super::{Backplanes, ack, call, job, listed, publish, settle, worker};

#[tokio::test]
async fn jobs_survive_the_death_of_their_node_and_a_restart_of_redis() {
    let mut backplanes = Backplanes::start().await;
    let mut doomed = worker(&backplanes.pair[1], "bot", 10).await;
    for n in 0..4 {
        publish(&backplanes.pair[0], "render", n).await;
    }
    for _ in 0..4 {
        assert_eq!(job(&mut doomed).await.1, 1);
    }
    backplanes.pair[1].signal(Signal::SIGKILL);
    backplanes.pair[1].ended(Duration::from_secs(5)).await;
    let mut other = worker(&backplanes.pair[0], "bot", 3).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(job(&mut other).await);
    }
    assert!(held.iter().all(|(_, attempt, _)| *attempt == 2), "{held:?}");
    backplanes.server.kill().await;
    backplanes.server.restart().await;
    ready(&backplanes.pair[0]).await;
    // The worker still has its three, and gets the last one when it has a free place.
    eventually("an acknowledgement after the restart", async || {
        let (receipt, ..) = held[0].clone();
        let (answer, code) = settle(&mut other, "ack", &receipt, &json!({})).await;
        (answer == "event_accepted" || code == "receipt_over").then_some(())
    })
    .await;
    let last = job(&mut other).await;
    assert_eq!(last.1, 2);
    for (receipt, ..) in [&held[1], &held[2], &last] {
        ack(&mut other, receipt).await;
    }
    assert!(listed(&backplanes.pair[0], "").await.is_empty());
}

#[tokio::test]
async fn a_flood_that_trims_the_log_loses_no_job() {
    let backplanes = Backplanes::with(|setup| setup.set("cluster.log_entries", 64)).await;
    for [near, far] in backplanes.all() {
        publish(near, "render", 7).await;
        let flood = json!(vec![json!({ "t": "mark", "d": {} }); 500]);
        assert_eq!(call(near, "POST", "/api/v1/events", &flood).await.status, 202);
        let mut bot = worker(far, "bot", 1).await;
        let (receipt, _, n) = job(&mut bot).await;
        assert_eq!(n, 7);
        ack(&mut bot, &receipt).await;
    }
}
