//! Events for exactly one session.

use super::{BOTS, ONE, TestRun};
use crate::checker::{Loss, RecordedEnd};

#[test]
fn an_event_for_one_without_a_receiver_is_lost() {
    let mut run = TestRun::new();
    let (first, second) = (run.bot(), run.bot());
    run.send_many(2, ONE);
    run.sees(first, [1]);
    run.sees(second, [2]);
    run.assert_clean(0, 0);
    run.0.sessions[second].received.clear();
    run.assert_verdict([1, 0, 0, 0]);
}

#[test]
fn an_event_for_one_may_end_with_the_session_it_was_in_flight_to() {
    let mut run = TestRun::new();
    let (ended, _other) = (run.bot(), run.bot());
    run.send(100, ONE);
    for how in [RecordedEnd::Closed(1012), RecordedEnd::Broken] {
        run.ends(ended, 101, how);
        run.assert_clean(1, 0);
    }
    // A session that was closed before an event was sent cannot have taken it along.
    run.ends(ended, 90, RecordedEnd::Closed(1012));
    run.assert_verdict([1, 0, 0, 0]);
    // What a node had not delivered when it died goes to other sessions, or waits for one.
    run.ends(ended, 101, RecordedEnd::NodeDied);
    run.assert_verdict([1, 0, 0, 0]);
    // A node that has not noticed a broken connection may still write to it.
    run.ends(ended, 90, RecordedEnd::Broken);
    run.assert_clean(1, 0);
    // A session that identified only after the event was accepted is no excuse either.
    run.0.sessions[ended].identified_at = run.at(200);
    run.ends(ended, 201, RecordedEnd::Broken);
    run.assert_verdict([1, 0, 0, 0]);
}

#[test]
fn a_session_that_received_a_later_event_is_no_excuse() {
    let mut run = TestRun::new();
    let ended = run.bot();
    run.send(100, ONE);
    run.send(110, BOTS);
    run.ends(ended, 130, RecordedEnd::Broken);
    run.assert_clean(1, 0);
    run.sees(ended, [2]);
    run.assert_verdict([1, 0, 0, 0]);
    // An event of another sender counts too, if it was sent after the first was accepted.
    run.0.sessions[ended].received.clear();
    let other = run.sender(None);
    for (number, sent) in [(1, 104), (2, 107)] {
        let outcome = run.accepted(120, sent, "one");
        run.send_from(other, sent, BOTS, outcome);
        run.sees_from(ended, other, [number]);
        run.assert_verdict([u64::from(sent == 107), 0, 0, 0]);
    }
}

#[test]
fn an_event_for_one_at_two_sessions_is_doubled() {
    let mut run = TestRun::new();
    let (first, second) = (run.bot(), run.bot());
    run.send_many(1, ONE);
    run.sees(first, [1]);
    run.sees(second, [1]);
    run.assert_verdict([0, 1, 0, 0]);
    run.ends(first, 100, RecordedEnd::Broken);
    run.assert_verdict([0, 1, 0, 0]);
    // Unless the node of one session died before it could record the delivery.
    run.ends(first, 100, RecordedEnd::NodeDied);
    run.assert_clean(1, 0);
}

#[test]
fn a_redelivered_event_for_one_may_be_late() {
    let mut run = TestRun::new();
    let (ended, other) = (run.bot(), run.bot());
    run.send(10, ONE);
    run.send(20, ONE);
    run.sees(other, [2, 1]);
    run.assert_verdict([0, 0, 1, 0]);
    run.ends(ended, 12, RecordedEnd::Broken);
    run.assert_clean(0, 0);
    // Neither that session nor the events that follow are reordered by it.
    for n in 3..=5 {
        run.send(10 * n, BOTS);
    }
    run.0.sessions[other].received.clear();
    run.sees(other, [2, 3, 4, 1, 5]);
    run.assert_clean(0, 0);
}

#[test]
fn an_event_for_one_held_by_a_stopped_node_may_be_late() {
    let mut run = TestRun::new();
    let (paused, other) = (run.bot(), run.bot());
    run.send(10, ONE);
    run.send(20, ONE);
    run.sees(other, [2, 1]);
    run.assert_verdict([0, 0, 1, 0]);
    let absence = run.at(5)..run.at(50);
    run.0.sessions[paused].absences.push(absence);
    run.assert_clean(0, 0);
}

#[test]
fn an_event_for_one_can_be_gone() {
    let mut run = TestRun::new();
    run.bot();
    run.send_many(1, ONE);
    run.0.losses.push(Loss {
        epoch: "one".into(),
        above: 9,
    });
    run.assert_clean(0, 1);
}

#[test]
fn a_lost_delivery_record_excuses_a_second_delivery() {
    let mut run = TestRun::new();
    let (first, second) = (run.bot(), run.bot());
    run.send_many(1, ONE);
    run.sees(first, [1]);
    run.sees(second, [1]);
    // The event was sent at 10 ms and answered at 15 ms.
    for (time, is_excused) in [
        ((5, 12), true),
        ((900, 950), true),
        ((1016, 1100), false),
        ((2, 9), false),
    ] {
        let time = run.at(time.0)..run.at(time.1);
        for (splits, truncations) in [(vec![time.clone()], Vec::new()), (Vec::new(), vec![time])] {
            (run.0.splits, run.0.truncations) = (splits, truncations);
            if is_excused {
                run.assert_clean(1, 0);
            } else {
                run.assert_verdict([0, 1, 0, 0]);
            }
        }
    }
}
