//! Jobs: each is delivered to one worker after the other, until one acknowledges it.

use std::time::Duration;

use gateway_harness::{
    ApiResponse, NodeProcess, PacketEncoding, RedisProcess, Setup, V1Client, eventually, full_setup, key, metric,
    ready, request,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// Jobs that a worker may take long for, and jobs that it may not.
const EVENTS: &str = r#"
[[events]]
name = "render"
from = ["website", "service"]
to = ["bot", "service"]
deliver = "any"
ack_timeout_ms = 60000
attempts = 3

[[events]]
name = "brief"
from = ["website", "service"]
to = ["bot"]
deliver = "any"
ack_timeout_ms = 300
attempts = 2

[[events]]
name = "mark"
from = ["bot", "website", "service"]
to = ["bot", "website", "service"]
"#;

fn setup() -> Setup {
    full_setup()
        .more(EVENTS)
        .set("cluster.lease_ms", 1000)
        .set("jobs.retry_ms", 50)
}

/// Two nodes of each kind: twice one in memory, and two that share a Redis.
struct Backplanes {
    single: NodeProcess,
    pair: [NodeProcess; 2],
    server: RedisProcess,
}

impl Backplanes {
    async fn start() -> Self {
        Self::with(|setup| setup).await
    }

    async fn with(change: impl Fn(Setup) -> Setup) -> Self {
        let server = RedisProcess::start().await;
        let single = change(setup()).start().await;
        let clustered = async || change(setup()).redis(&server.url()).start().await;
        let pair = [clustered().await, clustered().await];
        for node in pair.iter().chain([&single]) {
            ready(node).await;
        }
        Self { single, pair, server }
    }

    fn all(&self) -> [[&NodeProcess; 2]; 2] {
        [[&self.single, &self.single], [&self.pair[0], &self.pair[1]]]
    }
}

/// Opens a session that takes this many jobs at once.
async fn worker(node: &NodeProcess, kind: &str, jobs: u64) -> V1Client {
    let mut client = V1Client::greeted(node, PacketEncoding::Plain).await;
    client.expect_requests();
    client
        .send_event("identify", &json!({ "type": kind, "key": key(kind), "jobs": jobs }))
        .await;
    client.event(&format!("{kind}_connect_success")).await;
    if kind == "bot" {
        client.event("GLOBAL_GUILD_COUNT").await;
    }
    client
}

async fn call(node: &NodeProcess, method: &str, target: &str, body: &Value) -> ApiResponse {
    let headers = [("authorization", &*format!("Bearer {}", key("root")))];
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    request(node.address(), method, target, &headers, &body).await
}

/// Publishes a job over HTTP and returns its id.
async fn publish(node: &NodeProcess, name: &str, n: u64) -> String {
    let answer = call(node, "POST", "/api/v1/events", &json!({ "t": name, "d": { "n": n } })).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.json()["job"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer:?}"))
        .to_owned()
}

/// Receives a job. Returns its receipt, its attempt and its number.
async fn job(client: &mut V1Client) -> (String, u64, u64) {
    loop {
        let payload = client.next().await;
        if payload["t"] != "GLOBAL_GUILD_COUNT" {
            let receipt = payload["r"].as_str().unwrap_or_else(|| panic!("{payload}"));
            assert!(payload["p"].is_null(), "{payload}");
            let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{payload}"));
            return (receipt.to_owned(), number(&payload["a"]), number(&payload["d"]["n"]));
        }
    }
}

/// Sends a verdict with a nonce. Returns the name of the answer and the code of a refusal. The next job may come first.
async fn settle(client: &mut V1Client, event: &str, receipt: &str, d: &Value) -> (String, Value) {
    client
        .send(&json!({ "op": 1, "t": event, "n": "settle", "r": receipt, "d": d }))
        .await;
    let mut others = Vec::new();
    loop {
        let payload = client.next().await;
        if payload["n"] == "settle" {
            client.put_back(others);
            return (payload["t"].as_str().unwrap().to_owned(), payload["d"]["code"].clone());
        }
        others.push(payload);
    }
}

async fn ack(client: &mut V1Client, receipt: &str) {
    let (answer, code) = settle(client, "ack", receipt, &json!({})).await;
    assert_eq!((&*answer, code), ("event_accepted", Value::Null));
}

async fn is_over(client: &mut V1Client, event: &str, receipt: &str) {
    let (answer, code) = settle(client, event, receipt, &json!({})).await;
    assert_eq!((&*answer, code), ("event_refused", json!("receipt_over")));
}

/// Returns the listed jobs: id, state and attempts.
async fn listed(node: &NodeProcess, query: &str) -> Vec<(String, String, u64)> {
    let answer = call(node, "GET", &format!("/api/v1/jobs{query}"), &Value::Null).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let jobs = answer.json()["jobs"].as_array().unwrap().clone();
    let entry = |job: &Value| {
        (
            text(&job["job"]),
            text(&job["state"]),
            job["attempts"].as_u64().unwrap(),
        )
    };
    jobs.iter().map(entry).collect()
}

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
