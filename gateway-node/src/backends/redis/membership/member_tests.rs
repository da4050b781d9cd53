//! Tests of how a session's report is sent to Redis.

use std::time::Duration;

use shared::{guild::GuildId, v1::ReportedGuilds};

use super::*;
use crate::backplane::ReportLimits;

const ID: SessionId = SessionId::from_raw(7);

fn rates() -> ReportRates {
    ReportRates::new(ReportLimits {
        ids_per_second: 100,
        ids_burst: 1000,
    })
}

fn report(guilds: std::ops::Range<u64>) -> Report {
    Report {
        guilds: ReportedGuilds::Ids(guilds.map(GuildId::from_raw).collect()),
        guild_members: 0,
        cached_guild_members: 0,
        shard: None,
    }
}

fn member() -> Member {
    Member::new(ClientType::Bot)
}

fn wants(member: &mut Member, guilds: std::ops::Range<u64>) {
    member.desired = Some(Desired {
        report: Arc::new(report(guilds)),
        key: "bot".into(),
        waiters: Vec::new(),
    });
}

/// Takes the next part and confirms it. Returns its size, and whether it is the last one.
fn part(member: &mut Member, rates: &mut ReportRates, now: Instant) -> (usize, bool) {
    let NextOp::MembershipOp(MembershipOp::Report {
        report,
        added,
        removed,
        is_last,
        ..
    }) = member.next(ID, rates, now)
    else {
        panic!("not a part of a report");
    };
    if is_last {
        member.sending = None;
        member.stored = StoredReport::Report(Some(report));
    }
    (added.len() + removed.len(), is_last)
}

#[test]
fn a_report_is_sent_in_parts_of_bounded_size() {
    let (mut member, mut rates, now) = (member(), rates(), Instant::now());
    wants(&mut member, 0..150);
    let parts = [(); 3].map(|()| part(&mut member, &mut rates, now));
    assert_eq!(parts, [(64, false), (64, false), (22, true)]);
    assert!(!member.needs_a_step());
    // A report that changes no guild is still sent: its numbers may differ.
    wants(&mut member, 0..150);
    assert_eq!(part(&mut member, &mut rates, now), (0, true));
}

#[test]
fn a_newer_report_replaces_the_unsent_one_and_waits_for_the_one_in_flight() {
    let (mut member, mut rates, now) = (member(), rates(), Instant::now());
    wants(&mut member, 0..100);
    assert_eq!(part(&mut member, &mut rates, now), (64, false));
    wants(&mut member, 1000..1100);
    wants(&mut member, 0..110);
    assert_eq!(part(&mut member, &mut rates, now), (36, true));
    assert!(member.needs_a_step());
    assert_eq!(part(&mut member, &mut rates, now), (10, true));
    assert!(!member.needs_a_step());
}

#[test]
fn a_report_waits_until_its_key_has_an_allowance() {
    let (mut member, mut rates, now) = (member(), rates(), Instant::now());
    wants(&mut member, 0..1100);
    for _ in 0..18 {
        part(&mut member, &mut rates, now);
    }
    wants(&mut member, 0..10);
    let NextOp::Wait(until) = member.next(ID, &mut rates, now) else {
        panic!("the report does not wait")
    };
    // The allowance is 101 below zero, and the next report costs at least one.
    assert_eq!(until - now, Duration::from_millis(1020));
    assert!(matches!(
        member.next(ID, &mut rates, until),
        NextOp::MembershipOp(MembershipOp::Report { .. })
    ));
}

#[test]
fn a_restored_report_is_not_charged() {
    let (mut member, mut rates, now) = (member(), rates(), Instant::now());
    rates.charge(&"bot".into(), 100_000, now);
    wants(&mut member, 0..10);
    member.lose_sight();
    assert!(matches!(
        member.next(ID, &mut rates, now),
        NextOp::MembershipOp(MembershipOp::Ask(_))
    ));
    member.stored = StoredReport::Found(Arc::new(report(0..0)));
    assert_eq!(part(&mut member, &mut rates, now), (10, true));
    wants(&mut member, 0..11);
    assert!(matches!(member.next(ID, &mut rates, now), NextOp::Wait(_)));
}

#[test]
fn a_session_leaves_at_once_even_if_its_report_waits() {
    let (mut member, mut rates, now) = (member(), rates(), Instant::now());
    rates.charge(&"bot".into(), 100_000, now);
    wants(&mut member, 0..10);
    assert!(matches!(member.next(ID, &mut rates, now), NextOp::Wait(_)));
    member.is = Actual::Gone;
    assert!(!member.is_next_heavy());
    assert!(matches!(
        member.next(ID, &mut rates, now),
        NextOp::MembershipOp(MembershipOp::Leave(_, 1))
    ));
    assert!(member.is_next_heavy());
    assert!(matches!(
        member.next(ID, &mut rates, now),
        NextOp::MembershipOp(MembershipOp::Leave(_, CHUNK))
    ));
}
