//! Discord sessions: contiguous sequence numbers, every event once, and op 9 only with a reason.

use std::time::Duration;

use super::TestRun;
use crate::checker::{DiscordSession, Loss, PublishOutcome, Reach, Receipt, ReceivedDispatch, Recipients};

/// Recipients of an event that only Discord sessions receive.
const NO_OTHERS: Recipients = Recipients::All(&[]);
/// A guild that is in shard 0, whatever the number of shards.
const HERE: Reach = Reach::Guild(0);

impl TestRun {
    /// Adds a session of shard 0 of 2 that has the intent for messages and has received Ready.
    fn shard(&mut self, ready: u64) -> usize {
        self.0.discord.push(DiscordSession {
            label: format!("shard {}", self.0.discord.len()),
            shard: [0, 2],
            takes_messages: true,
            ready_at: self.at(ready),
            invalid_at: None,
            dispatches: vec![ReceivedDispatch { s: 1, receipt: None }],
        });
        self.0.discord.len() - 1
    }

    /// Sends `count` events from sender 0, one every 10 ms, the first at 10 ms.
    fn reach_many(&mut self, count: u64, reach: Reach) {
        self.send_many(count, NO_OTHERS);
        let events = &mut self.0.senders[0].events;
        let first = events.len() - usize::try_from(count).unwrap();
        for event in &mut events[first..] {
            event.reach = reach;
        }
    }

    /// Gives a session a dispatch with this sequence number: the event `number`, or for 0 one that is not an event of
    /// the run.
    fn gets_under(&mut self, session: usize, s: u64, number: u64) {
        let receipt = (number > 0).then(|| Receipt {
            sender: 0,
            number,
            name: "announce".into(),
            at: self.at(10 * number + 6),
        });
        self.0.discord[session].dispatches.push(ReceivedDispatch { s, receipt });
    }

    /// Like [`Self::gets_under`], with the next sequence numbers.
    fn gets(&mut self, session: usize, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            let s = self.0.discord[session].dispatches.last().unwrap().s + 1;
            self.gets_under(session, s, number);
        }
    }

    fn invalidates(&mut self, session: usize, ms: u64) {
        self.0.discord[session].invalid_at = Some(self.at(ms));
    }

    /// Asserts that there are this many jumps and this many sessions that ended without a reason, and no other fault.
    fn assert_discord_verdict(&self, jumps: u64, refused: u64) {
        let verdict = self.verdict();
        assert_eq!((verdict.jumps, verdict.refused), (jumps, refused), "{verdict}");
        assert_eq!(verdict.is_clean(), (jumps, refused) == (0, 0), "{verdict}");
        assert_eq!(verdict.problems.len() as u64, jumps + refused, "{verdict}");
    }
}

#[test]
fn a_complete_session_with_contiguous_numbers_is_clean() {
    let mut run = TestRun::new();
    let shard = run.shard(0);
    run.reach_many(5, HERE);
    // Resumed and the answers to requests take sequence numbers too.
    run.gets(shard, [1, 2, 0, 3, 0, 4, 5]);
    run.assert_clean(0, 0);
    assert_eq!(run.verdict().deliveries, 5);
}

#[test]
fn a_missing_event_is_lost_at_any_position() {
    for numbers in [vec![2, 3, 4, 5], vec![1, 2, 4, 5], vec![1, 2, 3, 4], vec![]] {
        let mut run = TestRun::new();
        let shard = run.shard(0);
        run.reach_many(5, HERE);
        let lost = 5 - numbers.len() as u64;
        run.gets(shard, numbers);
        run.assert_verdict([lost, 0, 0, 0]);
    }
}

#[test]
fn events_sent_before_ready_are_not_due() {
    let mut run = TestRun::new();
    let shard = run.shard(23);
    run.reach_many(4, HERE);
    run.gets(shard, [3, 4]);
    run.assert_clean(0, 0);
    let mut early = TestRun::new();
    let shard = early.shard(23);
    early.reach_many(4, HERE);
    early.gets(shard, [1, 3, 4]);
    early.assert_verdict([1, 0, 0, 0]);
}

#[test]
fn a_repeated_event_is_doubled_under_any_number() {
    let mut run = TestRun::new();
    let shard = run.shard(0);
    run.reach_many(3, HERE);
    run.gets(shard, [1, 2, 2, 3, 1]);
    run.assert_verdict([0, 2, 0, 0]);
}

#[test]
fn an_event_after_a_later_one_is_reordered() {
    let mut run = TestRun::new();
    let shard = run.shard(0);
    run.reach_many(4, HERE);
    run.gets(shard, [1, 3, 2, 4]);
    run.assert_verdict([0, 0, 1, 0]);
}

#[test]
fn a_number_that_does_not_follow_is_a_jump() {
    for (second, jumps) in [(4, 1), (2, 1), (1, 1), (3, 0)] {
        let mut run = TestRun::new();
        let shard = run.shard(0);
        run.reach_many(2, HERE);
        run.gets(shard, [1]);
        run.gets_under(shard, second, 2);
        run.assert_discord_verdict(jumps, 0);
    }
    let mut run = TestRun::new();
    let shard = run.shard(0);
    run.0.discord[shard].dispatches[0].s = 2;
    run.assert_discord_verdict(1, 0);
}

#[test]
fn shard_and_intents_decide_what_a_session_may_receive() {
    let other = 1 << 22;
    for (reach, is_for_it) in [
        (Reach::Guild(0), true),
        (Reach::Guild(2 << 22), true),
        (Reach::Guild(other), false),
        (Reach::Message(0), true),
        (Reach::Message(other), false),
        (Reach::Shard([0, 2]), true),
        (Reach::Shard([0, 1]), false),
        (Reach::Nobody, false),
    ] {
        let mut run = TestRun::new();
        let shard = run.shard(0);
        run.reach_many(1, reach);
        run.assert_verdict([u64::from(is_for_it), 0, 0, 0]);
        run.gets(shard, [1]);
        run.assert_verdict([0, 0, 0, u64::from(!is_for_it)]);
    }
    let mut run = TestRun::new();
    let shard = run.shard(0);
    run.0.discord[shard].takes_messages = false;
    run.reach_many(1, Reach::Message(0));
    run.assert_clean(0, 0);
    // Events that were never sent or were refused are not allowed either.
    run.gets(shard, [1, 2]);
    run.assert_verdict([0, 0, 0, 2]);
    let mut run = TestRun::new();
    let shard = run.shard(0);
    run.reach_many(1, HERE);
    run.0.senders[0].events[0].outcome = PublishOutcome::Refused;
    run.assert_clean(0, 0);
    run.gets(shard, [1]);
    run.assert_verdict([0, 0, 0, 1]);
}

#[test]
fn op_9_needs_a_reason() {
    let mut run = TestRun::new();
    let shard = run.shard(0);
    run.invalidates(shard, 50);
    run.assert_discord_verdict(0, 1);
    run.0.may_invalidate_from = Some(run.at(60));
    run.assert_discord_verdict(0, 1);
    run.0.may_invalidate_from = Some(run.at(40));
    run.assert_discord_verdict(0, 0);
    assert_eq!(run.verdict().invalid, 1);
}

#[test]
fn op_9_excuses_only_events_that_would_have_followed() {
    let mut run = TestRun::new();
    run.0.may_invalidate_from = Some(run.0.began);
    let (ended, hole, next) = (run.shard(0), run.shard(0), run.shard(55));
    run.reach_many(9, HERE);
    for (session, numbers) in [(ended, vec![1, 2]), (hole, vec![1, 3]), (next, vec![6, 7, 8, 9])] {
        run.gets(session, numbers);
    }
    run.invalidates(ended, 52);
    run.invalidates(hole, 52);
    run.assert_verdict([1, 0, 0, 0]);
    // The next session is checked on its own, and its client does not know that events are missing.
    run.0.discord[next].dispatches.truncate(3);
    run.assert_verdict([3, 0, 0, 0]);
}

#[test]
fn events_accepted_before_a_received_one_are_due_from_every_sender() {
    let mut run = TestRun::new();
    run.0.may_invalidate_from = Some(run.0.began);
    let shard = run.shard(0);
    run.reach_many(1, HERE);
    let other = run.sender(None);
    let outcome = run.accepted(40, 30, "one");
    run.send_from(other, 30, NO_OTHERS, outcome);
    run.0.senders[other].events[0].reach = HERE;
    run.invalidates(shard, 60);
    let receipt = Receipt {
        sender: other,
        number: 1,
        name: "announce".into(),
        at: run.at(45),
    };
    run.0.discord[shard].dispatches.push(ReceivedDispatch {
        s: 2,
        receipt: Some(receipt),
    });
    run.assert_verdict([1, 0, 0, 0]);
    // If both were in flight together, either may come first.
    run.0.senders[0].events[0].outcome = run.accepted(35, 29, "one");
    run.assert_clean(0, 0);
}

#[test]
fn events_lost_by_redis_are_excused_if_the_session_ends() {
    let mut run = TestRun::new();
    let shard = run.shard(0);
    run.0.may_invalidate_from = Some(run.at(35));
    run.0.losses.push(Loss {
        epoch: "one".into(),
        above: 25,
    });
    run.reach_many(3, HERE);
    run.gets(shard, [1, 2]);
    let verdict = run.verdict();
    assert_eq!((verdict.gone, verdict.silent), (1, 1), "{verdict}");
    assert!(!verdict.is_clean());
    run.invalidates(shard, 40);
    run.assert_clean(0, 0);
}

#[test]
fn events_of_the_other_side_of_a_split_are_excused_if_the_session_ends() {
    let mut run = TestRun::new();
    let shard = run.shard(0);
    run.0.may_invalidate_from = Some(run.at(30));
    run.reach_many(4, HERE);
    run.gets(shard, [1, 2, 4]);
    run.0.splits = vec![run.at(28)..run.at(45)];
    run.assert_verdict([1, 0, 0, 0]);
    run.invalidates(shard, 60);
    run.assert_clean(1, 0);
    run.0.splits.clear();
    run.assert_verdict([1, 0, 0, 0]);
}

#[test]
fn a_retried_event_that_redis_lost_may_repeat() {
    let mut run = TestRun::new();
    let shard = run.shard(0);
    run.reach_many(1, HERE);
    run.gets(shard, [1, 1]);
    run.assert_verdict([0, 1, 0, 0]);
    run.0.senders[0].events[0].repeated = true;
    let truncation = run.0.began..run.0.began + Duration::from_millis(20);
    run.0.truncations.push(truncation);
    run.assert_clean(1, 0);
}
