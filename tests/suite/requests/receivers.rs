//! The session that gets a request, and the reply to its requester.

use gateway_harness::{NodeProcess, PacketEncoding, Setup, V1Client, key, metric, ready, request};
use serde_json::json;

use super::{answered_reply, ask, asked, backplanes, bot, one_node, over_http, reply, session, setup};

#[tokio::test]
async fn one_session_gets_a_request_and_its_requester_the_reply() {
    let (pairs, _server) = backplanes().await;
    let single = one_node().await;
    let mut all: Vec<[&NodeProcess; 2]> = pairs.iter().map(|[one, other]| [one, other]).collect();
    all.push([&single, &single]);
    for [near, far] in all {
        let mut website = session(near, "website", &json!({})).await;
        let mut bots = [bot(near, &["1"]).await, bot(far, &["1"]).await];
        // In turn, on this node and on the other one.
        let mut got = [0, 0];
        for n in 0..8 {
            ask(&mut website, "ask_guild", n, json!({ "guildId": "1", "n": n })).await;
            let (one, other) = bots.split_at_mut(1);
            let (place, (receipt, d)) = tokio::select! {
                request = asked(&mut one[0], "ask_guild") => (0, request),
                request = asked(&mut other[0], "ask_guild") => (1, request),
            };
            assert_eq!(d, json!({ "guildId": "1", "n": n }));
            got[place] += 1;
            if n % 2 == 0 {
                reply(&mut bots[place], "reply", &receipt, json!({ "prefix": "!" })).await;
                website
                    .expect(&json!({ "op": 0, "t": "reply", "n": n, "d": { "prefix": "!" } }))
                    .await;
            } else {
                let answer = answered_reply(&mut bots[place], "reply_error", &receipt, json!({ "code": "busy" })).await;
                assert_eq!(answer, json!({ "op": 0, "t": "event_accepted", "n": "reply", "d": {} }));
                let failed = json!({ "code": "error", "error": { "code": "busy" } });
                website
                    .expect(&json!({ "op": 0, "t": "reply_failed", "n": n, "d": failed }))
                    .await;
            }
        }
        assert_eq!(got, [4, 4]);
        // No bot has got another's request.
        let marked = json!({ "op": 1, "t": "mark", "n": "mark", "d": {} });
        website.send(&marked).await;
        assert!(website.event("event_accepted").await["position"].is_string());
        for bot in &mut bots {
            bot.event_among_others("mark").await;
        }
        assert_eq!(metric(near, "utilbot_requests_total{outcome=\"reply\"}").await, 4);
        assert_eq!(metric(near, "utilbot_requests_total{outcome=\"error\"}").await, 4);
        assert_eq!(metric(near, "utilbot_requests_in_flight").await, 0);
    }
}

#[tokio::test]
async fn any_service_answers_and_a_user_is_asked_by_name() {
    let (pairs, _server) = backplanes().await;
    let single = one_node().await;
    let mut all: Vec<[&NodeProcess; 2]> = pairs.iter().map(|[one, other]| [one, other]).collect();
    all.push([&single, &single]);
    for [near, far] in all {
        let mut service = session(far, "service", &json!({})).await;
        let (answer, (receipt, d)) = tokio::join!(over_http(near, "ask_any", json!({ "a": 1 })), async {
            let request = asked(&mut service, "ask_any").await;
            reply(&mut service, "reply", &request.0, json!({ "b": [2.50] })).await;
            request
        });
        assert_eq!(
            (answer.status, answer.body.clone()),
            (200, r#"{"d":{"b":[2.5]}}"#.to_owned())
        );
        assert_eq!((receipt.len(), d), (32, json!({ "a": 1 })));
        // A page is asked by its user, never by a guild.
        let headers = [("authorization", &*format!("Bearer {}", key("root")))];
        let ticket = json!({ "user": "7", "guilds": ["5"] }).to_string();
        let ticket = request(near.address(), "POST", "/api/v1/tickets", &headers, &ticket).await;
        let mut page = V1Client::greeted(far, PacketEncoding::Plain).await;
        page.expect_requests();
        page.send_event(
            "identify",
            &json!({ "type": "website", "key": ticket.json()["ticket"] }),
        )
        .await;
        page.event("website_connect_success").await;
        let (answer, ()) = tokio::join!(over_http(near, "ask_user", json!({ "userId": 7 })), async {
            let (receipt, _) = asked(&mut page, "ask_user").await;
            reply(&mut page, "reply", &receipt, json!({})).await;
        });
        assert_eq!((answer.status, answer.json()), (200, json!({ "d": {} })));
        let refused = over_http(near, "ask_guild", json!({ "guildId": "5" })).await;
        assert_eq!((refused.status, &refused.json()["code"]), (409, &json!("no_receiver")));
        // A website with a key that watches the guild is asked.
        let mut backend = session(far, "website", &json!({ "guilds": ["5"] })).await;
        let watching = json!({ "op": 1, "t": "watch_guilds", "n": 1, "d": { "guilds": ["5"] } });
        backend.send(&watching).await;
        backend.event("event_accepted").await;
        let (answer, ()) = tokio::join!(over_http(near, "ask_guild", json!({ "guildId": "5" })), async {
            let (receipt, _) = asked(&mut backend, "ask_guild").await;
            reply(&mut backend, "reply", &receipt, json!({})).await;
        });
        assert_eq!(answer.status, 200, "{answer:?}");
        // The requester itself is never asked.
        ask(&mut backend, "ask_guild", 2, json!({ "guildId": "5" })).await;
        assert_eq!(backend.event("event_refused").await["code"], "no_receiver");
    }
}

#[tokio::test]
async fn requests_are_not_repeated_to_those_who_catch_up() {
    let node = one_node().await;
    let mut receiver = bot(&node, &["1"]).await;
    let mut website = session(&node, "website", &json!({})).await;
    let position = {
        website
            .send(&json!({ "op": 1, "t": "mark", "n": "mark", "d": {} }))
            .await;
        let accepted = website.event("event_accepted").await;
        accepted["position"].as_str().unwrap().to_owned()
    };
    receiver.event_among_others("mark").await;
    ask(&mut website, "ask_guild", 1, json!({ "guildId": "1" })).await;
    let (receipt, _) = asked(&mut receiver, "ask_guild").await;
    reply(&mut receiver, "reply", &receipt, json!({})).await;
    website.event("reply").await;
    let mut late = session(&node, "bot", &json!({ "after": position, "guilds": ["1"] })).await;
    late.event("GLOBAL_GUILD_COUNT").await;
    let caught_up = late.event("caught_up").await;
    assert_eq!(caught_up["events"], 0);
}

#[tokio::test]
async fn requests_are_spread_evenly_over_those_who_watch_a_guild() {
    let (pairs, _server) = backplanes().await;
    let workers = |setup: Setup| setup.set("server.workers", 2);
    let single = workers(setup()).start().await;
    ready(&single).await;
    let mut all: Vec<[&NodeProcess; 2]> = pairs.iter().map(|[one, other]| [one, other]).collect();
    all.push([&single, &single]);
    for [near, far] in all {
        let mut backends = Vec::new();
        for node in [near, far, near, far] {
            let mut backend = session(node, "website", &json!({})).await;
            let watching = json!({ "op": 1, "t": "watch_guilds", "n": 1, "d": { "guilds": ["5"] } });
            backend.send(&watching).await;
            backend.event("event_accepted").await;
            backends.push(backend);
        }
        let mut requester = session(near, "service", &json!({})).await;
        let mut got = [0; 4];
        for n in 0..80 {
            ask(&mut requester, "ask_guild", n, json!({ "guildId": "5" })).await;
            let ((place, receipt), _, _) = {
                let asked = backends
                    .iter_mut()
                    .enumerate()
                    .map(|(place, backend)| Box::pin(async move { (place, asked(backend, "ask_guild").await.0) }));
                futures_util::future::select_all(asked).await
            };
            got[place] += 1;
            reply(&mut backends[place], "reply", &receipt, json!({})).await;
            requester.event("reply").await;
        }
        assert!(got.iter().all(|count| (17..=23).contains(count)), "{got:?}");
    }
}
