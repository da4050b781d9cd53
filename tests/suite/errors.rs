//! Every row of the error table of protocol version 1: error and close code as received, in both encodings.

use gateway_harness::{PacketEncoding, Setup, V1Client, deflate, full_setup, key};
use serde_json::{Value, json};

/// A client that causes an Error, and what it must receive.
struct ErrorCase {
    what: &'static str,
    settings: &'static [(&'static str, u64)],
    /// The query without the compression.
    query: &'static str,
    /// The type that identifies before the payloads are sent.
    identify: Option<&'static str>,
    send: Vec<Value>,
    e: u16,
    close: u16,
    /// The `errors` and `data` of the Error, if it has them.
    problems: Option<(Value, Value)>,
}

impl ErrorCase {
    fn new(what: &'static str, e: u16) -> Self {
        Self {
            what,
            settings: &[],
            query: "v=1",
            identify: Some("website"),
            send: Vec::new(),
            e,
            close: e,
            problems: None,
        }
    }

    fn unidentified(self) -> Self {
        Self { identify: None, ..self }
    }

    fn with(self, settings: &'static [(&'static str, u64)]) -> Self {
        Self { settings, ..self }
    }

    fn sends(self, payload: Value) -> Self {
        Self {
            send: vec![payload],
            ..self
        }
    }

    fn lists(self, errors: Value, data: Value) -> Self {
        Self {
            problems: Some((errors, data)),
            ..self
        }
    }
}

async fn check(case: &ErrorCase, encoding: PacketEncoding) {
    let setup = case
        .settings
        .iter()
        .fold(full_setup(), |setup, (key, value)| setup.set(key, value));
    let node = setup.start().await;
    let mut bystander = V1Client::greeted(&node, PacketEncoding::Plain).await;
    let compression = if encoding == PacketEncoding::Zlib {
        "&compression=zlib"
    } else {
        ""
    };
    let mut client = V1Client::connect(&node, &format!("{}{compression}", case.query), encoding).await;
    if case.query == "v=1" {
        assert_eq!(client.next().await["op"], 5, "{}", case.what);
    }
    if let Some(kind) = case.identify {
        client.identify(kind, &key(kind)).await;
        if kind == "bot" {
            client.event("GLOBAL_GUILD_COUNT").await;
        }
    }
    for payload in &case.send {
        client.send(payload).await;
    }
    let error = client.error(case.e, case.close).await;
    let expected = case
        .problems
        .as_ref()
        .map(|(errors, data)| json!({ "errors": errors, "data": data }));
    assert_eq!(error.get("d"), expected.as_ref(), "{}: {error}", case.what);
    if case.settings.is_empty() {
        bystander.heartbeat().await;
    }
}

async fn check_all(cases: Vec<ErrorCase>) {
    for case in &cases {
        for encoding in PacketEncoding::ALL {
            println!("{} in {encoding:?}", case.what);
            check(case, encoding).await;
        }
    }
}

#[tokio::test]
async fn wrong_version_is_4000() {
    let mut case = ErrorCase::new("an unknown version", 4000).unidentified();
    case.query = "v=11";
    check_all(vec![case]).await;
}

#[tokio::test]
async fn wrong_auth_key_is_4001() {
    let identify = |key: &str| json!({ "op": 1, "t": "identify", "d": { "type": "bot", "key": key } });
    check_all(vec![
        ErrorCase::new("an unknown key", 4001)
            .unidentified()
            .sends(identify("nobody.nothing")),
        ErrorCase::new("a key of another type", 4001)
            .unidentified()
            .sends(identify(&key("website"))),
    ])
    .await;
}

#[tokio::test]
async fn bot_id_used_is_4002() {
    for encoding in PacketEncoding::ALL {
        let node = full_setup().set("test.bot_id", 4711).start().await;
        let mut first = V1Client::greeted(&node, encoding).await;
        assert_eq!(first.identify("bot", &key("bot")).await, "4711");
        first.event("GLOBAL_GUILD_COUNT").await;
        let mut second = V1Client::greeted(&node, encoding).await;
        second.send_identify("bot", &key("bot")).await;
        second.error(4002, 4002).await;
        first.heartbeat().await;
    }
}

#[tokio::test]
async fn no_opcode_is_4003() {
    check_all(vec![
        ErrorCase::new("an empty object", 4003).sends(json!({})),
        ErrorCase::new("everything but an opcode", 4003).sends(json!({ "t": "announce", "d": {}, "e": 1, "m": "" })),
    ])
    .await;
}

#[tokio::test]
async fn wrong_opcode_is_4004() {
    let node = full_setup().start().await;
    for encoding in PacketEncoding::ALL {
        for op in [
            json!(null),
            json!("1"),
            json!("10"),
            json!(true),
            json!([1]),
            json!({}),
            json!(1.5),
            json!(-1),
            json!(0),
            json!(5),
            json!(11),
            json!(2),
            json!(12),
            json!(-10),
            json!(u64::MAX),
            json!(1e300),
        ] {
            let mut client = V1Client::session_in(&node, "website", &key("website"), encoding).await;
            client.send(&json!({ "op": op, "t": "announce", "d": {} })).await;
            let error = client.error(4004, 4004).await;
            assert_eq!(error.get("d"), None, "{op}");
        }
    }
}

#[tokio::test]
async fn malformed_data_is_4005_with_all_its_problems() {
    let case = |what, kind: &'static str, payload, errors, data| {
        let mut case = ErrorCase::new(what, 4005).sends(payload).lists(errors, data);
        case.identify = Some(kind);
        case
    };
    check_all(vec![
        case(
            "neither d nor t",
            "website",
            json!({ "op": 1 }),
            json!(["Data not provided.", "Event name not provided."]),
            json!([null, null]),
        ),
        case(
            "d and t of the wrong shape",
            "website",
            json!({ "op": 1, "d": [1], "t": 7 }),
            json!(["Data must be an object.", "Event name must be a string."]),
            json!([[1], 7]),
        ),
        case(
            "an unknown event",
            "website",
            json!({ "op": 1, "t": "nonsense", "d": {} }),
            json!(["Unknown event."]),
            json!(["nonsense"]),
        ),
        case(
            "an event of the gateway",
            "bot",
            json!({ "op": 1, "t": "GLOBAL_GUILD_COUNT", "d": { "guilds": 1 } }),
            json!(["Unknown event."]),
            json!(["GLOBAL_GUILD_COUNT"]),
        ),
        case(
            "an event of another type",
            "bot",
            json!({ "op": 1, "t": "site_only", "d": {} }),
            json!(["Event not allowed for this client type."]),
            json!(["site_only"]),
        ),
        case(
            "no guild id",
            "website",
            json!({ "op": 1, "t": "guild_settings_changed", "d": { "guildId": [] } }),
            json!(["No guild id at /guildId."]),
            json!([[]]),
        ),
        case(
            "a report from a website",
            "website",
            json!({ "op": 1, "t": "send_servers", "d": { "guilds": 1 } }),
            json!(["Only bots send servers."]),
            json!(["send_servers"]),
        ),
        case(
            "a report with every problem",
            "bot",
            json!({ "op": 1, "t": "send_servers", "d": {
                "shard": [1], "cachedGuildMembers": -1, "guildMembers": 1.5, "guilds": ["7", "x", null] } }),
            json!([
                "Guild is not an id.",
                "Guild is not an id.",
                "Guild members must be an integer from 0 to 9007199254740991.",
                "Cached guild members must be an integer from 0 to 9007199254740991.",
                "Shard must be [id, count]."
            ]),
            json!(["x", null, 1.5, -1, [1]]),
        ),
        case(
            "an empty report",
            "bot",
            json!({ "op": 1, "t": "send_servers", "d": {} }),
            json!(["Nothing reported."]),
            json!([null]),
        ),
    ])
    .await;
}

#[tokio::test]
async fn no_heartbeat_is_4006() {
    const FAST: &[(&str, u64)] = &[("v1.heartbeat_interval_ms", 100), ("v1.heartbeat_tolerance_ms", 100)];
    check_all(vec![
        ErrorCase::new("no heartbeat", 4006).with(FAST),
        ErrorCase::new("no heartbeat before identifying", 4006)
            .unidentified()
            .with(FAST),
    ])
    .await;
}

#[tokio::test]
async fn wrong_identify_is_4007() {
    let again = json!({ "op": 1, "t": "identify", "d": { "type": "website", "key": key("website") } });
    check_all(vec![
        ErrorCase::new("a second identify", 4007).sends(again),
        ErrorCase::new("a second identify that is malformed too", 4007).sends(json!({ "op": 1, "t": "identify" })),
        ErrorCase::new("no identify in time", 4007)
            .unidentified()
            .with(&[("session.identify_timeout_ms", 200)]),
    ])
    .await;
}

/// Expects an Error 1000 with this close code, a message that is a sentence, and no data.
async fn error_1000(client: &mut V1Client, close: u16) {
    let error = client.error(1000, close).await;
    assert_eq!(error.get("d"), None, "{error}");
    assert!(error["m"].as_str().unwrap().ends_with('.'), "{error}");
}

#[tokio::test]
async fn too_many_payloads_are_1000_and_close_1008() {
    for encoding in PacketEncoding::ALL {
        for identified in [false, true] {
            let node = full_setup().set("limits.payloads_per_minute", 5).start().await;
            let mut client = V1Client::greeted(&node, encoding).await;
            let left = if identified {
                client.identify("website", &key("website")).await;
                4
            } else {
                5
            };
            for _ in 0..left {
                client.heartbeat().await;
            }
            client.send(&json!({ "op": 10 })).await;
            error_1000(&mut client, 1008).await;
        }
    }
}

#[tokio::test]
async fn the_default_rate_is_1200_payloads_per_minute() {
    let node = Setup::new().start().await;
    let mut client = V1Client::greeted(&node, PacketEncoding::Plain).await;
    let burst = vec![json!({ "op": 10 }); 100];
    let mut answers = 0;
    let error = 'closed: loop {
        client.send_at_once(&burst).await;
        for _ in &burst {
            let payload = client.next().await;
            if payload["op"] == -1 {
                break 'closed payload;
            }
            answers += 1;
        }
        assert!(answers < 10_000, "there is no limit");
    };
    assert_eq!(error["e"], 1000);
    assert_eq!(client.closed().await, 1008);
    // The allowance refills during the burst.
    assert!((1200..1500).contains(&answers), "{answers} answers");
}

#[tokio::test]
async fn a_message_too_big_is_1000_and_close_1009() {
    let node = full_setup().set("limits.message_bytes", 2048).start().await;
    let exact = format!("{{\"op\":10,\"x\":\"{}\"}}", "x".repeat(2048 - 16));
    assert_eq!(exact.len(), 2048);
    for encoding in PacketEncoding::ALL {
        for identified in [false, true] {
            let mut client = V1Client::greeted(&node, encoding).await;
            if identified {
                client.identify("website", &key("website")).await;
            }
            // A message of exactly the limit is still accepted, as text and inflated.
            client.send_text(&exact).await;
            client.expect(&json!({ "op": 11 })).await;
            client.send_json(&exact).await;
            client.expect(&json!({ "op": 11 })).await;
            client.send_text(&format!("{exact} ")).await;
            error_1000(&mut client, 1009).await;
        }
    }
}

#[tokio::test]
async fn a_packet_that_inflates_beyond_the_limit_is_1000_and_close_1009() {
    let node = full_setup().start().await;
    let bomb = deflate(&vec![b' '; 32 << 20]);
    assert!(bomb.len() < 65_536, "{}", bomb.len());
    let just_over = deflate(&vec![b' '; 65_537]);
    for identified in [false, true] {
        for packet in [&bomb, &just_over] {
            let mut client = V1Client::greeted(&node, PacketEncoding::Zlib).await;
            if identified {
                client.identify("website", &key("website")).await;
            }
            client.send_binary(packet).await;
            error_1000(&mut client, 1009).await;
        }
    }
}

#[tokio::test]
async fn a_restart_is_1000_and_close_1012() {
    for encoding in PacketEncoding::ALL {
        let mut node = Setup::new().set("drain.spread_ms", 0).start().await;
        let mut unidentified = V1Client::greeted(&node, encoding).await;
        let mut identified = V1Client::session_in(&node, "bot", &node.development_key(), encoding).await;
        node.signal(nix::sys::signal::Signal::SIGTERM);
        error_1000(&mut unidentified, 1012).await;
        error_1000(&mut identified, 1012).await;
        drop((unidentified, identified));
        assert!(node.ended(gateway_harness::WAIT).await.success());
    }
}

#[tokio::test]
async fn an_overloaded_node_is_1000_and_close_1013() {
    for encoding in PacketEncoding::ALL {
        let node = full_setup().set("cluster.hold_bytes", 1).start().await;
        let mut client = V1Client::session_in(&node, "website", &key("website"), encoding).await;
        // The first event is accepted because the queue is empty; the second arrives before a worker has taken the
        // first.
        let event = json!({ "op": 1, "t": "site_only", "d": {} });
        client.send_at_once(&[event.clone(), event]).await;
        error_1000(&mut client, 1013).await;
    }
}
