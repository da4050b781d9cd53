//! Events for every session of some types, or of a guild.

use super::{BOTH, BOTS, TestRun};
use crate::checker::{ClientKind, Loss, PublishOutcome, Recipients, RecordedEnd};

#[test]
fn a_run_without_faults_is_clean_and_counted() {
    let mut run = TestRun::new();
    let sessions = [
        run.bot(),
        run.session(ClientKind::Website, 0),
        run.session(ClientKind::Service, 0),
    ];
    run.send_many(10, BOTH);
    run.sees(sessions[0], 1..=10);
    run.sees(sessions[1], 1..=10);
    run.assert_clean(0, 0);
    let verdict = run.verdict();
    assert_eq!((verdict.accepted, verdict.deliveries), (10, 20));
}

#[test]
fn missing_events_are_lost_at_a_session_that_stayed() {
    let mut run = TestRun::new();
    let (gap, end, all) = (run.bot(), run.bot(), run.bot());
    run.send_many(5, BOTH);
    run.sees(gap, [1, 2, 4, 5]);
    run.sees(end, [1, 2, 3]);
    run.sees(all, 1..=5);
    run.assert_verdict([3, 0, 0, 0]);
    let nothing = run.bot();
    run.assert_verdict([8, 0, 0, 0]);
    // A session that identified too late is not owed them.
    run.0.sessions[nothing].identified_at = run.at(60);
    run.assert_verdict([3, 0, 0, 0]);
}

#[test]
fn events_sent_before_the_welcome_are_not_due() {
    let mut run = TestRun::new();
    let late = run.session(ClientKind::Bot, 23);
    // The second event is sent before the welcome and accepted after it: receiving it is optional.
    let outcome = run.accepted(25, 20, "one");
    run.send(10, BOTH);
    run.send_from(0, 20, BOTH, outcome);
    run.send(30, BOTH);
    run.sees(late, [3]);
    run.assert_clean(0, 0);
    run.0.sessions[late].received.clear();
    run.sees(late, [2, 3]);
    run.assert_clean(0, 0);
}

#[test]
fn an_ended_session_lost_only_events_between_two_received_ones() {
    let mut run = TestRun::new();
    let (whole, hole) = (run.bot(), run.bot());
    run.send_many(9, BOTH);
    run.sees(whole, 2..=5);
    run.ends(whole, 58, RecordedEnd::Closed(1012));
    run.assert_verdict([9, 0, 0, 0]);
    run.ends(hole, 58, RecordedEnd::Broken);
    run.assert_clean(0, 0);
    run.sees(hole, [2, 3, 5, 6]);
    run.assert_verdict([1, 0, 0, 0]);
}

#[test]
fn each_session_of_a_client_is_checked_on_its_own() {
    let mut run = TestRun::new();
    let (before, after) = (run.bot(), run.session(ClientKind::Bot, 32));
    run.send_many(6, BOTH);
    run.ends(before, 35, RecordedEnd::Closed(1012));
    run.sees(before, [1, 2]);
    run.sees(after, [3, 4, 5, 6]);
    run.assert_clean(0, 0);
    // An event that both sessions receive is not doubled.
    run.sees(before, [3]);
    run.assert_clean(0, 0);
}

#[test]
fn a_repeated_event_is_doubled() {
    let mut run = TestRun::new();
    let bot = run.bot();
    run.send_many(3, BOTH);
    run.sees(bot, [1, 2, 2, 3, 1]);
    run.assert_verdict([0, 2, 0, 0]);
}

#[test]
fn an_event_after_a_later_one_is_reordered() {
    let mut run = TestRun::new();
    let bot = run.bot();
    run.send_many(4, BOTH);
    run.sees(bot, [1, 3, 2, 4]);
    run.assert_verdict([0, 0, 1, 0]);
}

#[test]
fn different_senders_have_no_order() {
    let mut run = TestRun::new();
    let bot = run.bot();
    let other = run.sender(None);
    run.send_many(2, BOTH);
    for n in 1..=2 {
        let outcome = run.accepted(100, 100 + n, "one");
        run.send_from(other, 15, BOTH, outcome);
    }
    run.sees_from(bot, other, [1]);
    run.sees(bot, [1, 2]);
    run.sees_from(bot, other, [2]);
    run.assert_clean(0, 0);
}

#[test]
fn an_event_at_the_wrong_client_is_unauthorised() {
    let mut run = TestRun::new();
    let (bot, website) = (run.bot(), run.session(ClientKind::Website, 0));
    run.send_many(1, BOTS);
    run.sees(bot, [1]);
    run.sees(website, [1]);
    run.assert_verdict([0, 0, 0, 1]);
    // Events that were never sent or have another name are not allowed either.
    run.sees(bot, [0, 2]);
    run.assert_verdict([0, 0, 0, 3]);
    run.0.sessions[bot].received[0].name = "other".into();
    run.assert_verdict([1, 0, 0, 4]);
}

#[test]
fn a_sender_must_not_receive_its_own_event() {
    let mut run = TestRun::new();
    let (website, other) = (run.session(ClientKind::Website, 0), run.session(ClientKind::Website, 0));
    let sender = run.sender(Some(website));
    run.send_from(sender, 10, BOTH, PublishOutcome::Sent);
    run.sees_from(other, sender, [1]);
    run.assert_clean(0, 0);
    run.sees_from(website, sender, [1]);
    run.assert_verdict([0, 0, 0, 1]);
}

#[test]
fn no_session_may_receive_a_refused_event() {
    let mut run = TestRun::new();
    let bot = run.bot();
    run.send_from(0, 10, BOTH, PublishOutcome::Refused);
    run.assert_clean(0, 0);
    assert_eq!(run.verdict().accepted, 0);
    run.sees(bot, [1]);
    run.assert_verdict([0, 0, 0, 1]);
}

#[test]
fn an_event_of_unknown_outcome_may_arrive_at_most_once() {
    let mut run = TestRun::new();
    let (bot, _other) = (run.bot(), run.bot());
    run.send_from(0, 10, BOTH, PublishOutcome::Unknown);
    run.assert_clean(1, 0);
    run.sees(bot, [1]);
    run.assert_clean(0, 0);
    run.sees(bot, [1]);
    run.assert_verdict([0, 1, 0, 0]);
}

#[test]
fn guild_events_are_due_once_the_report_is_in_force() {
    let mut run = TestRun::new();
    let (reporter, early, stranger) = (run.bot(), run.bot(), run.bot());
    run.reports(reporter, 7, Some(15));
    run.reports(early, 7, None);
    run.reports(stranger, 8, Some(0));
    for n in 1..=3 {
        run.send(10 * n, Recipients::Guild(7));
    }
    run.sees(reporter, [2, 3]);
    // A report may be in force before that is known, and an accepted event must reach some session.
    run.assert_verdict([1, 0, 0, 0]);
    run.sees(early, [1, 2, 3]);
    run.assert_clean(0, 0);
    run.0.sessions[reporter].received.pop();
    run.assert_verdict([1, 0, 0, 0]);
    run.sees(stranger, [3]);
    run.assert_verdict([1, 0, 0, 1]);
}

#[test]
fn guild_events_are_not_due_to_a_session_considered_dead() {
    let mut run = TestRun::new();
    let (bot, other) = (run.bot(), run.bot());
    for session in [bot, other] {
        run.reports(session, 7, Some(0));
    }
    for n in 1..=5 {
        run.send(10 * n, Recipients::Guild(7));
    }
    run.sees(other, 1..=5);
    run.sees(bot, [1, 2, 5]);
    run.assert_verdict([2, 0, 0, 0]);
    let absence = run.at(34)..run.at(45);
    run.0.sessions[bot].absences.push(absence);
    run.assert_clean(2, 0);
    // Events for all sessions do not depend on reports.
    run.0.senders[0].events[3].recipients = BOTH;
    run.assert_verdict([1, 0, 0, 0]);
}

#[test]
fn a_guild_event_that_waited_for_a_session_may_arrive_out_of_order() {
    let mut run = TestRun::new();
    let (gone, next) = (run.bot(), run.session(ClientKind::Bot, 35));
    run.reports(gone, 7, Some(0));
    run.reports(next, 7, Some(37));
    run.ends(gone, 15, RecordedEnd::NodeDied);
    run.send(10, Recipients::Guild(7));
    run.send(20, BOTS);
    run.send(40, BOTS);
    // The session is not owed an event that was sent before it identified, and that event may come out of order.
    run.sees(next, [1, 3]);
    run.assert_clean(0, 0);
    run.0.sessions[next].received.clear();
    run.sees(next, [3, 1]);
    run.assert_clean(0, 0);
    // But the event must arrive.
    run.0.sessions[next].received.pop();
    run.assert_verdict([1, 0, 0, 0]);
    // Unless it may have been written to a connection that was already broken.
    run.ends(gone, 15, RecordedEnd::Broken);
    run.assert_clean(1, 0);
}

#[test]
fn only_events_that_nodes_report_as_lost_are_gone() {
    let mut run = TestRun::new();
    let (bot, website) = (run.bot(), run.session(ClientKind::Website, 0));
    run.send_many(5, BOTS);
    let sender = run.sender(Some(website));
    run.send_from(sender, 45, BOTS, PublishOutcome::Sent);
    run.send(60, BOTS);
    run.sees(bot, [1, 2, 3, 6]);
    run.assert_verdict([3, 0, 0, 0]);
    let loss = |epoch: &str, above| Loss {
        epoch: epoch.into(),
        above,
    };
    let gone = |run: &TestRun| (run.verdict().lost, run.verdict().gone, run.verdict().silent);
    // A session that stays open does not know that events were lost.
    run.0.losses = vec![loss("other", 30), loss("one", 60)];
    assert_eq!(gone(&run), (3, 0, 0));
    run.0.losses.push(loss("one", 40));
    assert_eq!(gone(&run), (2, 1, 1));
    run.0.losses.push(loss("one", 30));
    assert_eq!(gone(&run), (1, 2, 2));
    run.0.truncations = vec![run.at(40)..run.at(44)];
    assert_eq!(gone(&run), (1, 2, 2));
    run.0.truncations = vec![run.at(40)..run.at(46)];
    assert_eq!(gone(&run), (0, 3, 3));
    assert!(!run.verdict().is_clean());
    run.ends(bot, 100, RecordedEnd::Closed(1012));
    run.assert_clean(0, 2);
}

#[test]
fn events_of_the_other_side_of_a_split_are_lost_unless_the_session_was_closed() {
    let mut run = TestRun::new();
    let bot = run.bot();
    run.send_many(5, BOTS);
    run.sees(bot, [1, 2, 5]);
    run.assert_verdict([2, 0, 0, 0]);
    run.0.splits = vec![run.at(32)..run.at(41)];
    run.assert_verdict([2, 0, 0, 0]);
    run.ends(bot, 60, RecordedEnd::Closed(1012));
    run.assert_clean(2, 0);
    // Event 3 was answered before the split.
    run.0.splits = vec![run.at(36)..run.at(41)];
    run.assert_verdict([1, 0, 0, 0]);
    // A split does not excuse reordering.
    run.0.sessions[bot].received.reverse();
    assert_eq!(run.verdict().reordered, 2);
}

#[test]
fn a_retried_request_that_redis_lost_may_repeat() {
    let mut run = TestRun::new();
    let bot = run.bot();
    run.send_many(1, BOTS);
    run.sees(bot, [1, 1]);
    run.assert_verdict([0, 1, 0, 0]);
    run.0.truncations = vec![run.at(12)..run.at(13)];
    run.assert_verdict([0, 1, 0, 0]);
    run.0.senders[0].events[0].repeated = true;
    run.assert_clean(1, 0);
    run.0.truncations = vec![run.at(16)..run.at(17)];
    run.assert_verdict([0, 1, 0, 0]);
}

#[test]
fn log_positions_are_unique_and_increase() {
    let mut run = TestRun::new();
    let other = run.sender(None);
    for (sender, offset, epoch) in [(0, 5, "one"), (0, 6, "one"), (other, 4, "one"), (0, 5, "two")] {
        let outcome = run.accepted(20, offset, epoch);
        run.send_from(sender, 10, BOTH, outcome);
    }
    run.assert_clean(0, 0);
    let outcome = run.accepted(20, 4, "two");
    run.send_from(0, 10, BOTH, outcome);
    run.assert_verdict([0, 0, 1, 0]);
    let outcome = run.accepted(20, 5, "one");
    run.send_from(other, 10, BOTH, outcome);
    run.assert_verdict([0, 1, 1, 0]);
}

#[test]
fn only_the_first_problems_are_described() {
    let mut run = TestRun::new();
    run.bot();
    run.send_many(100, BOTH);
    let verdict = run.verdict();
    assert_eq!((verdict.lost, verdict.problems.len()), (100, 20));
    let first = "lost: event 1 of sender 0 (announce, sent at 0.010 s, offset 10 of epoch one) at bot 0";
    assert_eq!(verdict.problems[0], first);
}

#[test]
fn events_for_watchers_are_due_at_websites_that_watch_the_guild() {
    let mut run = TestRun::new();
    let (watching, other, bot) = (
        run.session(ClientKind::Website, 0),
        run.session(ClientKind::Website, 0),
        run.bot(),
    );
    run.reports(watching, 7, Some(0));
    run.reports(other, 8, Some(0));
    run.reports(bot, 7, Some(0));
    run.send_many(3, Recipients::Watchers(7));
    run.sees(watching, 1..=3);
    run.assert_clean(0, 0);
    // They are never appended again, so neither a repetition nor a late one is excused.
    run.sees(watching, [2]);
    run.assert_verdict([0, 1, 0, 0]);
    run.0.sessions[watching].received.clear();
    run.sees(watching, [1, 3, 2]);
    run.assert_verdict([0, 0, 1, 0]);
    run.0.sessions[watching].received.clear();
    run.sees(watching, [1, 3]);
    run.sees(other, [1]);
    run.sees(bot, [1]);
    run.assert_verdict([1, 0, 0, 2]);
}
