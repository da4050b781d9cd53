//! The payloads that the gateway sends: compact JSON, with keys in the order of the protocol's examples.

use serde::{Deserialize, Serialize};

use super::{
    CAUGHT_UP, EVENT_ACCEPTED, EVENT_REFUSED, EVENTS_LOST, ErrorCode, Nonce, Opcode, REPLY, REPLY_FAILED, Refusal,
    ReplyFailure,
};
use crate::{client_type::ClientType, problem::Problem, session_id::SessionId, user::UserId};

/// The answer to a heartbeat.
pub const HEARTBEAT_ACK: &str = r#"{"op":11}"#;

/// Builds the answer to a heartbeat of a client that is told its positions.
pub fn heartbeat_ack_at(position: &str) -> String {
    [r#"{"op":11,"p":""#, position, r#""}"#].concat()
}

/// The suffix of the event that confirms an identify. The client's type comes before it.
pub const CONNECT_SUCCESS_SUFFIX: &str = "_connect_success";

/// Builds the Hello, the first payload of a connection: the client must send a heartbeat at least every `ms`
/// milliseconds.
///
/// The interval is there under two keys, since clients were written against either spelling.
pub fn hello(ms: u64) -> String {
    format!(r#"{{"op":5,"d":{{"heartbeat":{ms},"hearbeat":{ms}}}}}"#)
}

/// Builds an Error. `d` is left out if there are no problems.
pub fn error(code: ErrorCode, message: &str, problems: &[Problem]) -> String {
    let mut json = format!(
        r#"{{"op":{},"e":{},"m":{}"#,
        Opcode::Error.number(),
        code.code(),
        quoted(message)
    );
    if !problems.is_empty() {
        json.push_str(r#","d":{"#);
        list(&mut json, problems);
        json.push('}');
    }
    json.push('}');
    json
}

/// Writes the members `errors` and `data` of an object.
fn list(json: &mut String, problems: &[Problem]) {
    json.push_str(r#""errors":["#);
    join(json, problems, |problem, json| {
        json.push_str(&quoted(&problem.error));
    });
    json.push_str(r#"],"data":["#);
    join(json, problems, |problem, json| {
        json.push_str(problem.data.as_ref().map_or("null", |data| data.get()));
    });
    json.push(']');
}

/// Builds the answer to a packet that had its effect. `d` must be JSON.
pub fn accepted(nonce: &Nonce, d: &str) -> String {
    let parts = [
        r#"{"op":0,"t":""#,
        EVENT_ACCEPTED,
        r#"","n":"#,
        nonce.json(),
        r#","d":"#,
        d,
        "}",
    ];
    parts.concat()
}

/// Builds the answer to a packet that had no effect. Its problems are left out if there are none.
pub fn refused(nonce: Option<&Nonce>, refusal: &Refusal) -> String {
    let Refusal { code, problems } = refusal;
    let mut json = [r#"{"op":0,"t":""#, EVENT_REFUSED, "\""].concat();
    if let Some(nonce) = nonce {
        json.push_str(r#","n":"#);
        json.push_str(nonce.json());
    }
    json.push_str(r#","d":{"code":""#);
    json.push_str(code.code());
    json.push_str(r#"","message":"#);
    json.push_str(&quoted(code.message()));
    if !problems.is_empty() {
        json.push(',');
        list(&mut json, problems);
    }
    json.push_str("}}");
    json
}

/// Builds an event for a client. `d` must be JSON and is sent unchanged.
pub fn event(name: &str, d: &str) -> String {
    let name = quoted(name);
    // Allocated at once, since `d` can be large.
    let parts = [r#"{"op":0,"t":"#, &name, r#","d":"#, d, "}"];
    parts.concat()
}

/// The fields of an event that only some clients are told.
#[derive(Debug, Clone, Copy, Default)]
pub struct EventFields<'a> {
    /// The receipt, if the event is a request or a job.
    pub receipt: Option<&'a str>,
    /// The number of the delivery, if the event is a job.
    pub attempt: Option<u32>,
    /// The position in the log, if the client is told its positions.
    pub position: Option<&'a str>,
    /// The user who sent the event, if one did.
    pub user: Option<&'a UserId>,
}

/// Builds an event with these fields. `d` must be JSON and is sent unchanged.
pub fn event_with(name: &str, fields: &EventFields<'_>, d: &str) -> String {
    let EventFields {
        receipt,
        attempt,
        position,
        user,
    } = fields;
    let receipt = receipt.map_or_else(String::new, |receipt| format!(r#","r":"{receipt}""#));
    let attempt = attempt.map_or_else(String::new, |attempt| format!(r#","a":{attempt}"#));
    let position = position.map_or_else(String::new, |position| format!(r#","p":"{position}""#));
    let user = user.map_or_else(String::new, |user| format!(r#","u":{}"#, quoted(user.as_str())));
    let name = quoted(name);
    let parts = [
        r#"{"op":0,"t":"#,
        &name,
        &receipt,
        &attempt,
        &position,
        &user,
        r#","d":"#,
        d,
        "}",
    ];
    parts.concat()
}

/// Builds the reply to a request. `d` must be JSON and is sent unchanged.
pub fn reply(nonce: &Nonce, d: &str) -> String {
    let parts = [r#"{"op":0,"t":""#, REPLY, r#"","n":"#, nonce.json(), r#","d":"#, d, "}"];
    parts.concat()
}

/// Builds the answer to a request that gets no reply.
pub fn reply_failed(nonce: &Nonce, failure: &ReplyFailure) -> String {
    let error = match failure {
        ReplyFailure::Error(error) => [r#","error":"#, error].concat(),
        ReplyFailure::Timeout | ReplyFailure::Gone | ReplyFailure::InvalidReply => String::new(),
    };
    let parts = [
        r#"{"op":0,"t":""#,
        REPLY_FAILED,
        r#"","n":"#,
        nonce.json(),
        r#","d":{"code":""#,
        failure.code(),
        "\"",
        &error,
        "}}",
    ];
    parts.concat()
}

/// Builds the event that ends catching up: the client has the `events` that it missed up to `position`.
pub fn caught_up(position: &str, events: u64) -> String {
    event(CAUGHT_UP, &format!(r#"{{"position":"{position}","events":{events}}}"#))
}

/// Builds the event that tells a client that what it missed after `after`, as it was sent, is not known. It receives the
/// events after `position`.
pub fn events_lost(after: &str, position: &str) -> String {
    event(
        EVENTS_LOST,
        &format!(r#"{{"after":{},"position":"{position}"}}"#, quoted(after)),
    )
}

/// What a client is told when it has identified.
#[derive(Debug, Clone, Copy)]
pub struct ConnectSuccess<'a> {
    /// The client's type.
    pub kind: ClientType,
    /// The session's id.
    pub id: SessionId,
    /// The node's name.
    pub node: &'a str,
    /// The interval between heartbeats, in milliseconds.
    pub heartbeat_ms: u64,
    /// The milliseconds until the session ends, if it has a ticket.
    pub expires_in_ms: Option<u64>,
    /// The end of the log, if the client is told its positions.
    pub position: Option<&'a str>,
}

impl ConnectSuccess<'_> {
    /// Builds the answer to a successful identify.
    pub fn payload(&self) -> String {
        let end = self
            .expires_in_ms
            .map_or_else(String::new, |ms| format!(r#","expires_in_ms":{ms}"#));
        let position = self
            .position
            .map_or_else(String::new, |position| format!(r#","position":"{position}""#));
        event(
            &format!("{}{CONNECT_SUCCESS_SUFFIX}", self.kind),
            &format!(
                r#"{{"id":"{}","node":{},"heartbeat":{}{end}{position}}}"#,
                self.id,
                quoted(self.node),
                self.heartbeat_ms
            ),
        )
    }
}

/// The totals over all live bots of an application, which are `d` of a `GLOBAL_GUILD_COUNT`.
///
/// Sums saturate: a total that is far too high merely reflects the reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GuildCount {
    /// The number of distinct guild ids, plus the sum of the reported counts.
    pub guilds: u64,
    /// The number of members of the guilds.
    pub guild_members: u64,
    /// The number of members that bots have cached.
    pub cached_guild_members: u64,
}

impl GuildCount {
    /// The name of the event.
    pub const NAME: &'static str = "GLOBAL_GUILD_COUNT";

    /// Returns the event's data.
    pub fn d(&self) -> String {
        let Self {
            guilds,
            guild_members,
            cached_guild_members,
        } = self;
        format!(r#"{{"guilds":{guilds},"guildMembers":{guild_members},"cachedGuildMembers":{cached_guild_members}}}"#)
    }

    /// Adds two counts field by field.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self {
            guilds: self.guilds.saturating_add(other.guilds),
            guild_members: self.guild_members.saturating_add(other.guild_members),
            cached_guild_members: self.cached_guild_members.saturating_add(other.cached_guild_members),
        }
    }
}

/// Returns `text` as a JSON string.
fn quoted(text: &str) -> String {
    // The fast path: most texts are names of nodes and events, which need no escapes.
    let is_plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
    if text.bytes().all(is_plain) {
        return ["\"", text, "\""].concat();
    }
    serde_json::Value::from(text).to_string()
}

/// Writes all items, separated by commas.
fn join<T>(json: &mut String, items: &[T], mut write: impl FnMut(&T, &mut String)) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        write(item, json);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json, value::RawValue};

    use super::*;
    use crate::v1::RefusalCode;

    fn parsed(json: &str) -> Value {
        serde_json::from_str(json).unwrap()
    }

    fn connect_success(kind: ClientType, id: SessionId, node: &str, heartbeat_ms: u64) -> ConnectSuccess<'_> {
        ConnectSuccess {
            kind,
            id,
            node,
            heartbeat_ms,
            expires_in_ms: None,
            position: None,
        }
    }

    #[test]
    fn quoted_text_is_json() {
        let texts = (0..=0x80).map(|code| format!("a{}b", char::from(code)));
        for text in texts.chain([String::new(), "grüße".to_owned(), "\u{2028}".to_owned()]) {
            assert_eq!(quoted(&text), Value::from(&*text).to_string());
        }
    }

    #[test]
    fn every_payload_is_pinned() {
        assert_eq!(hello(60_000), r#"{"op":5,"d":{"heartbeat":60000,"hearbeat":60000}}"#);
        assert_eq!(HEARTBEAT_ACK, r#"{"op":11}"#);
        assert_eq!(
            event("announce", r#"{"a": [1.0]}"#),
            r#"{"op":0,"t":"announce","d":{"a": [1.0]}}"#
        );
        assert_eq!(
            connect_success(ClientType::Bot, SessionId::from_raw(42), "node \"a\"", 60_000).payload(),
            r#"{"op":0,"t":"bot_connect_success","d":{"id":"42","node":"node \"a\"","heartbeat":60000}}"#
        );
        assert_eq!(
            error(ErrorCode::NoHeartbeat, "No heartbeat.", &[]),
            r#"{"op":-1,"e":4006,"m":"No heartbeat."}"#
        );
        let count = GuildCount {
            guilds: 1000,
            guild_members: 55_555,
            cached_guild_members: 32_000,
        };
        assert_eq!(
            event(GuildCount::NAME, &count.d()),
            r#"{"op":0,"t":"GLOBAL_GUILD_COUNT","d":{"guilds":1000,"guildMembers":55555,"cachedGuildMembers":32000}}"#
        );
    }

    #[test]
    fn a_session_of_a_ticket_knows_its_end_and_its_user_is_shown() {
        assert_eq!(
            ConnectSuccess {
                expires_in_ms: Some(3_600_000),
                ..connect_success(ClientType::Website, SessionId::from_raw(4), "a", 1000)
            }
            .payload(),
            r#"{"op":0,"t":"website_connect_success","d":{"id":"4","node":"a","heartbeat":1000,"expires_in_ms":3600000}}"#
        );
        assert_eq!(
            event_with(
                "chat",
                &EventFields {
                    user: UserId::new("a\"b").as_ref(),
                    ..EventFields::default()
                },
                "{}"
            ),
            r#"{"op":0,"t":"chat","u":"a\"b","d":{}}"#
        );
    }

    #[test]
    fn positions_are_beside_the_data() {
        let position = "00f3a1c29b7d4e55-1042";
        assert_eq!(
            ConnectSuccess {
                position: Some(position),
                ..connect_success(ClientType::Service, SessionId::from_raw(4), "a", 1000)
            }
            .payload(),
            concat!(
                r#"{"op":0,"t":"service_connect_success","#,
                r#""d":{"id":"4","node":"a","heartbeat":1000,"position":"00f3a1c29b7d4e55-1042"}}"#
            )
        );
        assert_eq!(heartbeat_ack_at(position), r#"{"op":11,"p":"00f3a1c29b7d4e55-1042"}"#);
        let at_position = EventFields {
            position: Some(position),
            ..EventFields::default()
        };
        assert_eq!(
            event_with("a", &at_position, "{}"),
            r#"{"op":0,"t":"a","p":"00f3a1c29b7d4e55-1042","d":{}}"#
        );
        let user = UserId::new("7");
        let of_user = EventFields {
            user: user.as_ref(),
            ..at_position
        };
        assert_eq!(
            event_with("a", &of_user, "{}"),
            r#"{"op":0,"t":"a","p":"00f3a1c29b7d4e55-1042","u":"7","d":{}}"#
        );
        assert_eq!(event_with("a", &EventFields::default(), "{}"), event("a", "{}"));
        assert_eq!(
            caught_up(position, 3),
            r#"{"op":0,"t":"caught_up","d":{"position":"00f3a1c29b7d4e55-1042","events":3}}"#
        );
        assert_eq!(
            events_lost("x-1", position),
            r#"{"op":0,"t":"events_lost","d":{"after":"x-1","position":"00f3a1c29b7d4e55-1042"}}"#
        );
    }

    #[test]
    fn a_request_and_its_answers_are_pinned() {
        let fields = EventFields {
            receipt: Some("0f"),
            ..EventFields::default()
        };
        assert_eq!(
            event_with("get", &fields, "{}"),
            r#"{"op":0,"t":"get","r":"0f","d":{}}"#
        );
        let of_job = EventFields {
            attempt: Some(2),
            ..fields
        };
        assert_eq!(
            event_with("get", &of_job, "{}"),
            r#"{"op":0,"t":"get","r":"0f","a":2,"d":{}}"#
        );
        let nonce = Nonce::parse(serde_json::from_str("\"7\"").unwrap()).unwrap();
        assert_eq!(
            reply(&nonce, r#"{"prefix":"!"}"#),
            r#"{"op":0,"t":"reply","n":"7","d":{"prefix":"!"}}"#
        );
        assert_eq!(
            reply_failed(&nonce, &ReplyFailure::Error(r#"{"code":"busy"}"#.into())),
            r#"{"op":0,"t":"reply_failed","n":"7","d":{"code":"error","error":{"code":"busy"}}}"#
        );
        for (failure, code) in [
            (ReplyFailure::Timeout, "timeout"),
            (ReplyFailure::Gone, "gone"),
            (ReplyFailure::InvalidReply, "invalid_reply"),
        ] {
            let expected = json!({"op": 0, "t": "reply_failed", "n": "7", "d": {"code": code}});
            assert_eq!(parsed(&reply_failed(&nonce, &failure)), expected);
        }
    }

    #[test]
    fn an_error_lists_every_problem_with_its_data() {
        let code = ErrorCode::MalformedData;
        let problems = [
            Problem::absent("Type not provided."),
            Problem::absent("Key not provided."),
        ];
        assert_eq!(
            error(code, code.message(), &problems),
            concat!(
                r#"{"op":-1,"e":4005,"m":"Malformed data.","#,
                r#""d":{"errors":["Type not provided.","Key not provided."],"data":[null,null]}}"#,
            )
        );
        let value: &RawValue = serde_json::from_str(r#"[1, {"a":2}]"#).unwrap();
        let problems = [
            Problem::with("A \"quoted\" part.", value),
            Problem::with_str("Unknown event.", "a\"b"),
        ];
        assert_eq!(
            error(code, "m", &problems),
            concat!(
                r#"{"op":-1,"e":4005,"m":"m","#,
                r#""d":{"errors":["A \"quoted\" part.","Unknown event."],"data":[[1, {"a":2}],"a\"b"]}}"#,
            )
        );
    }

    #[test]
    fn answers_carry_the_nonce_as_it_was_sent() {
        let nonce = Nonce::parse(serde_json::from_str(r#""\u0061""#).unwrap()).unwrap();
        assert_eq!(
            accepted(&nonce, r#"{"position":"00f3a1c29b7d4e55-1042"}"#),
            r#"{"op":0,"t":"event_accepted","n":"\u0061","d":{"position":"00f3a1c29b7d4e55-1042"}}"#
        );
        let refusal = Refusal::of(vec![Problem::absent("Guild id not provided.")]);
        assert_eq!(
            refused(Some(&nonce), &refusal),
            concat!(
                r#"{"op":0,"t":"event_refused","n":"\u0061","d":{"code":"invalid_data","message":"Malformed data.","#,
                r#""errors":["Guild id not provided."],"data":[null]}}"#
            )
        );
        for code in RefusalCode::ALL {
            let expected =
                json!({"op": 0, "t": "event_refused", "d": {"code": code.code(), "message": code.message()}});
            assert_eq!(parsed(&refused(None, &code.into())), expected);
        }
    }

    #[test]
    fn sums_saturate() {
        let most = GuildCount {
            guilds: u64::MAX,
            guild_members: 1,
            cached_guild_members: 0,
        };
        let one = GuildCount {
            guilds: 1,
            guild_members: 1,
            cached_guild_members: 1,
        };
        assert_eq!(
            most.saturating_add(one),
            GuildCount {
                guilds: u64::MAX,
                guild_members: 2,
                cached_guild_members: 1
            }
        );
    }

    proptest! {
        #[test]
        fn hello_reads_back(ms: u64) {
            prop_assert_eq!(parsed(&hello(ms)), json!({"op": 5, "d": {"heartbeat": ms, "hearbeat": ms}}));
        }

        #[test]
        fn an_event_reads_back(name: String, text: String, number: i64) {
            let d = json!({"text": text, "number": number});
            let read = parsed(&event(&name, &d.to_string()));
            prop_assert_eq!(read, json!({"op": 0, "t": name, "d": d}));
        }

        #[test]
        fn a_connection_success_reads_back(id: u64, node: String, ms: u64) {
            for kind in ClientType::ALL {
                let read = parsed(&connect_success(kind, SessionId::from_raw(id), &node, ms).payload());
                let d = json!({"id": id.to_string(), "node": node, "heartbeat": ms});
                prop_assert_eq!(read, json!({"op": 0, "t": format!("{kind}_connect_success"), "d": d}));
            }
        }

        #[test]
        fn an_error_reads_back(message: String, list: Vec<(String, Option<String>)>) {
            let problems: Vec<_> = list
                .iter()
                .map(|(error, data)| match data {
                    Some(data) => Problem::with_str(error.clone(), data),
                    None => Problem::absent(error.clone()),
                })
                .collect();
            for code in ErrorCode::ALL {
                let mut expected = json!({"op": -1, "e": code.code(), "m": message});
                if !list.is_empty() {
                    let (errors, data): (Vec<_>, Vec<_>) = list.iter().cloned().unzip();
                    expected["d"] = json!({"errors": errors, "data": data});
                }
                prop_assert_eq!(parsed(&error(code, &message, &problems)), expected);
            }
        }

        #[test]
        fn a_guild_count_reads_back(guilds: u64, guild_members: u64, cached_guild_members: u64) {
            let count = GuildCount { guilds, guild_members, cached_guild_members };
            prop_assert_eq!(serde_json::from_str::<GuildCount>(&count.d()).unwrap(), count);
            prop_assert_eq!(serde_json::to_string(&count).unwrap(), count.d());
        }
    }
}
