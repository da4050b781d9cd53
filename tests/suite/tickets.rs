//! Tickets: a web page connects with a ticket and nothing else, and may do only what the ticket permits.

use std::time::{Duration, SystemTime};

use gateway_harness::{
    ApiResponse, NodeProcess, PacketEncoding, RedisProcess, SECRET, Setup, V1Client, eventually, full_setup, key,
    publish, ready, request,
};
use serde_json::{Value, json};

/// A backend's key, and events that pages receive and send.
const TICKETS: &str = r#"
[[keys]]
id = "site"
type = "service"
permissions = ["tickets", "publish"]
secret = "correct-horse-battery-staple-0123456789"

[[events]]
name = "guild_note"
from = ["website", "service"]
to = ["bot", "website", "service"]
deliver = { guild = "/guildId" }
require_receiver = false

[[events]]
name = "user_note"
from = ["website", "service"]
to = ["website"]
deliver = { user = "/userId" }

[[events]]
name = "must_reach_user"
from = ["service"]
to = ["website"]
deliver = { user = "/userId" }
require_receiver = true

[[events]]
name = "must_reach_pages"
from = ["service"]
to = ["website"]
to_tickets = true
require_receiver = true

[[events]]
name = "to_pages"
from = ["service"]
to = ["website"]
to_tickets = true
"#;

fn setup() -> Setup {
    full_setup().more(TICKETS).set("cluster.lease_ms", 1000)
}

async fn start(setup: Setup) -> NodeProcess {
    let node = setup.start().await;
    ready(&node).await;
    node
}

async fn call(node: &NodeProcess, method: &str, target: &str, id: &str, body: &Value) -> ApiResponse {
    let headers = [("authorization", &*format!("Bearer {}", key(id)))];
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    request(node.address(), method, target, &headers, &body).await
}

/// Issues a ticket and returns it.
async fn issue(node: &NodeProcess, body: &Value) -> String {
    let response = call(node, "POST", "/api/v1/tickets", "site", body).await;
    assert_eq!(response.status, 201, "{response:?}");
    response.json()["ticket"].as_str().expect("a ticket").to_owned()
}

async fn identify(node: &NodeProcess, kind: &str, ticket: &str, more: &Value) -> V1Client {
    let mut client = V1Client::greeted(node, PacketEncoding::Plain).await;
    let mut d = json!({ "type": kind, "key": ticket });
    d.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    client.send_event("identify", &d).await;
    client
}

/// Opens the session of a ticket. Returns it and the data of its connect success.
async fn page(node: &NodeProcess, ticket: &str) -> (V1Client, Value) {
    let mut client = identify(node, "website", ticket, &json!({})).await;
    let success = client.event("website_connect_success").await;
    (client, success)
}

/// Sends a packet with a nonce and returns the data of its answer, which must have this name.
async fn answer(client: &mut V1Client, event: &str, d: &Value, name: &str) -> Value {
    client.send(&json!({ "op": 1, "t": event, "n": 1, "d": d })).await;
    client.event(name).await
}

#[tokio::test]
async fn a_page_receives_and_sends_only_what_its_ticket_permits() {
    let server = RedisProcess::start().await;
    for setup in [setup(), setup().redis(&server.url())] {
        let node = start(setup).await;
        let to_pages = json!({ "t": "must_reach_pages", "d": { "n": 6 } });
        assert_eq!(
            call(&node, "POST", "/api/v1/events", "site", &to_pages).await.status,
            409
        );
        let body = json!({ "user": 123, "guilds": ["1", 2], "events": ["guild_note", "user_note"] });
        let (mut page, success) = page(&node, &issue(&node, &body).await).await;
        let left = success["expires_in_ms"].as_u64().unwrap();
        assert!((3_500_000..=3_600_000).contains(&left), "{success}");
        let mut bot = V1Client::session(&node, "bot", &key("bot")).await;
        bot.send(&json!({ "op": 1, "t": "send_servers", "n": 0, "d": { "guilds": ["1", "3"] } }))
            .await;
        while bot.next().await["n"] != 0 {}

        let service = key("site");
        for event in [
            json!({ "t": "announce", "d": {} }),
            json!({ "t": "guild_note", "d": { "guildId": "3" } }),
            json!({ "t": "user_note", "d": { "userId": "1234" } }),
            json!({ "t": "guild_note", "d": { "guildId": "2", "n": 1 } }),
            json!({ "t": "user_note", "d": { "userId": "123", "n": 2 } }),
            json!({ "t": "must_reach_user", "d": { "userId": 123, "n": 3 } }),
            json!({ "t": "to_pages", "d": { "n": 4 } }),
            to_pages,
        ] {
            publish(&node, &service, &event).await;
        }
        for (name, n) in [
            ("guild_note", 1),
            ("user_note", 2),
            ("must_reach_user", 3),
            ("to_pages", 4),
            ("must_reach_pages", 6),
        ] {
            assert_eq!(page.event(name).await["n"], n);
        }

        // Receivers see the user of the ticket, whatever the page says.
        page.send(&json!({ "op": 1, "t": "guild_note", "u": "admin", "d": { "guildId": "1", "n": 5 } }))
            .await;
        let received = loop {
            let payload = bot.next_text().await.unwrap();
            if payload.contains("\"n\":5") {
                break payload;
            }
        };
        assert_eq!(
            received,
            r#"{"op":0,"t":"guild_note","u":"123","d":{"guildId":"1","n":5}}"#
        );

        let foreign_guild = json!({ "guildId": "3" });
        for (name, d, errors) in [
            ("guild_note", &foreign_guild, "Receivers not allowed by the ticket."),
            (
                "user_note",
                &json!({ "userId": 124 }),
                "Receivers not allowed by the ticket.",
            ),
            ("announce", &json!({}), "Event not allowed by the ticket."),
            (
                "watch_guilds",
                &json!({ "guilds": ["3"] }),
                "Guild not allowed by the ticket.",
            ),
        ] {
            let refused = answer(&mut page, name, d, "event_refused").await;
            assert_eq!(
                (&refused["code"], &refused["errors"]),
                (&json!("not_allowed"), &json!([errors]))
            );
        }
        answer(&mut page, "watch_guilds", &json!({ "guilds": ["2"] }), "event_accepted").await;
        page.send_event("announce", &json!({})).await;
        page.error(4005, 4005).await;
        let to_nobody = json!({ "t": "must_reach_user", "d": { "userId": 9 } });
        let response = call(&node, "POST", "/api/v1/events", "site", &to_nobody).await;
        assert_eq!(response.status, 409, "{response:?}");
    }
}

#[tokio::test]
async fn a_ticket_opens_one_session_in_the_whole_cluster() {
    let server = RedisProcess::start().await;
    let nodes = [
        start(setup().redis(&server.url())).await,
        start(setup().redis(&server.url())).await,
    ];
    for _ in 0..20 {
        let ticket = issue(&nodes[0], &json!({})).await;
        let open = async |node| {
            let mut client = identify(node, "website", &ticket, &json!({})).await;
            let payload = client.next().await;
            match payload["e"].as_u64() {
                Some(e) => {
                    assert_eq!((e, client.closed().await), (4001, 4001));
                    0
                }
                None => 1,
            }
        };
        let (first, second) = tokio::join!(open(&nodes[0]), open(&nodes[1]));
        assert_eq!(first + second, 1);
    }
}

#[tokio::test]
async fn tickets_that_are_not_good_get_4001() {
    let node = start(setup()).await;
    let refused = async |kind: &str, ticket: &str| {
        let mut client = identify(&node, kind, ticket, &json!({})).await;
        client.error(4001, 4001).await;
    };
    let ticket = issue(&node, &json!({})).await;
    refused("website", &format!("{ticket}0")).await;
    refused("website", "ticket.00.00").await;
    // A client of another type and a wrong secret do not use it up.
    refused("bot", &ticket).await;
    let (_page, _) = page(&node, &ticket).await;
    refused("website", &ticket).await;
    let short = issue(&node, &json!({ "ttl_ms": 1 })).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    refused("website", &short).await;
    // Over HTTP a ticket is no key.
    let headers = [("authorization", &*format!("Bearer {}", issue(&node, &json!({})).await))];
    let response = request(node.address(), "POST", "/api/v1/tickets", &headers, "{}").await;
    assert_eq!(response.status, 401);
}

#[tokio::test]
async fn a_ticket_is_void_after_a_restart_of_redis() {
    let mut server = RedisProcess::start().await;
    let node = start(setup().redis(&server.url())).await;
    let ticket = issue(&node, &json!({})).await;
    server.kill().await;
    server.restart().await;
    ready(&node).await;
    eventually("an answer of redis", async || {
        let mut client = identify(&node, "website", &ticket, &json!({})).await;
        let payload = client.next().await;
        // Until the node is connected again, it says so.
        (payload["e"] == 4001).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_client_may_only_narrow_the_guilds_of_its_ticket() {
    let node = start(setup()).await;
    let ticket = async || issue(&node, &json!({ "guilds": ["1", "2"] })).await;
    let mut client = identify(
        &node,
        "website",
        &ticket().await,
        &json!({ "guilds": ["2", "3"], "counts": true }),
    )
    .await;
    let problems = client.error(4005, 4005).await;
    let errors = json!(["Guild not allowed by the ticket.", "Counts are not for tickets."]);
    assert_eq!(problems["d"], json!({ "errors": errors, "data": ["3", null] }));
    let mut client = identify(&node, "website", &ticket().await, &json!({ "guilds": ["2"] })).await;
    client.event("website_connect_success").await;
    for (guild, n) in [("1", 1), ("2", 2)] {
        publish(
            &node,
            &key("site"),
            &json!({ "t": "guild_note", "d": { "guildId": guild, "n": n } }),
        )
        .await;
    }
    assert_eq!(client.event("guild_note").await["n"], 2);
}

#[tokio::test]
async fn a_session_is_announced_to_expire_and_ends() {
    let node = start(setup().set("v1.session_expiring_ms", 300)).await;
    let ticket = issue(&node, &json!({ "session_ms": 700 })).await;
    let (mut page, _) = page(&node, &ticket).await;
    let left = page.event("session_expiring").await["in_ms"].as_u64().unwrap();
    assert!((1..=300).contains(&left), "{left}");
    page.error(4001, 4001).await;
    // At once if less is left.
    let ticket = issue(&node, &json!({ "session_ms": 200 })).await;
    let (mut page, _) = self::page(&node, &ticket).await;
    page.event("session_expiring").await;
    page.error(4001, 4001).await;
    // The answer to a renewal comes first.
    let (mut page, _) = self::page(&node, &issue(&node, &json!({})).await).await;
    let next = issue(&node, &json!({ "session_ms": 200 })).await;
    answer(&mut page, "renew", &json!({ "key": next }), "event_accepted").await;
    page.event("session_expiring").await;
    page.error(4001, 4001).await;
}

#[tokio::test]
async fn a_session_is_renewed_with_a_ticket_of_the_same_user() {
    let server = RedisProcess::start().await;
    for setup in [setup(), setup().redis(&server.url())] {
        let node = start(setup).await;
        let first = json!({ "user": "a b", "guilds": ["1"], "session_ms": 60_000 });
        let (mut page, _) = page(&node, &issue(&node, &first).await).await;
        let renew = |ticket: &str| json!({ "key": ticket });
        // A failed renewal changes nothing.
        for body in [json!({ "user": "b" }), json!({})] {
            let other = issue(&node, &body).await;
            let refused = answer(&mut page, "renew", &renew(&other), "event_refused").await;
            assert_eq!(refused["code"], "wrong_auth_key");
        }
        let refused = answer(&mut page, "renew", &renew(&key("site")), "event_refused").await;
        assert_eq!(refused["code"], "wrong_auth_key");
        for (guild, n) in [("2", 1), ("1", 2)] {
            publish(
                &node,
                &key("site"),
                &json!({ "t": "guild_note", "d": { "guildId": guild, "n": n } }),
            )
            .await;
        }
        assert_eq!(page.event("guild_note").await["n"], 2);
        let second = json!({ "user": "a b", "guilds": ["2"], "events": ["guild_note"] });
        let accepted = answer(
            &mut page,
            "renew",
            &renew(&issue(&node, &second).await),
            "event_accepted",
        )
        .await;
        assert!(accepted["position"].is_string(), "{accepted}");
        let left = accepted["expires_in_ms"].as_u64().unwrap();
        assert!((3_500_000..=3_600_000).contains(&left), "{accepted}");
        for (guild, n) in [("1", 3), ("2", 4)] {
            publish(
                &node,
                &key("site"),
                &json!({ "t": "guild_note", "d": { "guildId": guild, "n": n } }),
            )
            .await;
        }
        assert_eq!(page.event("guild_note").await["n"], 4);
        answer(&mut page, "guild_note", &json!({ "guildId": "2" }), "event_accepted").await;
        // Without a nonce, a failed renewal ends the session.
        page.send_event("renew", &renew("ticket.00.00")).await;
        page.error(4001, 4001).await;
    }
    let node = start(setup()).await;
    let mut website = V1Client::session(&node, "website", &key("website")).await;
    let refused = answer(&mut website, "renew", &json!({ "key": "x" }), "event_refused").await;
    assert_eq!(refused["code"], "not_allowed");
}

#[tokio::test]
async fn revoking_a_user_ends_its_sessions_on_every_node_within_a_second() {
    let server = RedisProcess::start().await;
    let cluster = || setup().redis(&server.url());
    let alone = start(setup()).await;
    let nodes = [start(cluster()).await, start(cluster()).await];
    for (first, second) in [(&alone, &alone), (&nodes[0], &nodes[1])] {
        let ticket = async |user: &str| issue(first, &json!({ "user": user })).await;
        let unused = ticket("a b").await;
        let (mut revoked, _) = page(second, &ticket("a b").await).await;
        let (mut other, _) = page(second, &ticket("b").await).await;
        let response = call(first, "DELETE", "/api/v1/tickets?user=a%20b", "site", &Value::Null).await;
        assert_eq!(response.status, 204, "{response:?}");
        revoked.error(4001, 4001).await;
        let mut late = identify(second, "website", &unused, &json!({})).await;
        late.error(4001, 4001).await;
        other.heartbeat().await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        let (mut again, _) = page(first, &ticket("a b").await).await;
        again.heartbeat().await;
    }
}

#[tokio::test]
async fn the_request_for_a_ticket_is_checked() {
    let node = start(setup().set("limits.guilds_per_session", 2).set("tickets.unused", 1)).await;
    let post = async |body: &str| {
        let headers = [("authorization", &*format!("Bearer {}", key("site")))];
        request(node.address(), "POST", "/api/v1/tickets", &headers, body).await
    };
    let body = json!({ "user": "", "guilds": [1, "x"], "events": ["guild_note", "to_pages", 7], "ttl_ms": 0,
        "session_ms": 86_400_001 });
    let response = post(&body.to_string()).await;
    assert_eq!(
        (response.status, &response.json()["code"]),
        (422, &json!("invalid_data"))
    );
    let errors = [
        "User must be a string of 1 to 64 printable ASCII characters or an integer.",
        "Guild is not an id.",
        "Websites may not send this event.",
        "Websites may not send this event.",
        "ttl_ms must be an integer from 1 to 600000.",
        "session_ms must be an integer from 1 to 86400000.",
    ];
    assert_eq!(response.json()["errors"], json!(errors));
    assert_eq!(response.json()["data"], json!(["", "x", "to_pages", 7, 0, 86_400_001]));
    let response = post(r#"{"guilds":[1,2,3],"events":{}}"#).await;
    let errors = ["Guilds must be at most 2 ids.", "Events must be an array of names."];
    assert_eq!(response.json()["errors"], json!(errors));
    for body in ["[]", "[null,null,null,null,null]", "x", "7"] {
        let response = post(body).await;
        assert_eq!(
            (response.status, &response.json()["code"]),
            (400, &json!("malformed")),
            "{body}"
        );
    }
    let response = call(&node, "POST", "/api/v1/tickets", "service", &json!({})).await;
    assert_eq!((response.status, &response.json()["code"]), (403, &json!("forbidden")));
    assert_eq!(
        request(node.address(), "POST", "/api/v1/tickets", &[], "{}")
            .await
            .status,
        401
    );
    for query in ["", "?user=", "?user=1&other=2", "?users=1"] {
        let response = call(
            &node,
            "DELETE",
            &format!("/api/v1/tickets{query}"),
            "site",
            &Value::Null,
        )
        .await;
        assert_eq!(response.status, 400, "{query}");
    }
    // No body asks for a ticket with the defaults.
    let response = post("").await;
    assert_eq!(
        (response.status, response.header("cache-control")),
        (201, Some("no-store"))
    );
    let expires_at = response.json()["expires_at"].as_str().unwrap().to_owned();
    let left = humantime::parse_rfc3339(&expires_at)
        .unwrap()
        .duration_since(SystemTime::now())
        .unwrap();
    assert!(
        left <= Duration::from_secs(60) && left > Duration::from_secs(30),
        "{expires_at}"
    );
    let response = post("{}").await;
    assert_eq!((response.status, &response.json()["code"]), (429, &json!("overloaded")));
    assert!(response.header("retry-after").is_some());
}

#[tokio::test]
async fn sessions_end_with_the_key_that_issued_their_tickets() {
    // The key has another id, or the same id and another secret.
    let another_secret = format!("{SECRET}0");
    for (from, to) in [("id = \"site\"", "id = \"other\""), (SECRET, &*another_secret)] {
        let mut node = start(setup()).await;
        let (mut page, _) = page(&node, &issue(&node, &json!({})).await).await;
        let unused = issue(&node, &json!({})).await;
        let config = std::fs::read_to_string(node.file()).unwrap();
        let (before, site) = config.split_once("id = \"site\"").unwrap();
        let site = format!("id = \"site\"{site}").replacen(from, to, 1);
        std::fs::write(node.file(), format!("{before}{site}")).unwrap();
        node.signal(nix::sys::signal::Signal::SIGHUP);
        page.error(4001, 4001).await;
        let mut late = identify(&node, "website", &unused, &json!({})).await;
        late.error(4001, 4001).await;
        assert!(node.lives());
    }
}
