//! The workers of jobs: which one gets a job, and how many it has.

use gateway_harness::{PacketEncoding, V1Client, key, ready};
use serde_json::json;

use super::{Backplanes, ack, call, job, listed, publish, setup, worker};

#[tokio::test]
async fn jobs_wait_for_workers_and_no_worker_has_more_than_it_takes() {
    let backplanes = Backplanes::start().await;
    for [near, far] in backplanes.all() {
        let mut website = V1Client::session(near, "website", &key("website")).await;
        let mut jobs = Vec::new();
        for n in 0..6 {
            let sent = json!({ "op": 1, "t": "render", "n": n, "d": { "n": n } });
            website.send(&sent).await;
            jobs.push(
                website.event("event_accepted").await["job"]
                    .as_str()
                    .unwrap()
                    .to_owned(),
            );
        }
        let waiting = listed(near, "?state=waiting").await;
        assert_eq!(waiting.len(), 6);
        assert!(waiting.iter().all(|(id, ..)| jobs.contains(id)));
        // A session that takes no jobs gets none.
        let mut idle = V1Client::session(near, "bot", &key("bot")).await;
        let mut workers = [worker(near, "bot", 2).await, worker(far, "bot", 1).await];
        let mut held = Vec::new();
        for (place, count) in [(0, 2), (1, 1)] {
            for _ in 0..count {
                held.push((place, job(&mut workers[place]).await));
            }
        }
        let delivered = listed(far, "?state=delivered").await;
        assert_eq!((delivered.len(), listed(far, "?limit=4").await.len()), (3, 4));
        // Everyone gets this after whatever was given to them.
        let marked = json!({ "t": "mark", "d": {} });
        assert_eq!(call(near, "POST", "/api/v1/events", &marked).await.status, 202);
        for client in workers.iter_mut().chain([&mut idle]) {
            client.event("mark").await;
        }
        // Each free place is filled.
        let mut numbers: Vec<_> = held.iter().map(|(_, (_, _, n))| *n).collect();
        while let Some((place, (receipt, attempt, _))) = held.pop() {
            assert_eq!(attempt, 1);
            ack(&mut workers[place], &receipt).await;
            if numbers.len() < 6 {
                let next = job(&mut workers[place]).await;
                numbers.push(next.2);
                held.push((place, next));
            }
        }
        numbers.sort_unstable();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5]);
        assert!(listed(near, "").await.is_empty());
    }
}

#[tokio::test]
async fn a_worker_gets_the_jobs_of_others_behind_its_own() {
    let backplanes = Backplanes::start().await;
    for [near, far] in backplanes.all() {
        let mut worker = worker(near, "service", 5).await;
        let own = json!({ "op": 1, "t": "render", "n": "own", "d": { "n": 1 } });
        worker.send(&own).await;
        while worker.next().await["n"] != "own" {}
        publish(far, "render", 2).await;
        let (receipt, _, n) = job(&mut worker).await;
        assert_eq!(n, 2);
        ack(&mut worker, &receipt).await;
        let mut other = self::worker(far, "bot", 1).await;
        let (receipt, _, n) = job(&mut other).await;
        assert_eq!(n, 1);
        ack(&mut other, &receipt).await;
    }
}

#[tokio::test]
async fn many_jobs_of_its_own_do_not_keep_a_worker_from_others() {
    let backplanes = Backplanes::start().await;
    for [near, far] in backplanes.all() {
        let mut worker = worker(near, "service", 5).await;
        for n in 100..300 {
            worker
                .send(&json!({ "op": 1, "t": "render", "n": "own", "d": { "n": n } }))
                .await;
        }
        for _ in 0..200 {
            while worker.next().await["n"] != "own" {}
        }
        publish(far, "render", 2).await;
        let (receipt, _, n) = job(&mut worker).await;
        assert_eq!(n, 2);
        ack(&mut worker, &receipt).await;
    }
}

#[tokio::test]
async fn identify_says_what_is_wrong_with_jobs() {
    let node = setup().start().await;
    ready(&node).await;
    for wrong in [json!(0), json!(1001), json!("1")] {
        let mut client = V1Client::greeted(&node, PacketEncoding::Plain).await;
        client
            .send_event("identify", &json!({ "type": "bot", "key": key("bot"), "jobs": wrong }))
            .await;
        let error = client.error(4005, 4005).await;
        assert_eq!(error["d"]["errors"], json!(["Jobs must be an integer from 1 to 1000."]));
    }
    let ticket = call(&node, "POST", "/api/v1/tickets", &json!({})).await.json();
    let mut page = V1Client::greeted(&node, PacketEncoding::Plain).await;
    let d = json!({ "type": "website", "key": ticket["ticket"], "jobs": 1 });
    page.send_event("identify", &d).await;
    let error = page.error(4005, 4005).await;
    assert_eq!(error["d"]["errors"], json!(["Jobs are not for tickets."]));
}
