//! The conformance suite: the behaviour required of every backplane.

/// Runs each case against each implementation.
macro_rules! conformance {
    ($($name:ident)+) => {
        mod memory_backplane {
            $(
                #[tokio::test(start_paused = true)]
                async fn $name() {
                    super::$name(super::memory_now()).await;
                }
            )+
        }

        mod redis_backplane {
            $(
                #[tokio::test]
                async fn $name() {
                    super::$name(super::redis().await).await;
                }
            )+
        }
    };
}

mod bench;
mod concurrent;
mod receivers;
mod resume;
mod tickets;

use shared::{
    client_type::ClientType,
    guild::GuildId,
    routing::Delivery,
    session_id::SessionId,
    v1::{ReportedGuilds, payload::GuildCount},
};

use self::{
    bench::{
        APPLICATION, BackplaneBench, COUNT_INTERVAL, KEYS, RETENTION, counts, event, ids, memory, memory_now, redis,
    },
    receivers::{addressed, chosen},
};
use super::IdSource;
use crate::backplane::{Idempotency, JoinError, Joining, PublishError};

conformance! {
    offsets_are_gapless_and_entries_arrive_in_order
    a_batch_is_all_or_nothing
    a_joining_session_receives_only_later_entries
    watched_guilds_are_not_counted
    counts_add_up_and_include_each_guild_once
    counts_are_broadcast_once_per_interval_when_changed
    a_session_joining_between_broadcasts_gets_the_broadcast_counts
    a_full_node_refuses_instead_of_dropping
    a_repeated_request_is_answered_without_publishing_again
    idempotency_keys_are_bounded_and_never_evicted_early
    ids_are_unique
    applications_do_not_see_each_other
}

async fn offsets_are_gapless_and_entries_arrive_in_order(bench: BackplaneBench) {
    bench.join(ClientType::Bot).await;
    let to = ClientType::Bot.into();
    for expected in 1..=50 {
        assert_eq!(
            bench.publish(vec![event(Delivery::All, to, None)]).await,
            Ok(vec![expected])
        );
    }
    let entries = bench.entries(50).await;
    let offsets: Vec<_> = entries.iter().map(|entry| entry.position.offset).collect();
    assert_eq!(offsets, (1..=50).collect::<Vec<_>>());
}

async fn a_batch_is_all_or_nothing(bench: BackplaneBench) {
    bench.join(ClientType::Bot).await;
    let good = || event(Delivery::All, ClientType::Bot.into(), None);
    let bad = event(Delivery::Any, ClientType::Website.into(), None);
    let refused = bench.publish(vec![good(), bad, good()]).await;
    assert_eq!(refused, Err(PublishError::NoReceiver { index: 1 }));
    assert_eq!(bench.publish(vec![good(), good()]).await, Ok(vec![1, 2]));
    bench.entries(2).await;
}

async fn a_joining_session_receives_only_later_entries(bench: BackplaneBench) {
    let early = bench.join(ClientType::Bot).await;
    bench
        .publish(vec![event(Delivery::All, ClientType::Bot.into(), None)])
        .await
        .unwrap();
    let late = bench.join(ClientType::Bot).await;
    let entry = bench.entries(1).await.remove(0);
    assert!(entry.admits(early.id, ClientType::Bot, early.since));
    assert!(!entry.admits(late.id, ClientType::Bot, late.since));
}

async fn watched_guilds_are_not_counted(bench: BackplaneBench) {
    let (website, bot) = (bench.join(ClientType::Website).await, bench.join(ClientType::Bot).await);
    bench.watch(website.id, &[1, 2, 3]).await;
    bench.report(bot.id, ids(&[3, 4]), 7);
    bench.published(counts(2, 7, 1)).await;
    // An event whose bots have ended waits for the next bot, not for a session that watches the guild.
    let in_guild = event(Delivery::Guild(GuildId::from_raw(4)), ClientType::Bot.into(), None);
    bench.publish(vec![in_guild]).await.unwrap();
    let entry = bench.entries(1).await.remove(0);
    bench.leave(bot.id);
    bench.is_flushed().await;
    bench.backplane.redeliver(&entry);
    bench.is_flushed().await;
    bench.watch(website.id, &[4]).await;
    let next = bench.join(ClientType::Bot).await;
    bench.report(next.id, ids(&[4]), 0);
    let entry = bench.entries(1).await.remove(0);
    assert_eq!(addressed(entry), [next.id]);
}

async fn counts_add_up_and_include_each_guild_once(bench: BackplaneBench) {
    let reports = [(ids(&[1, 2]), 10), (ids(&[2, 3]), 20), (ReportedGuilds::Count(100), 30)];
    let [first, second, third] = bench.join_reporting(reports).await;
    bench.published(counts(103, 60, 3)).await;
    bench.report(first, ReportedGuilds::Count(0), 0);
    bench.leave(third);
    bench.published(counts(2, 20, 2)).await;
    assert_eq!(bench.join(ClientType::Bot).await.counts.d(), counts(2, 20, 2));
    // A guild reported by two sessions counts until both are gone.
    bench.leave(second);
    bench.published(counts(0, 0, 1)).await;
}

async fn counts_are_broadcast_once_per_interval_when_changed(bench: BackplaneBench) {
    let bot = bench.join(ClientType::Bot).await;
    for members in 0..100 {
        bench.report(bot.id, ReportedGuilds::Count(1), members);
        tokio::time::sleep(COUNT_INTERVAL / 50).await;
    }
    bench.an_interval().await;
    let published = bench.log.counts();
    // A hundred changes in two intervals: one broadcast at once, one after each interval, and one for the last change.
    // A slow machine needs more intervals, but never one broadcast per change.
    assert!((3..=20).contains(&published.len()), "{published:?}");
    assert_eq!(published.last(), Some(&counts(1, 99, 1)));
    bench.report(bot.id, ReportedGuilds::Count(2), 99);
    bench.report(bot.id, ReportedGuilds::Count(1), 99);
    bench.an_interval().await;
    assert_eq!(bench.log.counts(), Vec::<String>::new());
}

async fn a_session_joining_between_broadcasts_gets_the_broadcast_counts(bench: BackplaneBench) {
    let leaving = bench.join(ClientType::Bot).await.id;
    bench.report(leaving, ReportedGuilds::Count(1), 0);
    bench.published(counts(1, 0, 1)).await;
    // The session returns before a broadcast shows that it left, so the counts go back to the ones broadcast last.
    bench.leave(leaving);
    bench.is_flushed().await;
    let returned = bench.join(ClientType::Bot).await;
    bench.report(returned.id, ReportedGuilds::Count(1), 0);
    bench.is_flushed().await;
    bench.an_interval().await;
    let last = bench.log.counts().pop().unwrap_or_else(|| returned.counts.d());
    assert_eq!(last, counts(1, 0, 1));
}

async fn a_full_node_refuses_instead_of_dropping(bench: BackplaneBench) {
    bench.join(ClientType::Bot).await;
    bench.log.full.send_replace(true);
    let one = || vec![event(Delivery::All, ClientType::Bot.into(), None)];
    assert_eq!(bench.publish(one()).await, Err(PublishError::Overloaded));
    bench.log.full.send_replace(false);
    assert_eq!(bench.publish(one()).await, Ok(vec![1]));
}

async fn a_repeated_request_is_answered_without_publishing_again(bench: BackplaneBench) {
    bench.join(ClientType::Bot).await;
    let events = || vec![event(Delivery::All, ClientType::Bot.into(), None)];
    let request = |key: &str, digest| {
        let key = key.into();
        Some(Idempotency { key, digest })
    };
    for (request, answer) in [
        (request("a", 1), Ok(vec![1])),
        (request("b", 1), Ok(vec![2])),
        (request("a", 1), Ok(vec![1])),
        (request("a", 2), Err(PublishError::KeyReused)),
        (None, Ok(vec![3])),
    ] {
        assert_eq!(bench.publish_to(APPLICATION, events(), request).await, answer);
    }
    bench.entries(3).await;
}

async fn idempotency_keys_are_bounded_and_never_evicted_early(bench: BackplaneBench) {
    bench.join(ClientType::Bot).await;
    bench.join_to("other", ClientType::Bot).await;
    let events = || vec![event(Delivery::All, ClientType::Bot.into(), None)];
    let no_receiver = || vec![event(Delivery::Any, ClientType::Website.into(), None)];
    let request = |key: usize| {
        let key = key.to_string().into();
        Some(Idempotency { key, digest: 1 })
    };
    // A request that appends nothing does not count towards the limit.
    let refused = bench.publish_to(APPLICATION, no_receiver(), request(99)).await;
    assert_eq!(refused, Err(PublishError::NoReceiver { index: 0 }));
    for key in 0..KEYS {
        let offset = key as u64 + 1;
        assert_eq!(
            bench.publish_to(APPLICATION, events(), request(key)).await,
            Ok(vec![offset])
        );
    }
    for _ in 0..2 {
        match bench.publish_to(APPLICATION, events(), request(KEYS)).await {
            Err(PublishError::TooManyKeys { retry_after }) => assert!(retry_after <= RETENTION),
            other => panic!("{other:?}"),
        }
    }
    for key in 0..KEYS {
        let offset = key as u64 + 1;
        assert_eq!(
            bench.publish_to(APPLICATION, events(), request(key)).await,
            Ok(vec![offset])
        );
    }
    let next = KEYS as u64 + 1;
    assert_eq!(bench.publish_to(APPLICATION, events(), None).await, Ok(vec![next]));
    assert_eq!(bench.publish_to("other", events(), request(KEYS)).await, Ok(vec![1]));
    bench.entries(KEYS + 2).await;
}

async fn ids_are_unique(bench: BackplaneBench) {
    let mut seen = std::collections::HashSet::new();
    for round in 0..10_000 {
        let joining = Joining {
            application: APPLICATION.into(),
            kind: ClientType::Bot,
            ticket: None,
            worker: None,
        };
        let joined = bench.backplane.join(joining).await.unwrap();
        assert!(seen.insert(joined.id), "{} came twice", joined.id);
        if round % 3 == 0 {
            bench.leave(joined.id);
        }
    }
}

async fn applications_do_not_see_each_other(bench: BackplaneBench) {
    let here = bench.join(ClientType::Bot).await;
    let there = bench.join_to("other", ClientType::Bot).await;
    assert_ne!(here.id, there.id);
    let one = vec![event(Delivery::Any, ClientType::Bot.into(), None)];
    bench.publish_to("other", one, None).await.unwrap();
    let entry = bench.entries(1).await.remove(0);
    assert_eq!(
        (&*entry.application, entry.position.offset, chosen(&entry)),
        ("other", 1, there.id)
    );
    bench.report(here.id, ids(&[1]), 1);
    let joined = bench.join_to("other", ClientType::Bot).await;
    assert_eq!(joined.counts, GuildCount::default());
}

#[tokio::test(start_paused = true)]
async fn a_repeated_id_is_rejected_as_taken() {
    let bench = memory(IdSource::Fixed(SessionId::from_raw(7)));
    let first = bench.join(ClientType::Bot).await;
    let joining = || Joining {
        application: APPLICATION.into(),
        kind: ClientType::Bot,
        ticket: None,
        worker: None,
    };
    assert_eq!(bench.backplane.join(joining()).await.unwrap_err(), JoinError::IdTaken);
    bench.leave(first.id);
    assert_eq!(bench.backplane.join(joining()).await.unwrap().id, first.id);
}
