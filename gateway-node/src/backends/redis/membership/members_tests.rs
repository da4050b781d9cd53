//! Tests of the order of steps across many sessions.

use shared::{guild::GuildId, v1::ReportedGuilds};

use super::*;
use crate::backends::redis::membership::member::StoredReport;

fn members(sessions: u64) -> Members {
    let members = Members::new(ReportLimits::default());
    for id in 1..=sessions {
        let session = Member::new(ClientType::Bot);
        members.lock().sessions.insert(SessionId::from_raw(id), session);
    }
    members
}

fn report(members: &Members, id: u64, key: &str, guilds: u64) {
    let report = Report {
        guilds: ReportedGuilds::Ids((0..guilds).map(GuildId::from_raw).collect()),
        guild_members: 0,
        cached_guild_members: 0,
        shard: None,
    };
    members.report(SessionId::from_raw(id), &key.into(), report);
}

/// Takes the next steps and confirms the report parts. Returns the sessions of those parts.
fn reporting(members: &Members, now: Instant) -> Vec<u64> {
    let mut state = members.lock();
    let ops = state.next_steps(now, 256, 1);
    let reports = ops.into_iter().filter_map(|op| match op {
        MembershipOp::Report {
            id, report, is_last, ..
        } => Some((id, report, is_last)),
        _ => None,
    });
    let mut ids = Vec::new();
    for (id, report, is_last) in reports {
        ids.push(id.get());
        state.advance(id, |member| {
            if is_last {
                member.sending = None;
                member.stored = StoredReport::Report(Some(report));
            }
        });
    }
    ids
}

#[test]
fn one_part_is_in_flight_and_a_report_completes_before_the_next() {
    let (members, now) = (members(2), Instant::now());
    report(&members, 1, "bot", 150);
    report(&members, 2, "bot", 100);
    let order: Vec<_> = (0..6).flat_map(|_| reporting(&members, now)).collect();
    assert_eq!(order, [1, 1, 1, 2, 2]);
    assert!(members.is_flushed());
}

#[test]
fn cheap_steps_do_not_wait_for_reports() {
    let (members, now) = (members(300), Instant::now());
    for id in 1..=200 {
        report(&members, id, "bot", 1);
    }
    for id in 201..=300 {
        members.leave(SessionId::from_raw(id));
    }
    let ops = members.lock().next_steps(now, 256, 1);
    let leaving = ops.iter().filter(|op| matches!(op, MembershipOp::Leave(..))).count();
    assert_eq!((leaving, ops.len()), (100, 101));
}

#[test]
fn a_report_without_an_allowance_is_retried_when_there_is_one() {
    let (members, now) = (members(3), Instant::now());
    members.lock().rates.charge(&"bot".into(), 30_000, now);
    report(&members, 1, "bot", 10);
    report(&members, 2, "bot", 10);
    report(&members, 3, "other", 10);
    assert_eq!(reporting(&members, now), [3]);
    assert!(!members.is_flushed());
    let next = members.lock().next_wait().expect("both reports wait");
    assert!(reporting(&members, now).is_empty());
    // Newer reports replace the waiting ones.
    report(&members, 1, "bot", 20);
    assert!(reporting(&members, now).is_empty());
    assert_eq!(reporting(&members, next), [1]);
    assert!(reporting(&members, next).is_empty());
    let next = members.lock().next_wait().expect("the second report waits");
    assert_eq!(reporting(&members, next), [2]);
    assert!(members.is_flushed());
    assert_eq!(members.lock().next_wait(), None);
}
