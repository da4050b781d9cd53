//! Version 1 as plain code: what each ending says.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use shared::snowflake::SnowflakeError;
use tokio::time::Instant;

use super::*;
use crate::{config::Settings, events::Events};

fn rules() -> Arc<Rules> {
    let settings = Settings::default();
    let events = Events::new(settings.event_table().unwrap());
    Arc::new(Rules::new(&settings, "node".into(), events))
}

fn connection() -> V1 {
    V1::new(Some("1"), None, rules(), Instant::now())
}

/// The last words of a closing session, and its close code.
fn ending(steps: Steps) -> (Value, u16) {
    let Some(Step::Close { last_words, close, .. }) = steps.into_iter().last() else {
        panic!("the session goes on");
    };
    let words = last_words.map_or(Value::Null, |frame| serde_json::from_slice(&frame[2..]).unwrap());
    (words, close.code)
}

fn error(e: u16, m: &str) -> Value {
    json!({"op": -1, "e": e, "m": m})
}

#[test]
fn each_ending_has_its_words_and_its_close_code() {
    let cases = [
        (Ending::TooSlow, error(1000, "The client reads too slowly."), 1013),
        (
            Ending::Violation(Violation::TooBig),
            error(1000, "Message too big."),
            1009,
        ),
        (
            Ending::Violation(Violation::Protocol("reserved bits")),
            Value::Null,
            1002,
        ),
        (Ending::Violation(Violation::InvalidUtf8), Value::Null, 1007),
        (
            Ending::Farewell(Farewell::Restarting),
            error(1000, "The node is restarting."),
            1012,
        ),
        (
            Ending::Farewell(Farewell::KeyRevoked),
            error(4001, "Wrong auth key."),
            4001,
        ),
        (
            Ending::Farewell(Farewell::Kicked),
            error(1000, "Kicked by an administrator."),
            1008,
        ),
    ];
    for (why, words, code) in cases {
        assert_eq!(ending(connection().end(why, Instant::now())), (words, code), "{why:?}");
    }
}

#[test]
fn an_internal_fault_is_1000_and_never_tells_its_cause() {
    let fault = JoinError::NoId(SnowflakeError::Exhausted);
    let steps = connection().answered(Err(Unwelcome::Cluster(fault)), Instant::now());
    assert_eq!(ending(steps), (error(1000, "Unknown error."), 1011));
}

#[test]
fn an_overloaded_node_says_so() {
    let steps = connection().published("announce".into(), Err(PublishError::Overloaded));
    assert_eq!(ending(steps), (error(1000, "The node is overloaded."), 1013));
}

#[test]
fn nothing_is_said_after_the_end() {
    let mut connection = connection();
    connection.end(Ending::TooSlow, Instant::now());
    let later = Instant::now() + Duration::from_secs(1_000_000);
    assert!(connection.tick(later).is_empty());
    assert!(
        connection
            .receive(Message::Text(r#"{"op":10}"#.into()), later)
            .is_empty()
    );
    assert_eq!(connection.deadline(), None);
}
