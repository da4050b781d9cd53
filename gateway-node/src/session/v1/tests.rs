//! The v1 state machine: how each session ends.

use std::time::Duration;

use serde_json::{Value, json};
use shared::snowflake::SnowflakeError;
use tokio::time::Instant;

use super::*;
use crate::{config::Settings, events::Events};

fn settings() -> Rc<V1SessionSettings> {
    let settings = Settings::default();
    let events = Events::new(settings.event_table().unwrap());
    Rc::new(V1SessionSettings::new(&settings, "node".into(), &events))
}

fn connection() -> V1 {
    V1::new(Some("1"), None, settings(), Instant::now())
}

/// Returns the last payload of a closing session, and its close code.
fn ending(actions: V1Actions) -> (Value, u16) {
    let Some(Action::Close { last_words, close, .. }) = actions.into_iter().last() else {
        panic!("the session does not end");
    };
    let words = last_words.map_or(Value::Null, |frame| serde_json::from_slice(&frame[2..]).unwrap());
    (words, close.code)
}

fn error(e: u16, m: &str) -> Value {
    json!({"op": -1, "e": e, "m": m})
}

#[test]
fn each_ending_has_its_error_and_close_code() {
    let cases = [
        (SessionEnd::TooSlow, error(1000, "The client reads too slowly."), 1013),
        (
            SessionEnd::Violation(Violation::TooBig),
            error(1000, "Message too big."),
            1009,
        ),
        (
            SessionEnd::Violation(Violation::Protocol("reserved bits")),
            Value::Null,
            1002,
        ),
        (SessionEnd::Violation(Violation::InvalidUtf8), Value::Null, 1007),
        (
            SessionEnd::ByNode(EndReason::Restarting),
            error(1000, "The node is restarting."),
            1012,
        ),
        (
            SessionEnd::ByNode(EndReason::KeyRevoked),
            error(4001, "Wrong auth key."),
            4001,
        ),
        (
            SessionEnd::ByNode(EndReason::Kicked),
            error(1000, "Kicked by an administrator."),
            1008,
        ),
    ];
    for (why, words, code) in cases {
        assert_eq!(
            ending(connection().end(why, &Cx::at(Instant::now()))),
            (words, code),
            "{why:?}"
        );
    }
}

#[test]
fn an_internal_fault_closes_with_1011_without_its_cause() {
    let fault = JoinError::NoId(SnowflakeError::Exhausted);
    let actions = connection().on_result(Err(V1IdentifyError::Cluster(fault)), &Cx::at(Instant::now()));
    assert_eq!(ending(actions), (error(1000, "Unknown error."), 1011));
}

#[test]
fn an_overloaded_node_closes_with_1013() {
    let actions = connection().published("announce".into(), Err(PublishError::Overloaded));
    assert_eq!(ending(actions), (error(1000, "The node is overloaded."), 1013));
}

#[test]
fn without_redis_a_client_gets_1013() {
    let unavailable = (error(1000, "Redis is unavailable."), 1013);
    let away = Err(V1IdentifyError::Cluster(JoinError::Unavailable));
    assert_eq!(
        ending(connection().on_result(away, &Cx::at(Instant::now()))),
        unavailable
    );
    let refused = PublishError::Refused {
        cause: "out of memory".into(),
    };
    for error in [
        PublishError::Unavailable,
        PublishError::Expired,
        PublishError::Unknown,
        refused,
    ] {
        assert_eq!(
            ending(connection().published("announce".into(), Err(error))),
            unavailable
        );
    }
}

#[test]
fn an_ended_session_sends_nothing() {
    let mut connection = connection();
    connection.end(SessionEnd::TooSlow, &Cx::at(Instant::now()));
    let later = Instant::now() + Duration::from_secs(1_000_000);
    assert!(connection.tick(&Cx::at(later)).is_empty());
    assert!(
        connection
            .receive(Message::Text(r#"{"op":10}"#.into()), &Cx::at(later))
            .is_empty()
    );
    assert_eq!(connection.deadline(), None);
}

/// Creates a connection with zlib compression.
fn zlib_connection(now: Instant) -> V1 {
    V1::new(Some("1"), Some("zlib"), settings(), now)
}

fn junk(bytes: usize) -> Message {
    Message::Binary(shared::compression::deflate(
        &vec![b' '; bytes],
        shared::compression::Level::default(),
    ))
}

fn identify() -> Message {
    Message::Text(r#"{"op":1,"t":"identify","d":{"type":"bot","key":"bot.key"}}"#.into())
}

fn pause(actions: &V1Actions) -> Option<Instant> {
    actions.iter().find_map(|action| match action {
        Action::StopReading { until } => Some(*until),
        _ => None,
    })
}

#[test]
fn bytes_before_identify_are_counted_inflated_and_throttled() {
    let now = Instant::now();
    let mut connection = zlib_connection(now);
    for _ in 0..3 {
        assert_eq!(pause(&connection.receive(junk(65_536), &Cx::at(now))), None);
    }
    // 256 KiB are used up. One byte is refilled in less than a millisecond.
    let until = pause(&connection.receive(junk(65_536), &Cx::at(now))).expect("reading should pause");
    assert!(until - now <= Duration::from_millis(1), "{:?}", until - now);
    // One packet below zero: refilling 64 KiB takes four seconds.
    let until = pause(&connection.receive(junk(65_536), &Cx::at(now))).expect("reading should pause");
    assert_eq!((until - now).as_secs(), 4);
    let actions = connection.receive(identify(), &Cx::at(until));
    assert!(
        matches!(actions[..], [Action::Count, Action::Call(_)]),
        "{} steps",
        actions.len()
    );
}

#[test]
fn a_corrupt_packet_is_charged_its_inflated_part() {
    let now = Instant::now();
    let mut connection = zlib_connection(now);
    let Message::Binary(packet) = junk(65_536) else {
        unreachable!()
    };
    let mut broken = packet.to_vec();
    *broken.last_mut().unwrap() ^= 1;
    let pauses =
        (0..5).filter_map(|_| pause(&connection.receive(Message::Binary(broken.clone().into()), &Cx::at(now))));
    assert_eq!(pauses.count(), 2);
}

#[test]
fn two_hundred_kib_of_junk_do_not_delay_an_identify() {
    let now = Instant::now();
    let mut connection = zlib_connection(now);
    for _ in 0..200 {
        assert_eq!(pause(&connection.receive(junk(1024), &Cx::at(now))), None);
    }
    let actions = connection.receive(identify(), &Cx::at(now));
    assert!(matches!(actions[..], [Action::Count, Action::Call(_)]));
}

#[test]
fn dropped_packets_count_against_the_payload_rate_and_never_close() {
    let now = Instant::now();
    let mut connection = connection();
    connection.phase = V1Phase::Identified(ClientType::Bot);
    let junk = || Message::Text("junk".into());
    for _ in 0..1199 {
        assert_eq!(pause(&connection.receive(junk(), &Cx::at(now))), None);
    }
    let until = pause(&connection.receive(junk(), &Cx::at(now))).expect("reading should pause");
    // 1,200 per minute are one every 50 ms.
    assert_eq!((until - now).as_millis(), 50);
    let actions = connection.receive(junk(), &Cx::at(until));
    assert!(matches!(
        actions[..],
        [Action::Drop("not_json"), Action::StopReading { .. }]
    ));
    // A valid payload is answered as soon as it is read.
    let until = pause(&actions).expect("reading should pause");
    let actions = connection.receive(Message::Text(r#"{"op":10}"#.into()), &Cx::at(until));
    assert!(matches!(actions[..], [Action::Count, Action::Send(_)]));
    // A second one is too fast and closes the connection.
    assert_eq!(
        ending(connection.receive(Message::Text(r#"{"op":10}"#.into()), &Cx::at(until))),
        (error(1000, "Rate limit exceeded."), 1008)
    );
}

#[test]
fn ignored_packets_before_identify_count_against_the_payload_rate() {
    let now = Instant::now();
    let mut connection = connection();
    let ignored = || Message::Text(r#"{"op":7}"#.into());
    let pauses = (0..1200).filter_map(|_| pause(&connection.receive(ignored(), &Cx::at(now))));
    assert_eq!(pauses.count(), 1);
}

#[test]
fn an_unread_client_is_still_ended_by_its_deadlines() {
    let now = Instant::now();
    let mut connection = zlib_connection(now);
    for _ in 0..20 {
        connection.receive(junk(65_536), &Cx::at(now));
    }
    let deadline = connection.deadline().expect("a deadline should be set");
    assert_eq!(deadline, now + connection.settings.identify_timeout);
    assert_eq!(ending_code(connection.tick(&Cx::at(deadline))), 4007);
}

fn ending_code(actions: V1Actions) -> u16 {
    match actions.into_iter().last() {
        Some(Action::Close { close, .. }) => close.code,
        _ => panic!("the session does not end"),
    }
}
