//! What clients may send, and how often.

use super::*;

#[tokio::test(start_paused = true)]
async fn hello_is_delayed_and_heartbeats_are_acknowledged() {
    on(DiscordTestNode::new, async |node| {
        let mut client = node.connect().await;
        assert_eq!(client.seen[0]["op"], 10);
        assert_eq!(client.seen[0]["d"]["heartbeat_interval"], 41_250);
        for d in [Value::Null, json!(0), json!(5)] {
            client.send(&json!({"op": 1, "d": d})).await;
            assert_eq!(client.seen.last().unwrap()["op"], 11);
        }
        assert_eq!(client.close, None);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn each_wrong_payload_has_its_close_code() {
    on(DiscordTestNode::new, async |node| {
        let before = [
            (json!([]), 4002),
            (json!({"op": 0, "d": {}}), 4001),
            (json!({"op": 99, "d": {}}), 4001),
            (json!({"op": 3, "d": {"status": "online"}}), 4003),
            (json!({"op": 8, "d": {}}), 4003),
            (json!({"op": 2, "d": 1}), 4001),
            (json!({"op": 2, "d": {"token": "nobody.x", "intents": 0}}), 4004),
            (json!({"op": 2, "d": {"token": 5, "intents": 0}}), 4004),
            (json!({"op": 6, "d": {"token": "x", "session_id": "1", "seq": 1}}), 4004),
            (
                json!({"op": 2, "d": {"token": TOKEN, "intents": 0, "shard": [2, 2]}}),
                4010,
            ),
            (json!({"op": 2, "d": {"token": TOKEN}}), 4013),
            (json!({"op": 2, "d": {"token": TOKEN, "intents": 1 << 30}}), 4013),
        ];
        for (payload, code) in before {
            let mut client = node.connect().await;
            client.send(&payload).await;
            assert_eq!(client.close, Some(code), "{payload}");
        }
        let after = [
            (identify(0), 4005),
            (resume("1", 1), 4005),
            (json!({"op": 8, "d": {}}), 4001),
            (json!({"op": 7}), 4001),
            (json!({"op": 1, "d": "x".repeat(5000)}), 4002),
        ];
        for (payload, code) in after {
            let (mut client, _) = node.identified(0).await;
            client.send(&payload).await;
            assert_eq!(client.close, Some(code), "{payload}");
        }
        let mut client = node.connect().await;
        client.inbox.send(Inbound::Message(Message::Text("{".into()))).unwrap();
        client.settle().await;
        assert_eq!(client.close, Some(4002));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn privileged_intents_need_permission() {
    let strict = || DiscordTestNode::with(|application| application.privileged_intents = Vec::new());
    on(strict, async |node| {
        let mut client = node.connect().await;
        client.send(&identify(1 << 15)).await;
        assert_eq!(client.close, Some(4014));
        node.identified(1).await;
        // In older versions intents are optional; without them the client gets everything it is allowed to.
        let mut old = node.connect_with("6").await;
        old.send(&json!({"op": 2, "d": {"token": TOKEN}})).await;
        node.publish("GUILD_MEMBER_ADD", &json!({"guild_id": "1"})).await;
        node.publish("CHANNEL_CREATE", &json!({"guild_id": "1"})).await;
        old.settle().await;
        assert_eq!(old.dispatches(), numbered(&[(1, "READY"), (2, "CHANNEL_CREATE")]));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_neither_identifies_nor_resumes_gets_4000() {
    on(DiscordTestNode::new, async |node| {
        let mut client = node.connect().await;
        let mut beating = node.connect().await;
        let half = node.settings.heartbeat_limit / 2;
        client.after(half).await;
        beating.send(&json!({"op": 1, "d": null})).await;
        client.after(half).await;
        assert_eq!(client.close, Some(4000));
        // Heartbeats extend the wait of a shard for its turn, but not forever.
        beating.settle().await;
        assert_eq!(beating.close, None);
        for _ in 0..100 {
            beating.send(&json!({"op": 1, "d": null})).await;
            beating.after(half).await;
        }
        assert_eq!(beating.close, Some(4000));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn payloads_are_rate_limited_and_heartbeats_do_not_count() {
    on(DiscordTestNode::new, async |node| {
        let (mut client, _) = node.identified(0).await;
        for n in 1..120 {
            client.send(&json!({"op": 3, "d": {"status": "online"}})).await;
            assert_eq!(client.close, None, "{n}");
        }
        client.send(&json!({"op": 1, "d": null})).await;
        assert_eq!(client.close, None);
        client.send(&json!({"op": 3, "d": {"status": "online"}})).await;
        assert_eq!(client.close, Some(4008));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn identifies_are_paced_and_counted() {
    let paced = || {
        DiscordTestNode::with(|application| {
            application.max_concurrency = 1;
            application.session_starts_per_day = 2;
        })
    };
    on(paced, async |node| {
        node.identified(0).await;
        let mut second = node.connect().await;
        second.send(&identify(0)).await;
        second.after(Duration::from_secs(5)).await;
        assert_eq!(second.seen.last().unwrap()["op"], 9);
        second.send(&identify(0)).await;
        assert_eq!(second.seen.last().unwrap()["t"], "READY");
        let mut third = node.connect().await;
        third.after(Duration::from_secs(6)).await;
        third.send(&identify(0)).await;
        third.after(Duration::from_secs(5)).await;
        assert_eq!(third.seen.last().unwrap()["op"], 9, "the starts of the day are used up");
    })
    .await;
}

#[test]
fn an_unsupported_url_is_closed_at_once() {
    for (v, encoding, compress, code) in [
        ("11", "json", None, 4012),
        ("10", "xml", None, 4002),
        ("10", "json", Some("gzip"), 4002),
    ] {
        let query = Query::parse(Some(v), Some(encoding), compress).unwrap();
        let settings = Arc::new(DiscordSessionSettings::new(
            &Settings::default(),
            HelloDelay::default(),
            "node".into(),
        ));
        let mut connection = Discord::new(query, "ws://x".into(), settings, Instant::now());
        let actions = connection.open(&Cx::at(Instant::now()));
        let [Action::Close { close, .. }] = &actions[..] else {
            panic!("{actions:?}");
        };
        assert_eq!(close.code, code);
    }
}

#[tokio::test(start_paused = true)]
async fn too_many_guilds_for_one_session_close_with_4011() {
    let few = || DiscordTestNode::with(|application| application.guilds_per_session = 2);
    on(few, async |node| {
        for id in 1..=3_u64 {
            node.publish("GUILD_CREATE", &json!({"id": (id << 22).to_string()}))
                .await;
        }
        let mut client = node.connect().await;
        client.send(&identify(1)).await;
        assert_eq!(client.close, Some(4011));
        let mut client = node.connect().await;
        client
            .send(&json!({"op": 2, "d": {"token": TOKEN, "intents": 1, "shard": [0, 2]}}))
            .await;
        assert_eq!(client.seen[1]["t"], "READY");
    })
    .await;
}
