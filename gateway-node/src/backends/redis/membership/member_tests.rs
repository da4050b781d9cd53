//! The way of a report from a session to Redis.

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
    });
}

/// The size of the next part and whether it is the last one, which is then answered.
fn part(member: &mut Member, rates: &mut ReportRates, now: Instant) -> (usize, bool) {
    let NextOp::MembershipOp(MembershipOp::Report {
        report,
        added,
        removed,
        is_last,
        ..
    }) = member.next(ID, rates, now)
    else {
        panic!("no part of a report");
    };
    if is_last {
        member.sending = None;
        member.stored = StoredReport::Report(Some(report));
    }
    (added.len() + removed.len(), is_last)
}

#[test]
fn a_report_goes_in_parts_of_a_bounded_size() {
    let (mut member, mut rates, now) = (member(), rates(), Instant::now());
    wants(&mut member, 0..150);
    let parts = [(); 3].map(|()| part(&mut member, &mut rates, now));
    assert_eq!(parts, [(64, false), (64, false), (22, true)]);
    assert!(!member.needs_a_step());
    // One that changes nothing is a part all the same: its numbers may differ.
    wants(&mut member, 0..150);
    assert_eq!(part(&mut member, &mut rates, now), (0, true));
}

#[test]
fn a_newer_report_replaces_the_unsent_one_and_waits_for_the_one_under_way() {
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
        panic!("it does not wait")
    };
    // 101 below zero, and one for the next.
    assert_eq!(until - now, Duration::from_millis(1020));
    assert!(matches!(
        member.next(ID, &mut rates, until),
        NextOp::MembershipOp(MembershipOp::Report { .. })
    ));
}

#[test]
fn a_report_that_is_restored_is_not_charged() {
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
fn a_session_that_leaves_does_so_at_once_whatever_its_report_waits_for() {
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
