//! The v1 state machine: how each session ends.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use shared::{snowflake::SnowflakeError, v1::Scope};
use tokio::time::Instant;

use super::{answering::MOST_UNANSWERED, keep_alive::PING, *};
use crate::{
    backplane::{JoinError, Published},
    config::Settings,
    events::Events,
};

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
    (last_words.as_ref().map_or(Value::Null, payload_of), close.code)
}

fn payload_of(frame: &Bytes) -> Value {
    let head = if frame[1] < 126 { 2 } else { 4 };
    serde_json::from_slice(&frame[head..]).unwrap()
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
    let actions = connection().on_result(
        V1CallResult::Joined(Err(V1IdentifyError::Cluster(fault))),
        &Cx::at(Instant::now()),
    );
    assert_eq!(ending(actions), (error(1000, "Unknown error."), 1011));
}

#[test]
fn an_overloaded_node_closes_with_1013() {
    let actions = connection().published("announce", 0, Err(PublishError::Overloaded));
    assert_eq!(ending(actions), (error(1000, "The node is overloaded."), 1013));
}

#[test]
fn without_redis_a_client_gets_1013() {
    let unavailable = (error(1000, "Redis is unavailable."), 1013);
    let away = Err(V1IdentifyError::Cluster(JoinError::Unavailable));
    assert_eq!(
        ending(connection().on_result(V1CallResult::Joined(away), &Cx::at(Instant::now()))),
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
        assert_eq!(ending(connection().published("announce", 0, Err(error))), unavailable);
    }
}

/// The payloads that a session sends.
fn sent(actions: V1Actions) -> Vec<Value> {
    let payload = |action| match action {
        Action::Send(frame) | Action::Heartbeat(frame) => Some(payload_of(&frame)),
        Action::Close { .. } => panic!("the session ends"),
        _ => None,
    };
    actions.into_iter().filter_map(payload).collect()
}

fn refused(n: Option<u64>, code: RefusalCode) -> Value {
    let mut payload = json!({"op": 0, "t": "event_refused", "d": {"code": code.code(), "message": code.message()}});
    if let Some(n) = n {
        payload["n"] = n.into();
    }
    payload
}

#[test]
fn an_event_without_a_receiver_does_not_end_the_session() {
    let error = || Err(PublishError::NoReceiver { index: 0 });
    let mut expected = refused(None, RefusalCode::NoReceiver);
    expected["d"]["errors"] = json!(["No receiver."]);
    expected["d"]["data"] = json!(["announce"]);
    assert_eq!(sent(connection().published("announce", 0, error())), [expected]);
}

/// Creates the session of an identified website.
fn website() -> V1 {
    let mut connection = connection();
    let key = crate::config::KeySettings::development(crate::config::Secret::from("s".repeat(32)));
    let identified = Identified {
        id: shared::session_id::SessionId::from_raw(1),
        kind: ClientType::Website,
        key: Arc::new(crate::auth::Key::new(&key).unwrap()),
        since: Position {
            offset: 0,
            epoch: crate::backplane::Epoch::from_raw(1),
        },
        counts: payload::GuildCount::default(),
        scope: Scope::default(),
        ticket: None,
    };
    connection.on_result(V1CallResult::Joined(Ok(identified)), &Cx::at(Instant::now()));
    connection
}

fn receive(session: &mut V1, text: &str) -> V1Actions {
    session.receive(Message::Text(text.into()), &Cx::at(Instant::now()))
}

#[test]
fn every_outcome_of_an_event_is_answered_in_the_order_of_the_events() {
    let mut website = website();
    let outcomes = [
        (Ok(()), None),
        (
            Err(PublishError::NoReceiver { index: 0 }),
            Some(RefusalCode::NoReceiver),
        ),
        (Err(PublishError::Overloaded), Some(RefusalCode::Overloaded)),
        (Err(PublishError::Unavailable), Some(RefusalCode::Unavailable)),
        (Err(PublishError::Expired), Some(RefusalCode::Unavailable)),
        (Err(PublishError::Unknown), Some(RefusalCode::Unknown)),
        (Err(PublishError::KeyReused), Some(RefusalCode::IdempotencyKeyReused)),
    ];
    for n in 0..outcomes.len() {
        let event = format!(r#"{{"op":1,"t":"announce","n":{n},"d":{{}}}}"#);
        let actions = receive(&mut website, &event);
        assert!(matches!(&actions[..], [Action::Count, Action::Publish { number, .. }] if *number == n as u64 + 1));
    }
    // A faulty packet waits for the answers to those before it.
    assert_eq!(sent(receive(&mut website, r#"{"op":1,"n":7}"#)), Vec::<Value>::new());
    let position = |offset| Position {
        offset,
        epoch: crate::backplane::Epoch::from_raw(0xabc),
    };
    let mut answers = Vec::new();
    for (n, (outcome, _)) in (1..8_u32).zip(outcomes.clone()).rev() {
        answers.extend(sent(website.published(
            "announce",
            n.into(),
            outcome.map(|()| Published::At(position(n.into()))),
        )));
        assert_eq!(answers.is_empty(), n > 1);
    }
    assert_eq!(
        answers[0],
        json!({"op": 0, "t": "event_accepted", "n": 0, "d": {"position": "0000000000000abc-1"}})
    );
    for (n, (answer, (_, code))) in answers.iter().zip(outcomes).enumerate() {
        let code = code.map_or(Value::Null, |code| code.code().into());
        assert_eq!((&answer["n"], &answer["d"]["code"]), (&n.into(), &code));
    }
    assert_eq!(
        (&answers[7]["n"], &answers[7]["d"]["code"]),
        (&7.into(), &"malformed".into())
    );
}

#[test]
fn a_key_used_for_another_event_is_malformed_data_without_a_nonce() {
    let (ending, close) = ending(connection().published("announce", 0, Err(PublishError::KeyReused)));
    assert_eq!((&ending["e"], close), (&4005.into(), 4005));
    assert_eq!(ending["d"]["data"], json!(["announce"]));
}

#[test]
fn a_client_that_is_owed_many_answers_is_read_slowly() {
    let mut website = website();
    let is_slowed = |actions: &V1Actions| matches!(actions.last(), Some(Action::StopReading { .. }));
    for _ in 1..MOST_UNANSWERED {
        website.payloads = TokenBucket::per_minute(9);
        assert!(!is_slowed(&receive(
            &mut website,
            r#"{"op":1,"t":"announce","n":1,"d":{}}"#
        )));
    }
    assert!(is_slowed(&receive(
        &mut website,
        r#"{"op":1,"t":"announce","n":1,"d":{}}"#
    )));
    assert!(is_slowed(&receive(&mut website, r#"{"op":1,"n":1}"#)));
}

#[test]
fn a_ping_is_sent_when_nothing_else_was() {
    let (settings, now) = (settings(), Instant::now());
    let interval = settings.ping_interval.unwrap();
    let mut connection = V1::new(Some("1"), None, Rc::clone(&settings), now);
    assert_eq!(connection.deadline(), Some(now + interval));
    assert!(connection.tick(&Cx::at(now + interval / 2)).is_empty());
    let pinged = connection.tick(&Cx::at(now + interval));
    assert!(matches!(&pinged[..], [Action::Send(frame)] if *frame == PING));
    assert!(connection.tick(&Cx::at(now + interval)).is_empty());
    // The next deadline is that of the identify.
    assert_eq!(connection.deadline(), Some(now + settings.identify_timeout));
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
    assert!(matches!(actions[..], [Action::Count, Action::Heartbeat(_)]));
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
    let ping_at = connection.deadline().expect("a deadline should be set");
    connection.tick(&Cx::at(ping_at));
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
