//! Application events: which sessions may send and receive them, and in which order.

use gateway_harness::{NodeProcess, PacketEncoding, V1Client, full_setup, key, metric, publish};
use serde_json::{Value, json};

async fn session(node: &NodeProcess, kind: &str) -> V1Client {
    V1Client::session(node, kind, &key(kind)).await
}

#[tokio::test]
async fn an_event_reaches_exactly_the_types_of_its_table_entry() {
    let node = full_setup().start().await;
    let (mut sender, mut website) = (session(&node, "website").await, session(&node, "website").await);
    let (mut bot, mut service) = (session(&node, "bot").await, session(&node, "service").await);
    let mut stranger = V1Client::greeted(&node, PacketEncoding::Plain).await;
    sender.send_event("site_only", &json!({ "n": 1 })).await;
    sender.send_event("announce", &json!({ "n": 2 })).await;
    // Every client receives events in the sender's order, so one whose first event is the second did not get the first.
    assert_eq!(website.event("site_only").await, json!({ "n": 1 }));
    for client in [&mut website, &mut bot, &mut service] {
        assert_eq!(client.event("announce").await, json!({ "n": 2 }));
    }
    stranger.heartbeat().await;
}

#[tokio::test]
async fn the_sender_never_gets_its_own_event_back() {
    let node = full_setup().start().await;
    for kind in ["bot", "website", "service"] {
        let (mut sender, mut other) = (session(&node, kind).await, session(&node, kind).await);
        sender.send_event("announce", &json!({ "from": "sender" })).await;
        assert_eq!(other.event("announce").await, json!({ "from": "sender" }));
        other.send_event("announce", &json!({ "from": "other" })).await;
        assert_eq!(sender.event("announce").await, json!({ "from": "other" }));
    }
}

#[tokio::test]
async fn data_arrives_as_it_was_written() {
    let node = full_setup().start().await;
    let mut receivers = [
        session(&node, "bot").await,
        V1Client::session_in(&node, "bot", &key("bot"), PacketEncoding::Zlib).await,
    ];
    let mut sender = session(&node, "website").await;
    let d = r#"{"z":1.0,"a":[1e2, 12345678901234567890123, "\u00e9é😀"],"z2" : null}"#;
    sender
        .send_text(&format!(r#"{{"t":"announce","d":{d},"op":1,"m":"x"}}"#))
        .await;
    for receiver in &mut receivers {
        let expected = format!(r#"{{"op":0,"t":"announce","d":{d}}}"#);
        assert_eq!(receiver.next_text().await.unwrap(), expected);
    }
}

#[tokio::test]
async fn an_event_to_all_without_a_receiver_is_accepted_and_counted() {
    let node = full_setup().start().await;
    let mut sender = session(&node, "website").await;
    sender.send_event("checked", &json!({ "name": "x", "level": 1 })).await;
    sender.heartbeat().await;
    assert_eq!(metric(&node, "utilbot_entries_without_receiver_total").await, 1);
    publish(
        &node,
        &key("service"),
        &json!({ "t": "checked", "d": { "name": "x", "level": 1 } }),
    )
    .await;
    assert_eq!(metric(&node, "utilbot_entries_without_receiver_total").await, 2);
}

#[tokio::test]
async fn an_event_to_any_or_a_guild_without_a_receiver_is_refused() {
    let node = full_setup().start().await;
    for encoding in PacketEncoding::ALL {
        for (name, d) in [
            ("job", json!({})),
            ("guild_settings_changed", json!({ "guildId": "5" })),
        ] {
            let mut sender = V1Client::session_in(&node, "website", &key("website"), encoding).await;
            sender.send_event(name, &d).await;
            let refusal = sender.event("event_refused").await;
            let problems = json!({ "errors": ["No receiver."], "data": [name] });
            assert_eq!(refusal["code"], "no_receiver");
            assert_eq!(
                (&refusal["errors"], &refusal["data"]),
                (&problems["errors"], &problems["data"])
            );
            sender.heartbeat().await;
        }
    }
    // The only possible receiver is the sender.
    let mut bot = session(&node, "bot").await;
    bot.send_event("job", &json!({})).await;
    assert_eq!(bot.event("event_refused").await["errors"], json!(["No receiver."]));
}

#[tokio::test]
async fn a_guild_event_reaches_exactly_the_bots_that_reported_the_guild() {
    let node = full_setup().start().await;
    let mut website = session(&node, "website").await;
    let mut bots = [
        session(&node, "bot").await,
        session(&node, "bot").await,
        session(&node, "bot").await,
    ];
    for (bot, guilds) in bots.iter_mut().zip([json!(["1", "2"]), json!([2, 3]), json!(2)]) {
        bot.send_event("send_servers", &json!({ "guilds": guilds })).await;
        // The heartbeat ACK shows that the report has been processed. Counts may come before it.
        bot.send(&json!({ "op": 10 })).await;
        while bot.next().await["op"] != 11 {}
    }
    for guild in [json!("1"), json!(2), json!("3"), json!("0002")] {
        website
            .send_event("guild_settings_changed", &json!({ "guildId": guild }))
            .await;
    }
    website.send_event("announce", &json!({ "end": true })).await;
    let mut seen = Vec::new();
    for bot in &mut bots {
        let mut guilds = Vec::new();
        loop {
            let mut payload = bot.next().await;
            match payload["t"].as_str().unwrap() {
                "announce" => break,
                "GLOBAL_GUILD_COUNT" => {}
                "guild_settings_changed" => guilds.push(payload["d"]["guildId"].take()),
                other => panic!("{other}"),
            }
        }
        seen.push(guilds);
    }
    // A bot that reports only a count gets no events of a guild.
    assert_eq!(json!(seen), json!([["1", 2, "0002"], [2, "3", "0002"], []]));
}

#[tokio::test]
async fn a_guild_pointer_that_yields_no_id_is_malformed() {
    let node = full_setup().start().await;
    for (d, data) in [
        (json!({}), Value::Null),
        (json!({ "guildId": null }), Value::Null),
        (json!({ "guildId": "x" }), json!("x")),
        (json!({ "guildId": -1 }), json!(-1)),
        (json!({ "guildId": { "id": 1 } }), json!({ "id": 1 })),
        (json!({ "guild": { "guildId": 1 } }), Value::Null),
    ] {
        let mut sender = session(&node, "website").await;
        sender.send_event("guild_settings_changed", &d).await;
        let error = sender.error(4005, 4005).await;
        assert_eq!(
            error["d"],
            json!({ "errors": ["No guild id at /guildId."], "data": [data] }),
            "{d}"
        );
    }
}

#[tokio::test]
async fn each_schema_violation_is_one_error_entry() {
    let node = full_setup().start().await;
    let mut bot = session(&node, "bot").await;
    for (d, data) in [
        (json!({}), vec![json!({}), json!({})]),
        (json!({ "name": "x" }), vec![json!({ "name": "x" })]),
        (json!({ "name": 1, "level": 0 }), vec![json!(1), json!(0)]),
        (json!({ "name": 1, "level": "high" }), vec![json!(1), json!("high")]),
    ] {
        for encoding in PacketEncoding::ALL {
            let mut sender = V1Client::session_in(&node, "website", &key("website"), encoding).await;
            sender.send_event("checked", &d).await;
            let error = sender.error(4005, 4005).await;
            let mut named = error["d"]["data"].as_array().unwrap().clone();
            named.sort_by_key(ToString::to_string);
            let mut expected = data.clone();
            expected.sort_by_key(ToString::to_string);
            assert_eq!(named, expected, "{error}");
            let errors = error["d"]["errors"].as_array().unwrap();
            assert_eq!(errors.len(), expected.len(), "{error}");
            assert!(
                errors.iter().all(|error| !error.as_str().unwrap().is_empty()),
                "{error}"
            );
        }
    }
    let mut sender = session(&node, "website").await;
    sender.send_event("checked", &json!({ "name": "x", "level": 2 })).await;
    assert_eq!(bot.event("checked").await, json!({ "name": "x", "level": 2 }));
}

#[tokio::test]
async fn a_refused_event_reaches_no_session() {
    let node = full_setup().start().await;
    let mut bot = session(&node, "bot").await;
    for event in [("nonsense", json!({})), ("checked", json!({})), ("announce", json!([]))] {
        let mut sender = session(&node, "website").await;
        sender.send_event(event.0, &event.1).await;
        sender.error(4005, 4005).await;
    }
    publish(
        &node,
        &key("service"),
        &json!({ "t": "announce", "d": { "marker": 1 } }),
    )
    .await;
    assert_eq!(bot.event("announce").await, json!({ "marker": 1 }));
}

#[tokio::test]
async fn events_of_one_sender_arrive_in_order_and_once_at_every_receiver() {
    const EVENTS: u64 = 1000;
    let node = full_setup().start().await;
    let mut receivers = Vec::new();
    for index in 0..12 {
        let kind = ["bot", "website", "service"][index % 3];
        let encoding = PacketEncoding::ALL[index % 2];
        receivers.push(V1Client::session_in(&node, kind, &key(kind), encoding).await);
    }
    let mut senders = [session(&node, "website").await, session(&node, "bot").await];
    for n in 0..EVENTS {
        for (index, sender) in senders.iter_mut().enumerate() {
            sender.send_event("announce", &json!({ "sender": index, "n": n })).await;
        }
    }
    let mut orders = Vec::new();
    for receiver in &mut receivers {
        let mut next = [0; 2];
        let mut order = Vec::new();
        for _ in 0..2 * EVENTS {
            let d = receiver.event("announce").await;
            let sender = usize::from(d["sender"] == 1);
            assert_eq!(d["n"], next[sender], "of sender {sender}");
            next[sender] += 1;
            order.push(sender);
        }
        receiver.heartbeat().await;
        orders.push(order);
    }
    // All receivers get the events of both senders in the same order, because there is one log.
    assert!(orders.iter().all(|order| *order == orders[0]));
}

#[tokio::test]
async fn an_event_to_any_reaches_exactly_one_session_in_turn() {
    const EVENTS: usize = 400;
    let node = full_setup().start().await;
    let mut bots = Vec::new();
    for index in 0..4 {
        bots.push(V1Client::session_in(&node, "bot", &key("bot"), PacketEncoding::ALL[index % 2]).await);
    }
    let mut website = session(&node, "website").await;
    for n in 0..EVENTS {
        website.send_event("job", &json!({ "n": n })).await;
    }
    website.send_event("announce", &json!({})).await;
    let mut seen = Vec::new();
    for bot in &mut bots {
        let before = seen.len();
        loop {
            let payload = bot.next().await;
            match payload["t"].as_str().unwrap() {
                "announce" => break,
                "job" => seen.push(usize::try_from(payload["d"]["n"].as_u64().unwrap()).unwrap()),
                other => panic!("{other}"),
            }
        }
        let share = seen.len() - before;
        assert!(
            (EVENTS / 5..=EVENTS / 3).contains(&share),
            "one of 4 bots got {share} of {EVENTS}"
        );
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..EVENTS).collect::<Vec<_>>());
}

#[tokio::test]
async fn events_and_counts_do_not_cross_applications() {
    let file = format!(
        "{}\n[[applications]]\nid = \"other\"\n\n[[keys]]\nid = \"stranger\"\ntype = [\"bot\", \"service\"]\n\
         application = \"other\"\npermissions = [\"publish\"]\nsecret = \"{}\"\n\n[[events]]\nname = \"announce\"\n\
         from = [\"bot\", \"service\", \"website\"]\nto = [\"bot\"]\n",
        gateway_harness::KEYS,
        gateway_harness::SECRET,
    );
    let node = full_setup().file(&file).start().await;
    let mut ours = session(&node, "bot").await;
    let mut stranger = V1Client::session(&node, "bot", &key("stranger")).await;
    stranger.send_event("send_servers", &json!({ "guilds": 9 })).await;
    stranger.event("GLOBAL_GUILD_COUNT").await;
    publish(
        &node,
        &key("stranger"),
        &json!({ "t": "announce", "d": { "of": "other" } }),
    )
    .await;
    assert_eq!(stranger.event("announce").await, json!({ "of": "other" }));
    publish(
        &node,
        &key("service"),
        &json!({ "t": "announce", "d": { "of": "utilbot" } }),
    )
    .await;
    assert_eq!(ours.event("announce").await, json!({ "of": "utilbot" }));
    stranger.heartbeat().await;
}
