//! Publishing of jobs: their bounds and idempotency keys.

use gateway_harness::{Setup, V1Client, eventually, key};
use serde_json::json;

use super::{Backplanes, call, listed, worker};

#[tokio::test]
async fn jobs_are_bounded_and_a_repetition_is_the_same_job() {
    let backplanes = Backplanes::with(|setup| setup.set("jobs.entries", 2)).await;
    for [near, far] in backplanes.all() {
        let mut service = V1Client::session(near, "service", &key("service")).await;
        let mut first = Vec::new();
        for k in ["a", "b", "a"] {
            let sent = json!({ "op": 1, "t": "render", "n": 1, "k": k, "d": { "n": 1 } });
            service.send(&sent).await;
            first.push(service.event("event_accepted").await["job"].clone());
        }
        assert!(first[0] == first[2] && first[0] != first[1], "{first:?}");
        service
            .send(&json!({ "op": 1, "t": "render", "n": 1, "d": { "n": 1 } }))
            .await;
        assert_eq!(service.event("event_refused").await["code"], "overloaded");
        let list = json!([{ "t": "mark", "d": {} }, { "t": "render", "d": { "n": 2 } }]);
        let refused = call(far, "POST", "/api/v1/events", &list).await;
        assert_eq!((refused.status, &refused.json()["code"]), (429, &json!("overloaded")));
        assert_eq!(listed(far, "").await.len(), 2);
    }
}

#[tokio::test]
async fn a_forgotten_idempotency_key_is_good_for_another_job() {
    let change = |setup: Setup| {
        setup
            .set("cluster.log_age_ms", 2200)
            .set("session.resume_window_ms", 100)
            .set("discord.heartbeat_interval_ms", 1000)
    };
    let backplanes = Backplanes::with(change).await;
    for [near, _] in backplanes.all() {
        let mut publisher = worker(near, "website", 1).await;
        let mut keyed = async |n: u64| {
            let event = json!({ "op": 1, "t": "render", "n": "keyed", "k": "key", "d": { "n": n } });
            publisher.send(&event).await;
            loop {
                let payload = publisher.next().await;
                if payload["n"] == "keyed" {
                    return payload["d"]["job"].as_str().map(str::to_owned);
                }
            }
        };
        let first = keyed(1).await.unwrap();
        assert_eq!(keyed(1).await.as_deref(), Some(&*first));
        assert_eq!(keyed(2).await, None);
        let other = eventually("the key is forgotten", async || keyed(2).await).await;
        assert_ne!(other, first);
        assert_eq!(listed(near, "?state=waiting").await.len(), 2);
    }
}
