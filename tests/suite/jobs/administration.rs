//! The list of jobs over HTTP, their removal and retry.

use gateway_harness::{eventually, key, request};
use serde_json::{Value, json};

use super::{Backplanes, ack, call, job, listed, worker};

#[tokio::test]
async fn a_list_of_jobs_ends_at_a_mebibyte_of_data() {
    let backplanes = Backplanes::start().await;
    for [near, far] in backplanes.all() {
        for n in 0..4 {
            let d = json!({ "t": "render", "d": { "n": n, "text": "x".repeat(400_000) } });
            let answer = call(near, "POST", "/api/v1/events", &d).await;
            assert_eq!(answer.status, 202, "{answer:?}");
        }
        assert_eq!(listed(far, "").await.len(), 3);
    }
}

#[tokio::test]
async fn an_administrator_lists_removes_and_retries_jobs() {
    let backplanes = Backplanes::start().await;
    for [near, far] in backplanes.all() {
        let list =
            json!([{ "t": "render", "d": { "n": 1 } }, { "t": "mark", "d": {} }, { "t": "brief", "d": { "n": 2 } }]);
        let answer = call(near, "POST", "/api/v1/events", &list).await.json();
        assert!(answer[1]["position"].is_string(), "{answer}");
        let [render, brief] = [0, 2].map(|index| answer[index]["job"].as_str().unwrap().to_owned());
        let jobs = call(far, "GET", "/api/v1/jobs", &Value::Null).await.json();
        let found = jobs["jobs"]
            .as_array()
            .unwrap()
            .iter()
            .find(|job| job["job"] == *render)
            .unwrap();
        assert_eq!((&found["t"], &found["d"]), (&json!("render"), &json!({ "n": 1 })));
        assert!(found["at"].as_u64().unwrap() > 1_700_000_000_000);
        let removed = call(far, "DELETE", &format!("/api/v1/jobs/{render}"), &Value::Null).await;
        assert_eq!((removed.status, &*removed.body), (204, ""));
        let mut bot = worker(far, "bot", 1).await;
        for attempt in 1..=2 {
            assert_eq!(job(&mut bot).await.1, attempt);
        }
        eventually("an undeliverable job", async || {
            (listed(near, "?state=undeliverable").await.len() == 1).then_some(())
        })
        .await;
        let retried = call(near, "POST", &format!("/api/v1/jobs/{brief}/retry"), &Value::Null).await;
        assert_eq!(retried.status, 202);
        let (receipt, attempt, n) = job(&mut bot).await;
        assert_eq!((attempt, n), (1, 2));
        ack(&mut bot, &receipt).await;
        for (method, target, status) in [
            ("DELETE", format!("/api/v1/jobs/{brief}"), 404),
            ("POST", format!("/api/v1/jobs/{brief}/retry"), 404),
            ("DELETE", "/api/v1/jobs/x".to_owned(), 404),
            ("GET", "/api/v1/jobs?state=done".to_owned(), 400),
            ("GET", "/api/v1/jobs?limit=0".to_owned(), 400),
            ("GET", "/api/v1/jobs?x=1".to_owned(), 400),
        ] {
            let answer = call(near, method, &target, &Value::Null).await;
            assert_eq!(answer.status, status, "{method} {target}: {answer:?}");
            assert!(answer.json()["code"].is_string() && answer.json()["message"].is_string());
        }
        let headers = [("authorization", &*format!("Bearer {}", key("service")))];
        for (method, target) in [
            ("GET", "/api/v1/jobs"),
            ("DELETE", "/api/v1/jobs/x"),
            ("POST", "/api/v1/jobs/x/retry"),
        ] {
            let forbidden = request(near.address(), method, target, &headers, "").await;
            assert_eq!(forbidden.status, 403, "{method} {target}");
        }
        // The log has their deliveries, but they are no events of the history.
        let history = call(near, "GET", "/api/v1/events?t=brief", &Value::Null).await;
        assert_eq!(history.json()["events"], json!([]));
    }
}
