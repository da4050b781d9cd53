//! What the memory backplane does with reports that come too fast.

use std::{sync::Arc, time::Duration};

use shared::{
    client_type::ClientType,
    guild::GuildId,
    session_id::SessionId,
    v1::{Report, ReportedGuilds},
};
use tokio::time::Instant;

use super::{
    super::{Epoch, ReportLimits},
    application::Application,
};

fn application() -> Application {
    let limits = ReportLimits {
        ids_per_second: 100,
        ids_burst: 100,
    };
    Application::new("shop".into(), limits)
}

fn bot(application: &mut Application, id: u64) -> SessionId {
    let id = SessionId::from_raw(id);
    application.join(id, ClientType::Bot, Epoch::from_raw(1));
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

fn counts(application: &mut Application) -> String {
    let entry = application.broadcast_counts(Epoch::from_raw(1));
    entry.expect("other counts").d.to_string()
}

#[test]
fn a_report_beyond_the_allowance_comes_later_and_only_the_latest() {
    let (mut application, key, now): (_, Arc<str>, _) = (application(), "bot".into(), Instant::now());
    let id = bot(&mut application, 1);
    assert!(!application.report(id, &key, report(0..150), now));
    assert!(application.report(id, &key, report(0..10), now));
    assert!(application.report(id, &key, report(0..20), now));
    assert!(counts(&mut application).contains(r#""guilds":150"#));
    // 51 below zero, and one for the next.
    let due = application.apply_waiting(now).expect("it waits");
    assert_eq!(due - now, Duration::from_millis(520));
    assert_eq!(application.apply_waiting(due), None);
    assert!(counts(&mut application).contains(r#""guilds":20"#));
}

#[test]
fn sessions_of_a_key_take_turns_and_other_keys_do_not_wait() {
    let (mut application, now) = (application(), Instant::now());
    let (key, other): (Arc<str>, Arc<str>) = ("bot".into(), "other".into());
    let ids = [1, 2, 3].map(|id| bot(&mut application, id));
    application.report(ids[0], &key, report(0..200), now);
    assert!(application.report(ids[0], &key, report(0..100), now));
    assert!(application.report(ids[1], &key, report(300..400), now));
    assert!(!application.report(ids[2], &other, report(500..550), now));
    let due = application.apply_waiting(now).expect("they wait");
    let due = application.apply_waiting(due).expect("the second waits");
    assert!(counts(&mut application).contains(r#""guilds":150"#));
    assert_eq!(application.apply_waiting(due), None);
    assert!(counts(&mut application).contains(r#""guilds":250"#));
}

#[test]
fn the_waiting_report_of_a_session_that_left_is_forgotten() {
    let (mut application, key, now): (_, Arc<str>, _) = (application(), "bot".into(), Instant::now());
    let id = bot(&mut application, 1);
    application.report(id, &key, report(0..200), now);
    application.report(id, &key, report(0..10), now);
    application.leave(id);
    assert_eq!(application.apply_waiting(now + Duration::from_secs(60)), None);
    assert!(!application.counts_changed());
}
