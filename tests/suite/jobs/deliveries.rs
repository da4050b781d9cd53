//! The deliveries of a job, and their receipts.

use gateway_harness::{V1Client, eventually, key, metric};
use serde_json::json;

use super::{Backplanes, ack, is_over, job, listed, publish, settle, worker};

#[tokio::test]
async fn a_job_is_delivered_again_until_its_attempts_are_used_up() {
    let backplanes = Backplanes::start().await;
    for [near, far] in backplanes.all() {
        let mut first = worker(near, "bot", 1).await;
        let id = publish(far, "brief", 1).await;
        let (receipt, attempt, _) = job(&mut first).await;
        assert_eq!(attempt, 1);
        // It comes again, to the same worker if there is no other.
        let (again, attempt, n) = job(&mut first).await;
        assert_eq!((attempt, n), (2, 1));
        assert_ne!(receipt, again);
        eventually("an undeliverable job", async || {
            let jobs = listed(near, "?state=undeliverable").await;
            (jobs == [(id.clone(), "undeliverable".to_owned(), 2)]).then_some(())
        })
        .await;
        eventually("a count of the undeliverable job", async || {
            let mut count = metric(near, "utilbot_jobs_undeliverable_total").await;
            if near.address() != far.address() {
                count += metric(far, "utilbot_jobs_undeliverable_total").await;
            }
            (count == 1).then_some(())
        })
        .await;
        // A late acknowledgement of any attempt counts, even now.
        is_over(&mut first, "nack", &again).await;
        ack(&mut first, &receipt).await;
        is_over(&mut first, "ack", &again).await;
        assert!(listed(near, "").await.is_empty());
    }
}

#[tokio::test]
async fn a_job_goes_to_another_worker_when_its_session_ends_or_gives_it_back() {
    let backplanes = Backplanes::start().await;
    for [near, far] in backplanes.all() {
        let mut workers = vec![worker(near, "bot", 5).await, worker(far, "service", 5).await];
        publish(near, "render", 1).await;
        let (place, (receipt, ..)) = {
            let (one, other) = workers.split_at_mut(1);
            tokio::select! {
                job = job(&mut one[0]) => (0, job),
                job = job(&mut other[0]) => (1, job),
            }
        };
        let (answer, _) = settle(&mut workers[place], "nack", &receipt, &json!({ "delay_ms": 0 })).await;
        assert_eq!(answer, "event_accepted");
        let (second, attempt, _) = job(&mut workers[1 - place]).await;
        assert_eq!(attempt, 2);
        // What the earlier attempt says does not count any more, nor what another key says.
        is_over(&mut workers[place], "nack", &receipt).await;
        is_over(&mut workers[place], "nack", &second).await;
        workers.remove(1 - place).close(1000).await;
        let (third, attempt, _) = job(&mut workers[0]).await;
        assert_eq!(attempt, 3);
        // A later session with the same key can acknowledge it.
        let kind = if place == 0 { "bot" } else { "service" };
        let mut later = V1Client::session(far, kind, &key(kind)).await;
        ack(&mut later, &third).await;
        assert!(listed(near, "").await.is_empty());
    }
}

#[tokio::test]
async fn the_receipt_of_a_job_is_good_for_the_key_of_its_workers_only() {
    let backplanes = Backplanes::start().await;
    for [near, far] in backplanes.all() {
        let mut bot = worker(near, "bot", 1).await;
        let mut stranger = V1Client::session(far, "service", &key("service")).await;
        publish(near, "render", 1).await;
        let (receipt, ..) = job(&mut bot).await;
        for wrong in [
            receipt.as_str(),
            "x",
            "",
            &receipt.replace('.', ".9"),
            &format!("{}.1", "0".repeat(32)),
        ] {
            is_over(&mut stranger, "ack", wrong).await;
        }
        is_over(&mut bot, "ack", &receipt.replace('.', ".9")).await;
        for d in [json!({ "delay_ms": -1 }), json!({ "delay_ms": 3_600_001 }), json!([])] {
            let (answer, code) = settle(&mut bot, "nack", &receipt, &d).await;
            assert_eq!((&*answer, code), ("event_refused", json!("invalid_data")), "{d}");
        }
        ack(&mut bot, &receipt).await;
    }
}

#[tokio::test]
async fn an_acknowledgement_counts_although_its_session_ends_right_after_it() {
    let backplanes = Backplanes::start().await;
    for [near, far] in backplanes.all() {
        for n in 0..20 {
            let mut worker = worker(near, "bot", 1).await;
            publish(far, "render", n).await;
            let (receipt, ..) = job(&mut worker).await;
            worker.send(&json!({ "op": 1, "t": "ack", "r": receipt })).await;
            worker.close(1000).await;
            eventually("the job is done", async || {
                listed(far, "").await.is_empty().then_some(())
            })
            .await;
        }
    }
}
