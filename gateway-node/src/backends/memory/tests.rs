//! Tests of the rate limit on reports in the memory backplane.

use std::{sync::Arc, time::Duration};

use shared::{
    client_type::ClientType,
    guild::GuildId,
    session_id::SessionId,
    v1::{Report, ReportedGuilds},
};
use tokio::time::Instant;

use super::application::MemoryApplication;
use crate::backplane::{Epoch, Joining, ReportLimits};

fn application() -> MemoryApplication {
    let limits = ReportLimits {
        ids_per_second: 100,
        ids_burst: 100,
    };
    MemoryApplication::new("shop".into(), limits)
}

const EPOCH: Epoch = Epoch::from_raw(1);

/// Applies or delays a report, and returns whether it has to wait.
fn waits(application: &mut MemoryApplication, id: SessionId, key: &Arc<str>, report: Report, now: Instant) -> bool {
    application.report(id, key, report, EPOCH, now).is_err()
}

/// Applies the delayed reports, and returns when to call it again.
fn apply(application: &mut MemoryApplication, now: Instant) -> Option<Instant> {
    application.apply_waiting(EPOCH, now).0
}

fn bot(application: &mut MemoryApplication, id: u64) -> SessionId {
    let id = SessionId::from_raw(id);
    let joining = Joining {
        application: "shop".into(),
        kind: ClientType::Bot,
        ticket: None,
        worker: None,
    };
    application.join(id, &joining, EPOCH);
    id
}

fn report(guilds: std::ops::Range<u64>) -> Report {
    Report {
        guilds: ReportedGuilds::Ids(guilds.map(GuildId::from_raw).collect()),
        guild_members: 1,
        cached_guild_members: 0,
        shard: None,
    }
}

fn counts(application: &mut MemoryApplication) -> String {
    let entry = application.broadcast_counts(EPOCH);
    entry.expect("the counts changed").d.to_string()
}

#[test]
fn only_the_latest_report_beyond_the_allowance_is_applied_later() {
    let (mut application, key, now): (_, Arc<str>, _) = (application(), "bot".into(), Instant::now());
    let id = bot(&mut application, 1);
    assert!(!waits(&mut application, id, &key, report(0..150), now));
    assert!(waits(&mut application, id, &key, report(0..10), now));
    assert!(waits(&mut application, id, &key, report(0..20), now));
    assert!(counts(&mut application).contains(r#""guilds":150"#));
    // The allowance is 51 below zero, and the next report costs at least one.
    let due = apply(&mut application, now).expect("the report waits");
    assert_eq!(due - now, Duration::from_millis(520));
    assert_eq!(apply(&mut application, due), None);
    assert!(counts(&mut application).contains(r#""guilds":20"#));
}

#[test]
fn sessions_of_a_key_take_turns_and_other_keys_do_not_wait() {
    let (mut application, now) = (application(), Instant::now());
    let (key, other): (Arc<str>, Arc<str>) = ("bot".into(), "other".into());
    let ids = [1, 2, 3].map(|id| bot(&mut application, id));
    waits(&mut application, ids[0], &key, report(0..200), now);
    assert!(waits(&mut application, ids[0], &key, report(0..100), now));
    assert!(waits(&mut application, ids[1], &key, report(300..400), now));
    assert!(!waits(&mut application, ids[2], &other, report(500..550), now));
    let due = apply(&mut application, now).expect("both reports wait");
    let due = apply(&mut application, due).expect("the second report waits");
    assert!(counts(&mut application).contains(r#""guilds":150"#));
    assert_eq!(apply(&mut application, due), None);
    assert!(counts(&mut application).contains(r#""guilds":250"#));
}

#[test]
fn the_delayed_report_of_an_ended_session_is_dropped() {
    let (mut application, key, now): (_, Arc<str>, _) = (application(), "bot".into(), Instant::now());
    let id = bot(&mut application, 1);
    waits(&mut application, id, &key, report(0..200), now);
    waits(&mut application, id, &key, report(0..10), now);
    application.leave(id);
    assert_eq!(apply(&mut application, now + Duration::from_secs(60)), None);
    assert!(!application.counts_changed());
}
