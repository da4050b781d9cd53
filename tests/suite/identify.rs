//! Identify: who is let in, and what everybody is told.

use std::collections::HashSet;

use gateway_harness::{PacketEncoding, Setup, V1Client, full_setup, key};
use serde_json::{Value, json};

#[tokio::test]
async fn each_type_gets_its_own_connect_success() {
    let node = full_setup().set("node.name", "alpha").start().await;
    for encoding in PacketEncoding::ALL {
        for kind in ["bot", "website", "service"] {
            let mut client = V1Client::greeted(&node, encoding).await;
            client.send_identify(kind, &key(kind)).await;
            let payload = client.next().await;
            assert_eq!(payload["op"], 0);
            assert_eq!(payload["t"], format!("{kind}_connect_success"));
            assert_eq!(payload["d"]["node"], "alpha");
            assert_eq!(payload["d"]["heartbeat"], 60_000);
            let id = payload["d"]["id"].as_str().unwrap();
            assert!(!id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()), "{id}");
            assert_eq!(payload.as_object().unwrap().len(), 3, "{payload}");
        }
    }
}

#[tokio::test]
async fn a_bot_gets_the_counts_right_after_its_connect_success_and_nobody_else_does() {
    let node = full_setup().start().await;
    let mut first = V1Client::session(&node, "bot", &key("bot")).await;
    first
        .send_event(
            "send_servers",
            &json!({ "guilds": 3, "guildMembers": 40, "cachedGuildMembers": 5 }),
        )
        .await;
    let counts = json!({ "guilds": 3, "guildMembers": 40, "cachedGuildMembers": 5 });
    assert_eq!(first.event("GLOBAL_GUILD_COUNT").await, counts);
    let mut second = V1Client::greeted(&node, PacketEncoding::Plain).await;
    second.identify("bot", &key("bot")).await;
    assert_eq!(second.event("GLOBAL_GUILD_COUNT").await, counts);
    let mut website = V1Client::greeted(&node, PacketEncoding::Plain).await;
    website.identify("website", &key("website")).await;
    website.heartbeat().await;
}

#[tokio::test]
async fn the_shard_of_an_identify_is_optional_and_unknown_fields_are_ignored() {
    let node = full_setup().start().await;
    for more in [
        json!({ "shard": [0, 1] }),
        json!({ "shard": [7, 16], "other": { "x": 1 } }),
        json!({ "token": null }),
    ] {
        let mut d = json!({ "type": "bot", "key": key("bot") });
        d.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut client = V1Client::greeted(&node, PacketEncoding::Plain).await;
        client
            .send(&json!({ "op": 1, "t": "identify", "d": d, "e": null, "s": 1 }))
            .await;
        client.event("bot_connect_success").await;
    }
}

#[tokio::test]
async fn ids_of_live_sessions_differ() {
    let node = full_setup().start().await;
    let mut sessions = Vec::new();
    let mut ids = HashSet::new();
    for _ in 0..100 {
        let mut client = V1Client::greeted(&node, PacketEncoding::Plain).await;
        assert!(ids.insert(client.identify("website", &key("website")).await));
        sessions.push(client);
    }
    assert_eq!(ids.len(), sessions.len());
}

#[tokio::test]
async fn a_wrong_key_is_4001_however_it_is_wrong() {
    let node = full_setup().start().await;
    let bot = key("bot");
    let other_secret = bot.replace("correct", "wronged");
    let mut rows = vec![
        ("bot", String::new()),
        ("bot", "bot".to_owned()),
        ("bot", "bot.".to_owned()),
        ("bot", bot.replace("bot.", ".")),
        ("bot", other_secret),
        ("bot", format!("{bot}x")),
        ("bot", format!(" {bot}")),
        ("bot", bot.replace("bot.", "nobody.")),
        ("bot", key("website")),
        ("bot", "\u{0}\u{fffd}\u{1F600}".to_owned()),
    ];
    // Any string is a well-formed type too.
    rows.extend(["website", "service", "", "Bot", "admin", "\u{1F600}"].map(|kind| (kind, bot.clone())));
    for (kind, key) in rows {
        let mut client = V1Client::greeted(&node, PacketEncoding::Plain).await;
        client.send_identify(kind, &key).await;
        let error = client.error(4001, 4001).await;
        assert_eq!(error.get("d"), None, "{kind:?} {key:?}");
        assert!(key.is_empty() || !error.to_string().contains(&key), "{error}");
    }
}

#[tokio::test]
async fn all_problems_of_an_identify_are_listed_at_once_and_the_key_is_never_echoed() {
    let node = full_setup().start().await;
    let rows: Vec<(Value, Value, Value)> = vec![
        (
            json!({}),
            json!(["Type not provided.", "Key not provided."]),
            json!([null, null]),
        ),
        (json!({ "type": "bot" }), json!(["Key not provided."]), json!([null])),
        (json!({ "key": "hidden" }), json!(["Type not provided."]), json!([null])),
        (
            json!({ "type": 1, "key": ["hidden"] }),
            json!(["Type must be a string.", "Key must be a string."]),
            json!([1, null]),
        ),
        (
            json!({ "type": null, "key": null, "shard": [2, 2] }),
            json!([
                "Type must be a string.",
                "Key must be a string.",
                "Shard id must be below the shard count."
            ]),
            json!([null, null, 2]),
        ),
        (
            json!({ "type": "bot", "key": 7, "shard": "0/1" }),
            json!(["Key must be a string.", "Shard must be [id, count]."]),
            json!([null, "0/1"]),
        ),
        (json!([1]), json!(["Data must be an object."]), json!([null])),
        (json!("hidden"), json!(["Data must be an object."]), json!([null])),
        (Value::Null, json!(["Data must be an object."]), json!([null])),
    ];
    for encoding in PacketEncoding::ALL {
        for (d, errors, data) in &rows {
            let mut client = V1Client::greeted(&node, encoding).await;
            client.send_event("identify", d).await;
            let error = client.error(4005, 4005).await;
            assert_eq!(error["d"], json!({ "errors": errors, "data": data }), "{d}");
            assert!(!error.to_string().contains("hidden"), "{error}");
        }
        let mut client = V1Client::greeted(&node, encoding).await;
        client.send(&json!({ "op": 1, "t": "identify" })).await;
        let error = client.error(4005, 4005).await;
        assert_eq!(error["d"], json!({ "errors": ["Data not provided."], "data": [null] }));
    }
}

#[tokio::test]
async fn an_error_of_the_page_is_written_as_on_the_page() {
    let node = Setup::new().start().await;
    let mut client = V1Client::greeted(&node, PacketEncoding::Plain).await;
    client.send_text(r#"{"op":1,"t":"identify","d":{}}"#).await;
    let expected = r#"{"op":-1,"e":4005,"m":"Malformed data.","d":{"errors":["Type not provided.","Key not provided."],"data":[null,null]}}"#;
    assert_eq!(client.next_text().await.unwrap(), expected);
    assert_eq!(client.closed().await, 4005);
}
