//! The history of events over HTTP.

use gateway_harness::{ApiResponse, NodeProcess, RedisProcess, key, ready, request};
use serde_json::{Value, json};

use super::{cluster, guild_note, note, send, setup};

async fn history(node: &NodeProcess, query: &str) -> ApiResponse {
    let bearer = format!("Bearer {}", key("root"));
    let headers = [("authorization", &*bearer)];
    request(node.address(), "GET", &format!("/api/v1/events{query}"), &headers, "").await
}

/// Reads a page of the history. Returns the numbers of its events, and the page.
async fn page(node: &NodeProcess, query: &str) -> (Vec<u64>, Value) {
    let response = history(node, query).await;
    assert_eq!(response.status, 200, "{query}: {response:?}");
    let page = response.json();
    let events = page["events"].as_array().expect("events");
    let numbers = events.iter().map(|event| event["d"]["n"].as_u64().expect("a number"));
    (numbers.collect(), page)
}

#[tokio::test]
async fn the_history_has_the_events_of_the_table_in_pages() {
    let server = RedisProcess::start().await;
    let one = setup().start().await;
    ready(&one).await;
    let [first, second] = cluster(&server).await;
    for nodes in [[&one, &one], [&first, &second]] {
        let (numbers, empty) = page(nodes[0], "").await;
        assert_eq!((numbers, &empty["more"]), (vec![], &json!(false)));
        let began = std::time::SystemTime::now();
        let mut positions = vec![empty["next"].as_str().expect("a position").to_owned()];
        for n in 1..=150 {
            positions.push(match n % 3 {
                0 => note(nodes[0], n).await,
                1 => guild_note(nodes[0], "7", n).await,
                _ => send(nodes[0], "any_note", json!({ "n": n })).await,
            });
        }
        let (numbers, page_1) = page(nodes[1], "").await;
        assert_eq!(numbers, (1..=100).collect::<Vec<_>>());
        assert_eq!(
            (&page_1["more"], &page_1["next"]),
            (&json!(true), &json!(positions[100]))
        );
        let event = &page_1["events"][0];
        assert_eq!(
            (&event["p"], &event["t"], &event["d"]),
            (
                &json!(positions[1]),
                &json!("guild_note"),
                &json!({ "guildId": "7", "n": 1 })
            )
        );
        let at = event["at"].as_u64().expect("a time");
        let began = began.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        let since_began = u128::from(at).abs_diff(began);
        assert!(since_began < 60_000, "{at} is {since_began} ms from the start");
        let (numbers, page_2) = page(nodes[1], &format!("?after={}&limit=1000", positions[100])).await;
        assert_eq!(numbers, (101..=150).collect::<Vec<_>>());
        assert_eq!(
            (&page_2["more"], &page_2["next"]),
            (&json!(false), &json!(positions[150]))
        );
        // The limit is one of the entries looked at.
        let (numbers, notes) = page(nodes[1], "?limit=30&t=note").await;
        assert_eq!(numbers, (1..=10).map(|n| 3 * n).collect::<Vec<_>>());
        assert_eq!((&notes["more"], &notes["next"]), (&json!(true), &json!(positions[30])));
        let of_guild = format!("?after={}&guild=7", positions[140]);
        assert_eq!(page(nodes[1], &of_guild).await.0, [142, 145, 148]);
        assert_eq!(page(nodes[1], "?guild=8&limit=1000").await.0, [0; 0]);
        let (numbers, end) = page(nodes[1], &format!("?after={}", positions[150])).await;
        assert_eq!((numbers, &end["more"]), (vec![], &json!(false)));
    }
}

#[tokio::test]
async fn a_history_that_is_gone_or_forbidden_says_so() {
    let server = RedisProcess::start().await;
    let setup = || setup().set("cluster.log_entries", 64);
    let one = setup().start().await;
    let cluster = setup().redis(&server.url()).start().await;
    for node in [&one, &cluster] {
        ready(node).await;
        let start = note(node, 1).await;
        for n in 2..=200 {
            note(node, n).await;
        }
        for gone in [&*start, "0123456789abcdef-1", "no-position"] {
            let response = history(node, &format!("?after={gone}")).await;
            assert_eq!(
                (response.status, &response.json()["code"]),
                (410, &json!("events_lost"))
            );
        }
        let (numbers, _) = page(node, "?limit=1000").await;
        assert_eq!(numbers.last(), Some(&200));
        assert!(numbers.len() >= 63, "{numbers:?}");
        for wrong in [
            "?after=A",
            "?after=",
            "?limit=0",
            "?limit=1001",
            "?limit=x",
            "?guild=x",
            "?t=nope",
            "?before=1",
        ] {
            let response = history(node, wrong).await;
            assert_eq!(
                (response.status, &response.json()["code"]),
                (400, &json!("malformed")),
                "{wrong}"
            );
        }
        let bearer = format!("Bearer {}", key("service"));
        let headers = [("authorization", &*bearer)];
        let response = request(node.address(), "GET", "/api/v1/events", &headers, "").await;
        assert_eq!((response.status, &response.json()["code"]), (403, &json!("forbidden")));
        let response = request(node.address(), "GET", "/api/v1/events", &[], "").await;
        assert_eq!(response.status, 401);
    }
}
