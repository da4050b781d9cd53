//! The receivers of an event: one session of several, the bots that report a guild, the sessions that watch it, or the
//! sessions of a user.

use shared::{
    client_type::ClientType, guild::GuildId, routing::Delivery, session_id::SessionId, user::UserId, v1::ReportedGuilds,
};

use super::bench::{APPLICATION, BackplaneBench, event, ids, memory_now, redis};
use crate::backplane::{Audience, Entry, Joining, JoiningTicket, Publication, PublishError, TraceParent};

conformance! {
    any_deliveries_rotate_and_skip_the_author
    a_guild_event_goes_to_its_reporters
    a_session_that_is_not_ready_is_not_chosen
    a_session_that_left_is_not_addressed
    an_event_for_an_ended_session_goes_to_another
    an_event_without_another_session_waits_for_the_next_one
    more_waiting_events_than_one_call_returns_stay_in_order
    a_guild_event_waits_for_the_next_reporter
    an_event_without_receivers_is_accepted_and_recorded
    an_event_that_requires_no_receiver_is_accepted_without_one
    sessions_that_watch_a_guild_are_receivers
    an_event_for_a_user_names_the_user
    an_event_keeps_its_trace_for_later_receivers
}

async fn any_deliveries_rotate_and_skip_the_author(bench: BackplaneBench) {
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(bench.join(ClientType::Bot).await.id);
    }
    let author = Some(sessions[0]);
    for _ in 0..30 {
        bench
            .publish(vec![event(Delivery::Any, ClientType::Bot.into(), author)])
            .await
            .unwrap();
    }
    let chosen: Vec<_> = bench.entries(30).await.iter().map(chosen).collect();
    assert!(!chosen.contains(&sessions[0]));
    for session in &sessions[1..] {
        let turns = chosen.iter().filter(|chosen| *chosen == session).count();
        assert!((10..=20).contains(&turns), "{turns} of 30");
    }
}

pub(super) fn chosen(entry: &Entry) -> SessionId {
    match entry.audience {
        Audience::One { session, .. } => session,
        _ => panic!("{entry:?} is not for one session"),
    }
}

async fn a_guild_event_goes_to_its_reporters(bench: BackplaneBench) {
    let reports = [(ids(&[1, 2]), 0), (ids(&[2, 3]), 0), (ReportedGuilds::Count(5), 0)];
    let [first, second, _] = bench.join_reporting(reports).await;
    bench.is_flushed().await;
    let about = |guild| event(Delivery::Guild(GuildId::from_raw(guild)), ClientType::Bot.into(), None);
    bench.publish(vec![about(2), about(3)]).await.unwrap();
    let receivers: Vec<_> = bench.entries(2).await.into_iter().map(addressed).collect();
    let mut both = vec![first, second];
    both.sort_unstable();
    assert_eq!(receivers, [both, vec![second]]);
    assert_eq!(
        bench.publish(vec![about(9)]).await,
        Err(PublishError::NoReceiver { index: 0 })
    );
}

/// The sessions that an entry is addressed to, in ascending order.
pub(super) fn addressed(entry: Entry) -> Vec<SessionId> {
    let Audience::Reporters { sessions, .. } = entry.audience else {
        panic!("{entry:?} is not for the reporters of a guild")
    };
    let mut ids = sessions.to_vec();
    ids.sort_unstable();
    ids
}

async fn a_session_that_is_not_ready_is_not_chosen(bench: BackplaneBench) {
    let joining = Joining {
        application: APPLICATION.into(),
        kind: ClientType::Bot,
        ticket: None,
        worker: None,
    };
    let joined = bench.backplane.join(joining).await.unwrap();
    let any = || vec![event(Delivery::Any, ClientType::Bot.into(), None)];
    assert_eq!(bench.publish(any()).await, Err(PublishError::NoReceiver { index: 0 }));
    bench.backplane.ready(APPLICATION, joined.id);
    bench.is_flushed().await;
    bench.publish(any()).await.unwrap();
    assert_eq!(chosen(&bench.entries(1).await[0]), joined.id);
}

async fn a_session_that_left_is_not_addressed(bench: BackplaneBench) {
    let only = bench.join(ClientType::Bot).await;
    bench.report(only.id, ids(&[1]), 0);
    bench.leave(only.id);
    bench.is_flushed().await;
    for delivery in [Delivery::Any, Delivery::Guild(GuildId::from_raw(1))] {
        let refused = bench.publish(vec![event(delivery, ClientType::Bot.into(), None)]).await;
        assert_eq!(refused, Err(PublishError::NoReceiver { index: 0 }));
    }
}

async fn an_event_for_an_ended_session_goes_to_another(bench: BackplaneBench) {
    // This session stays, because a log without receivers need not be followed.
    bench.join(ClientType::Website).await;
    let [first, second] = [bench.join(ClientType::Bot).await, bench.join(ClientType::Bot).await];
    bench
        .publish(vec![event(Delivery::Any, ClientType::Bot.into(), None)])
        .await
        .unwrap();
    let entry = bench.entries(1).await.remove(0);
    let (gone, left) = if chosen(&entry) == first.id {
        (first.id, second.id)
    } else {
        (second.id, first.id)
    };
    bench.leave(gone);
    bench.backplane.redeliver(&entry);
    let again = bench.entries(1).await.remove(0);
    assert_eq!((chosen(&again), &again.d, again.position.offset), (left, &entry.d, 2));
}

async fn an_event_without_another_session_waits_for_the_next_one(bench: BackplaneBench) {
    bench.join(ClientType::Website).await;
    let only = bench.join(ClientType::Bot).await.id;
    let any = || event(Delivery::Any, ClientType::Bot.into(), None);
    bench.publish(vec![any(), any()]).await.unwrap();
    let entries = bench.entries(2).await;
    bench.leave(only);
    for entry in &entries {
        bench.backplane.redeliver(entry);
    }
    bench.is_flushed().await;
    assert_eq!(
        bench.publish(vec![any()]).await,
        Err(PublishError::NoReceiver { index: 0 })
    );
    // This session has a type that the events are not for.
    bench.join(ClientType::Service).await;
    bench.nothing_but_a_marker().await;
    let next = bench.join(ClientType::Bot).await.id;
    let again = bench.entries(2).await;
    assert_eq!(again.iter().map(chosen).collect::<Vec<_>>(), [next, next]);
    bench.join(ClientType::Bot).await;
    bench.nothing_but_a_marker().await;
    // The first marker was undeliverable: there was no bot.
    assert_eq!(*bench.log.no_receiver.lock(), 1);
}

async fn more_waiting_events_than_one_call_returns_stay_in_order(bench: BackplaneBench) {
    bench.join(ClientType::Website).await;
    let only = bench.join(ClientType::Bot).await.id;
    bench.report(only, ids(&[5]), 0);
    bench.is_flushed().await;
    for delivery in [Delivery::Any, Delivery::Guild(GuildId::from_raw(5))] {
        for _ in 0..75 {
            bench
                .publish(vec![event(delivery.clone(), ClientType::Bot.into(), None); 2])
                .await
                .unwrap();
        }
    }
    let entries = bench.entries(300).await;
    bench.leave(only);
    for entry in &entries {
        bench.backplane.redeliver(entry);
    }
    bench.is_flushed().await;
    let next = bench.join(ClientType::Bot).await.id;
    let again = bench.entries(150).await;
    assert!(again.iter().all(|entry| chosen(entry) == next));
    bench.report(next, ids(&[4, 5, 6]), 0);
    let again = bench.entries(150).await;
    assert!(again.into_iter().all(|entry| addressed(entry) == [next]));
    bench.is_flushed().await;
    bench
        .publish(vec![event(
            Delivery::Guild(GuildId::from_raw(6)),
            ClientType::Bot.into(),
            None,
        )])
        .await
        .unwrap();
    bench.entries(1).await;
}

async fn a_guild_event_waits_for_the_next_reporter(bench: BackplaneBench) {
    bench.join(ClientType::Website).await;
    let [first, second] = bench.join_reporting([(ids(&[1, 2]), 0), (ids(&[2]), 0)]).await;
    bench.is_flushed().await;
    let about = |guild| event(Delivery::Guild(GuildId::from_raw(guild)), ClientType::Bot.into(), None);
    bench.publish(vec![about(1), about(2)]).await.unwrap();
    let entries = bench.entries(2).await;
    bench.leave(first);
    for entry in &entries {
        bench.backplane.redeliver(entry);
    }
    bench.is_flushed().await;
    // The event for guild 2 is not redirected: one of its reporters is still connected and received it.
    bench.report(second, ids(&[2, 3]), 0);
    bench.is_flushed().await;
    bench.nothing_but_a_marker().await;
    bench.report(second, ids(&[1, 2, 3]), 0);
    let again = bench.entries(1).await.remove(0);
    assert_eq!(addressed(again), [second]);
    bench.is_flushed().await;
    bench.nothing_but_a_marker().await;
}

async fn an_event_without_receivers_is_accepted_and_recorded(bench: BackplaneBench) {
    assert_eq!(
        bench
            .publish(vec![event(Delivery::All, ClientType::Website.into(), None)])
            .await,
        Ok(vec![1])
    );
    assert_eq!(*bench.log.no_receiver.lock(), 1);
}

async fn an_event_that_requires_no_receiver_is_accepted_without_one(bench: BackplaneBench) {
    let website = bench.join(ClientType::Website).await;
    let to_bots = |delivery, require_receiver| Publication {
        require_receiver,
        ..event(delivery, ClientType::Bot.into(), None)
    };
    let in_guild = Delivery::Guild(GuildId::from_raw(1));
    for delivery in [Delivery::All, Delivery::Any, in_guild.clone()] {
        let required = bench.publish(vec![to_bots(delivery.clone(), true)]).await;
        assert_eq!(required, Err(PublishError::NoReceiver { index: 0 }), "{delivery:?}");
    }
    let both = vec![to_bots(in_guild, false), to_bots(Delivery::Any, false)];
    assert_eq!(bench.publish(both).await, Ok(vec![1, 2]));
    bench.leave(website.id);
    // The event for any session waits for the next one; the one for the guild is over.
    let bot = bench.join(ClientType::Bot).await;
    bench.report(bot.id, ids(&[1]), 0);
    bench
        .eventually("the event that waited", || {
            let entries = bench.log.take();
            entries
                .iter()
                .any(|entry| matches!(entry.audience, Audience::One { session, .. } if session == bot.id))
        })
        .await;
    bench.is_flushed().await;
    bench.nothing_but_a_marker().await;
}

async fn sessions_that_watch_a_guild_are_receivers(bench: BackplaneBench) {
    let [first, second] = [
        bench.join(ClientType::Website).await,
        bench.join(ClientType::Website).await,
    ];
    let watched = bench.watch(first.id, &[1, 2]).await;
    assert_eq!(watched.offset, 0);
    let about = |guild, author| {
        let to = [ClientType::Website, ClientType::Bot].into_iter().collect();
        vec![event(Delivery::Guild(GuildId::from_raw(guild)), to, author)]
    };
    let no_receiver = Err(PublishError::NoReceiver { index: 0 });
    assert_eq!(bench.publish(about(3, None)).await, no_receiver);
    assert_eq!(bench.publish(about(2, Some(first.id))).await, no_receiver);
    assert_eq!(bench.publish(about(2, Some(second.id))).await, Ok(vec![1]));
    let to_bots = event(Delivery::Guild(GuildId::from_raw(2)), ClientType::Bot.into(), None);
    assert_eq!(bench.publish(vec![to_bots]).await, no_receiver);
    let entry = bench.entries(1).await.remove(0);
    // The entry does not list them.
    let Audience::Reporters {
        sessions,
        are_watchers_included,
        ..
    } = &entry.audience
    else {
        panic!("{entry:?} is not for a guild");
    };
    assert!(sessions.is_empty() && *are_watchers_included);
    assert_eq!(bench.watch(second.id, &[2, 3]).await.offset, 1);
    assert_eq!(bench.publish(about(3, None)).await, Ok(vec![2]));
    bench.watch(second.id, &[3]).await;
    assert_eq!(bench.publish(about(2, Some(first.id))).await, no_receiver);
    bench.leave(first.id);
    bench.is_flushed().await;
    assert_eq!(bench.publish(about(2, None)).await, no_receiver);
    assert_eq!(bench.publish(about(3, None)).await, Ok(vec![3]));
    bench.leave(second.id);
    bench.is_flushed().await;
    assert_eq!(bench.publish(about(3, None)).await, no_receiver);
}

async fn an_event_for_a_user_names_the_user(bench: BackplaneBench) {
    let user = UserId::new("a user").unwrap();
    let joining = Joining {
        application: APPLICATION.into(),
        kind: ClientType::Website,
        ticket: Some(JoiningTicket {
            user: Some(user.clone()),
        }),
        worker: None,
    };
    let of_user = |author, require_receiver| {
        let event = event(Delivery::User(user.clone()), ClientType::Website.into(), author);
        vec![Publication {
            user: Some(user.clone()),
            to_tickets: true,
            require_receiver,
            ..event
        }]
    };
    let no_receiver = Err(PublishError::NoReceiver { index: 0 });
    // A session of another type keeps the log followed.
    bench.join(ClientType::Bot).await;
    assert_eq!(bench.publish(of_user(None, true)).await, no_receiver);
    assert_eq!(bench.publish(of_user(None, false)).await, Ok(vec![1]));
    let joined = bench.backplane.join(joining).await.unwrap();
    assert_eq!(bench.publish(of_user(Some(joined.id), true)).await, no_receiver);
    assert_eq!(bench.publish(of_user(None, true)).await, Ok(vec![2]));
    for entry in bench.entries(2).await {
        let audience = Audience::User {
            user: user.clone(),
            of: ClientType::Website.into(),
        };
        assert_eq!(
            (entry.audience, entry.user, entry.to_tickets),
            (audience, Some(user.clone()), true)
        );
    }
    bench.leave(joined.id);
    bench.is_flushed().await;
    assert_eq!(bench.publish(of_user(None, true)).await, no_receiver);
}

async fn an_event_keeps_its_trace_for_later_receivers(bench: BackplaneBench) {
    let trace: TraceParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        .parse()
        .unwrap();
    bench.join(ClientType::Website).await;
    let bot = bench.join(ClientType::Bot).await.id;
    bench.report(bot, ids(&[5]), 0);
    bench.is_flushed().await;
    let deliveries = [
        Delivery::All,
        Delivery::User(UserId::new("a").unwrap()),
        Delivery::Any,
        Delivery::Guild(GuildId::from_raw(5)),
    ];
    let events = deliveries.map(|delivery| Publication {
        trace: Some(Box::new(trace)),
        require_receiver: false,
        ..event(delivery, ClientType::Bot.into(), None)
    });
    bench.publish(events.to_vec()).await.unwrap();
    bench
        .publish(vec![event(Delivery::All, ClientType::Bot.into(), None)])
        .await
        .unwrap();
    let entries = bench.entries(5).await;
    let found: Vec<_> = entries.iter().map(|entry| entry.trace.as_deref().copied()).collect();
    assert_eq!(found, [Some(trace), Some(trace), Some(trace), Some(trace), None]);
    assert!(entries.iter().all(|entry| entry.first.is_none()));
    let (mut session, mut addressed) = (bot, entries[2..4].to_vec());
    let firsts: Vec<_> = addressed.iter().map(|entry| Some(entry.position.offset)).collect();
    // Twice, so that an event is appended again that was appended again before.
    for _ in 0..2 {
        bench.leave(session);
        for entry in &addressed {
            bench.backplane.redeliver(entry);
        }
        bench.is_flushed().await;
        session = bench.join(ClientType::Bot).await.id;
        bench.report(session, ids(&[5]), 0);
        addressed = bench.entries(2).await;
        assert_eq!(addressed.iter().map(|entry| entry.first).collect::<Vec<_>>(), firsts);
        assert!(addressed.iter().all(|entry| entry.trace.as_deref() == Some(&trace)));
    }
}
