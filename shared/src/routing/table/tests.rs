//! Which definitions a table accepts, and how it routes each kind of event.

use serde_json::json;

use super::*;

fn definition(name: &str) -> EventDefinition {
    EventDefinition {
        name: name.into(),
        from: vec![ClientType::Website],
        to: vec![ReceiverType::Bot],
        deliver: DeliverMode::All,
        require_receiver: None,
        to_tickets: false,
        schema: None,
        reply: None,
        job: None,
    }
}

fn to_guild(pointer: &str) -> EventDefinition {
    EventDefinition {
        deliver: DeliverMode::Guild(pointer.into()),
        ..definition("a")
    }
}

fn with_schema(schema: Value) -> EventDefinition {
    EventDefinition {
        schema: Some(schema),
        ..definition("a")
    }
}

fn table(definition: EventDefinition) -> EventTable {
    EventTable::build(vec![definition]).unwrap()
}

fn refusal(definitions: Vec<EventDefinition>) -> String {
    EventTable::build(definitions).unwrap_err().to_string()
}

/// The problems of event `a` from a website, each error with its data.
fn problems(table: &EventTable, d: &str) -> Vec<(String, String)> {
    let d: &RawValue = serde_json::from_str(d).unwrap();
    let problems = table.route("a", ClientType::Website, Some(d)).unwrap_err();
    let entry = |problem: Problem| {
        let data = problem.data.map_or("null".into(), |data| data.to_string());
        (problem.error.into_owned(), data)
    };
    problems.into_iter().map(entry).collect()
}

fn one(error: &str, data: &str) -> Vec<(String, String)> {
    vec![(error.to_owned(), data.to_owned())]
}

fn delivery(table: &EventTable, d: &str) -> Delivery {
    let d: &RawValue = serde_json::from_str(d).unwrap();
    table.route("a", ClientType::Website, Some(d)).unwrap().delivery
}

#[test]
fn a_table_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<EventTable>();
}

#[test]
fn an_empty_table_rejects_every_event() {
    let table = EventTable::build(vec![]).unwrap();
    assert!(table.is_empty());
    assert_eq!(table.names().next(), None);
    assert_eq!(problems(&table, "{}"), one("Unknown event.", "\"a\""));
}

#[test]
fn invalid_definitions_are_refused_by_name() {
    let empty_from = EventDefinition {
        from: vec![],
        ..definition("a")
    };
    let empty_to = EventDefinition {
        to: vec![],
        ..definition("a")
    };
    let rows = [
        (
            vec![definition("a"), definition("")],
            "event number 2 has an empty name, expected at least one character",
        ),
        (
            vec![definition("a"), definition("a")],
            "event \"a\" is defined twice, expected one definition for each name",
        ),
        (
            vec![empty_from],
            "event \"a\" has an empty `from`, expected at least one client type",
        ),
        (
            vec![empty_to],
            "event \"a\" has an empty `to`, expected at least one receiver type",
        ),
    ];
    for (definitions, error) in rows {
        assert_eq!(refusal(definitions), error);
    }
}

fn request(deliver: DeliverMode, schema: Option<Value>) -> EventDefinition {
    EventDefinition {
        deliver,
        reply: Some(ReplyDefinition {
            timeout: Duration::from_secs(5),
            schema,
        }),
        ..definition("ask")
    }
}

#[test]
fn a_request_goes_to_one_session_that_can_reply() {
    let to_all = refusal(vec![request(DeliverMode::All, None)]);
    assert!(to_all.contains("\"ask\" is a request to all sessions"), "{to_all}");
    let to_discord = EventDefinition {
        to: vec![ReceiverType::Bot, ReceiverType::Discord],
        ..request(DeliverMode::Any, None)
    };
    let to_discord = refusal(vec![to_discord]);
    assert!(
        to_discord.contains("\"ask\" is a request or a job to Discord"),
        "{to_discord}"
    );
    let bad_schema = refusal(vec![request(DeliverMode::Any, Some(json!({"type": "nothing"})))]);
    assert!(bad_schema.contains("schema of replies"), "{bad_schema}");
    let table = table(request(DeliverMode::Any, None));
    let d = serde_json::from_str("{}").unwrap();
    let route = table.route("ask", ClientType::Website, Some(d)).unwrap();
    assert_eq!(
        (route.reply_timeout, route.require_receiver),
        (Some(Duration::from_secs(5)), true)
    );
    assert!(table.is_request("ask") && !table.is_request("other"));
}

#[test]
fn a_job_goes_to_any_session_that_can_acknowledge_it() {
    let job = JobDefinition {
        ack_timeout: Duration::from_secs(30),
        attempts: 5,
    };
    let with_job = |definition: EventDefinition| EventDefinition {
        job: Some(job),
        ..definition
    };
    let to_any = with_job(EventDefinition {
        deliver: DeliverMode::Any,
        ..definition("render")
    });
    let both = refusal(vec![with_job(request(DeliverMode::Any, None))]);
    assert!(both.contains("is a request and a job"), "{both}");
    let to_guild = refusal(vec![with_job(to_guild("/g"))]);
    assert!(
        to_guild.contains("is a job, expected one that is delivered to any"),
        "{to_guild}"
    );
    let to_discord = EventDefinition {
        to: vec![ReceiverType::Discord],
        ..to_any.clone()
    };
    assert!(refusal(vec![to_discord]).contains("to Discord sessions"));
    let table = table(to_any);
    let route = table.route("render", ClientType::Website, Some(serde_json::from_str("{}").unwrap()));
    let route = route.unwrap();
    assert_eq!((route.job, route.require_receiver), (Some(job), false));
    assert!(table.is_job("render") && !table.is_job("other"));
}

#[test]
fn a_reply_is_checked_against_its_schema() {
    let check = |table: &EventTable, name: &str, d: &str| {
        let checked = table.check_reply(name, Some(serde_json::from_str(d).unwrap()));
        checked
            .map(|d| d.get().to_owned())
            .map_err(|problems| problems[0].error.to_string())
    };
    let with_schema = table(request(DeliverMode::Any, Some(json!({"required": ["prefix"]}))));
    assert_eq!(
        check(&with_schema, "ask", r#"{"prefix": 1}"#),
        Ok(r#"{"prefix": 1}"#.to_owned())
    );
    assert!(check(&with_schema, "ask", "{}").unwrap_err().contains("required"));
    let without = table(request(DeliverMode::Any, None));
    for (name, table) in [("ask", &without), ("gone", &with_schema)] {
        assert_eq!(check(table, name, "{}"), Ok("{}".to_owned()));
        assert_eq!(check(table, name, "[]"), Err("Data must be an object.".to_owned()));
        assert!(
            check(table, name, r#"{"a":1e999}"#)
                .unwrap_err()
                .contains("cannot be read")
        );
        let absent = table.check_reply(name, None).unwrap_err();
        assert_eq!(absent[0].error, "Data not provided.");
    }
}

#[test]
fn reserved_names_are_refused() {
    let connect_successes = ["bot_connect_success", "my_connect_success", "_connect_success"];
    for name in RESERVED_EVENTS.into_iter().chain(connect_successes) {
        let error = EventTable::build(vec![definition(name)]).unwrap_err();
        assert!(matches!(error, TableError::Reserved { .. }), "{name}");
        assert!(error.to_string().contains(name));
    }
    for name in ["Identify", "connect_success", "global_guild_count"] {
        assert!(EventTable::build(vec![definition(name)]).is_ok(), "{name}");
    }
}

#[test]
fn bad_pointers_are_refused() {
    for pointer in ["", "guildId", "#/guildId", "/a~", "/a~2", "/~/b"] {
        let error = EventTable::build(vec![to_guild(pointer)]).unwrap_err();
        assert!(matches!(error, TableError::Pointer { .. }), "{pointer}");
        assert!(error.to_string().contains(&format!("{pointer:?}")));
    }
    for pointer in ["/", "/guildId", "/a/b/0", "/a~0b~1c"] {
        assert!(EventTable::build(vec![to_guild(pointer)]).is_ok());
    }
}

#[test]
fn bad_schemas_are_refused() {
    for schema in [
        json!(1),
        json!("schema"),
        json!({"type": "no such type"}),
        json!({"properties": []}),
        json!({"pattern": "("}),
        json!({"$ref": "#/$defs/missing"}),
        json!({"$schema": "http://127.0.0.1:9/schema"}),
    ] {
        let error = EventTable::build(vec![with_schema(schema.clone())]).unwrap_err();
        assert!(matches!(error, TableError::Schema { .. }), "{schema}");
        assert!(error.to_string().starts_with("event \"a\" has a schema"));
    }
}

#[test]
fn external_schemas_are_never_fetched() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    for reference in [
        format!("http://127.0.0.1:{port}/schema.json"),
        format!("https://127.0.0.1:{port}/schema.json"),
        "file:///etc/hostname".into(),
        "other.json".into(),
    ] {
        let definition = with_schema(json!({"properties": {"a": {"$ref": reference}}}));
        let error = EventTable::build(vec![definition]).unwrap_err();
        assert!(matches!(error, TableError::Schema { .. }), "{reference}");
    }
    assert!(listener.accept().is_err(), "no connection was attempted");
}

#[test]
fn a_route_names_the_receivers() {
    let table = table(EventDefinition {
        to: vec![ReceiverType::Bot, ReceiverType::Discord],
        ..definition("a")
    });
    let d: &RawValue = serde_json::from_str("{}").unwrap();
    let route = table.route("a", ClientType::Website, Some(d)).unwrap();
    assert_eq!(&**route.name, "a");
    assert_eq!(route.receivers, ClientType::Bot.into());
    assert!(route.to_discord);
    assert_eq!(route.delivery, Delivery::All);
    let route = self::table(definition("a"));
    assert!(!route.route("a", ClientType::Website, Some(d)).unwrap().to_discord);
}

#[test]
fn every_receiver_type_but_discord_is_a_client_type() {
    for (receiver, client) in [
        (ReceiverType::Bot, Some(ClientType::Bot)),
        (ReceiverType::Website, Some(ClientType::Website)),
        (ReceiverType::Service, Some(ClientType::Service)),
        (ReceiverType::Discord, None),
    ] {
        assert_eq!(receiver.client_type(), client);
    }
}

#[test]
fn problems_with_the_shape_of_data_come_before_the_name() {
    let table = table(definition("a"));
    let route = |name, sender, d: Option<&str>| {
        let d = d.map(|d| serde_json::from_str::<&RawValue>(d).unwrap());
        table.route(name, sender, d).unwrap_err()
    };
    let missing = || Problem::absent("Data not provided.");
    let null: &RawValue = serde_json::from_str("null").unwrap();
    let no_object = || Problem::with("Data must be an object.", null);
    let unknown = || Problem::with_str("Unknown event.", "b").of_kind(ProblemKind::UnknownEvent);
    let refused = || Problem::with_str("Event not allowed for this client type.", "a").of_kind(ProblemKind::NotAllowed);
    let website = ClientType::Website;
    assert_eq!(route("a", website, None), [missing()]);
    assert_eq!(route("a", website, Some("null")), [no_object()]);
    assert_eq!(route("b", website, Some("{}")), [unknown()]);
    assert_eq!(route("b", website, None), [missing(), unknown()]);
    for sender in [ClientType::Bot, ClientType::Service] {
        assert_eq!(route("a", sender, Some("{}")), [refused()]);
        assert_eq!(route("a", sender, None), [missing(), refused()]);
        assert_eq!(route("a", sender, Some("null")), [no_object(), refused()]);
    }
}

#[test]
fn a_disallowed_sender_still_gets_all_other_problems() {
    let table = table(EventDefinition {
        from: vec![ClientType::Bot],
        ..to_guild("/guildId")
    });
    let found = problems(&table, "{}");
    let errors: Vec<_> = found.iter().map(|(error, _)| error.as_str()).collect();
    assert_eq!(
        errors,
        ["Event not allowed for this client type.", "No guild id at /guildId."]
    );
}

#[test]
fn a_table_lists_its_names() {
    let table = EventTable::build(vec![definition("a"), definition("b")]).unwrap();
    let mut names: Vec<&str> = table.names().map(|name| &**name).collect();
    names.sort_unstable();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(table.len(), 2);
    assert!(!table.is_empty());
}

#[test]
fn the_guild_is_found_at_the_pointer() {
    let flat = table(to_guild("/guildId"));
    let guild = |id| Delivery::Guild(GuildId::from_raw(id));
    assert_eq!(delivery(&flat, r#"{"guildId":"7"}"#), guild(7));
    assert_eq!(delivery(&flat, r#"{"guildId":7}"#), guild(7));
    assert_eq!(delivery(&flat, r#"{"guildId":1,"guildId":2}"#), guild(2));
    let deep = table(to_guild("/a/0/b~1c"));
    assert_eq!(delivery(&deep, r#"{"a":[{"b/c":"3"}]}"#), guild(3));
    let text = "No guild id at /guildId.";
    assert_eq!(problems(&flat, "{}"), one(text, "null"));
    assert_eq!(problems(&flat, r#"{"guildId":null}"#), one(text, "null"));
    assert_eq!(problems(&flat, r#"{"guildId":"x"}"#), one(text, "\"x\""));
    assert_eq!(problems(&flat, r#"{"guildId":[1]}"#), one(text, "[1]"));
}

#[test]
fn any_delivers_to_any() {
    let table = table(EventDefinition {
        deliver: DeliverMode::Any,
        ..definition("a")
    });
    assert_eq!(delivery(&table, "{}"), Delivery::Any);
}

#[test]
fn each_schema_violation_is_one_problem() {
    let table = table(EventDefinition {
        deliver: DeliverMode::Guild("/guildId".into()),
        ..with_schema(json!({
            "required": ["text", "guildId"],
            "properties": {
                "text": {"type": "string", "maxLength": 3},
                "list": {"items": {"type": "integer"}}
            }
        }))
    });
    let own = |entries: &[(&str, &str)]| -> Vec<_> {
        let own = |(error, data): &(&str, &str)| ((*error).to_owned(), (*data).to_owned());
        entries.iter().map(own).collect()
    };
    let mut found = problems(&table, r#"{"list":[1,"x",2.5],"text":"long text"}"#);
    let guild = found.remove(0);
    assert_eq!(guild, ("No guild id at /guildId.".into(), "null".into()));
    found.sort();
    assert_eq!(
        found,
        own(&[
            (
                r#""guildId" is a required property"#,
                r#"{"list":[1,"x",2.5],"text":"long text"}"#
            ),
            (r#"/list/1: value is not of type "integer""#, "\"x\""),
            (r#"/list/2: value is not of type "integer""#, "2.5"),
            ("/text: value is longer than 3 characters", "\"long text\""),
        ])
    );
    assert_eq!(
        delivery(&table, r#"{"guildId":1,"text":"abc","list":[1,2]}"#),
        Delivery::Guild(GuildId::from_raw(1))
    );
}

#[test]
fn data_that_some_receivers_cannot_parse_is_a_problem() {
    let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(50_000), "]".repeat(50_000));
    let unpaired = r#"{"a":"\ud800"}"#;
    let unpaired_key = r#"{"\udc00":1}"#;
    let huge = r#"{"a":[1,{"b":1e999}]}"#;
    let tables = [
        table(definition("a")),
        table(with_schema(json!(true))),
        table(to_guild("/guildId")),
    ];
    for d in [&deep, unpaired, unpaired_key, huge] {
        for table in &tables {
            let found = problems(table, d);
            assert_eq!(found.len(), 1);
            assert!(found[0].0.starts_with("Data cannot be read: "), "{found:?}");
            assert_eq!(found[0].1, "null");
        }
    }
    let readable = format!(
        r#"{{"a":{}{},"b":"\ud83d\ude00","c":-1.5e300,"d":[null,true]}}"#,
        "[".repeat(120),
        "]".repeat(120)
    );
    assert_eq!(delivery(&tables[0], &readable), Delivery::All);
}

#[test]
fn a_schema_may_refer_to_itself() {
    let tree = table(with_schema(json!({
        "properties": {"child": {"$ref": "#"}, "name": {"type": "string"}}
    })));
    let deep = format!("{}{{}}{}", r#"{"child":"#.repeat(120), "}".repeat(120));
    assert_eq!(delivery(&tree, &deep), Delivery::All);
    assert_eq!(problems(&tree, r#"{"child":{"name":1}}"#).len(), 1);
}
