//! Publications of many callers at once: some of which fail, repeat themselves, or stop waiting.

use std::collections::BTreeMap;

use shared::{client_type::ClientType, guild::GuildId, routing::Delivery};

use super::bench::{APPLICATION, BackplaneBench, event, memory_now, redis};
use crate::backplane::{Idempotency, Publication, PublishError, Publishing, WhenUnavailable};

/// What one caller does, and the result that it must get.
enum Caller {
    /// Publishes so many events.
    Publishes(usize),
    /// Publishes an event with this idempotency key and digest, as the first to do so.
    Names(usize, u64),
    /// Publishes an event with a key and a digest that an earlier caller has used.
    Repeats(usize, u64),
    /// Publishes with a key that an earlier caller has used with another digest.
    Reuses(usize, u64),
    /// Publishes two events, of which the second has no receiver.
    HasNoReceiver,
    /// Publishes an event, and does not wait for the result.
    HangsUp,
}

fn named(key: usize, digest: u64) -> Idempotency {
    let key = format!("key {key}").into();
    Idempotency { key, digest }
}

/// Publishes from `callers`, all before the first result is known. `d` numbers the events in the order of the calls.
async fn callers_get_their_own_results(bench: BackplaneBench, callers: Vec<Caller>) {
    bench.join(ClientType::Bot).await;
    let mut waiting = Vec::new();
    let mut expected = Vec::new();
    let mut offset = 0;
    let mut results = BTreeMap::new();
    for (number, caller) in callers.iter().enumerate() {
        let numbered = |delivery: Delivery| Publication {
            d: format!("{{\"n\":{number}}}").into(),
            ..event(delivery, ClientType::Bot.into(), None)
        };
        let mut accepted = |count: u64| {
            expected.extend(std::iter::repeat_n(number, usize::try_from(count).unwrap()));
            offset += count;
            Ok((offset - count + 1..=offset).collect::<Vec<_>>())
        };
        let (events, idempotency, result) = match *caller {
            Caller::Publishes(count) => {
                let events = vec![numbered(Delivery::All); count];
                (events, None, accepted(count as u64))
            }
            Caller::Names(key, digest) => {
                let result = accepted(1);
                results.insert(key, result.clone());
                (vec![numbered(Delivery::All)], Some(named(key, digest)), result)
            }
            Caller::Repeats(key, digest) => {
                let result = results[&key].clone();
                (vec![numbered(Delivery::All)], Some(named(key, digest)), result)
            }
            Caller::Reuses(key, digest) => {
                let result = Err(PublishError::KeyReused);
                (vec![numbered(Delivery::All)], Some(named(key, digest)), result)
            }
            Caller::HasNoReceiver => {
                let nowhere = numbered(Delivery::Guild(GuildId::from_raw(7)));
                let result = Err(PublishError::NoReceiver { index: 1 });
                (vec![numbered(Delivery::All), nowhere], None, result)
            }
            Caller::HangsUp => (vec![numbered(Delivery::All)], None, accepted(1)),
        };
        let publishing = Publishing {
            application: APPLICATION.into(),
            events,
            idempotency,
            when_unavailable: WhenUnavailable::Fail,
        };
        let answer = bench.backplane.publish(publishing);
        if !matches!(caller, Caller::HangsUp) {
            waiting.push((number, answer, result));
        }
    }
    for (number, answer, result) in waiting {
        let positions = answer.await;
        let offsets = positions.map(|positions| positions.iter().map(|position| position.offset).collect());
        assert_eq!(offsets, result, "caller {number}");
    }
    let entries = bench.entries(expected.len()).await;
    let offsets = entries.iter().map(|entry| entry.position.offset);
    assert!(offsets.eq(1..=expected.len() as u64), "{entries:?}");
    let numbers: Vec<_> = entries.iter().map(|entry| entry.d.to_string()).collect();
    let expected: Vec<_> = expected.iter().map(|number| format!("{{\"n\":{number}}}")).collect();
    assert_eq!(numbers, expected);
}

/// Returns callers of every kind, mixed.
fn callers() -> Vec<Caller> {
    let mut callers = vec![Caller::Names(0, 1), Caller::Repeats(0, 1), Caller::Reuses(0, 2)];
    for round in 1..40 {
        callers.extend([
            Caller::Publishes(1),
            Caller::HasNoReceiver,
            Caller::Publishes(round % 7 + 1),
            Caller::HangsUp,
            Caller::Repeats(0, 1),
            Caller::Publishes(2),
            Caller::Reuses(0, 3),
            Caller::Publishes(1),
        ]);
    }
    callers
}

#[tokio::test(start_paused = true)]
async fn the_memory_backplane_keeps_concurrent_publications_apart() {
    callers_get_their_own_results(memory_now(), callers()).await;
}

#[tokio::test]
async fn the_redis_backplane_keeps_concurrent_publications_apart() {
    callers_get_their_own_results(redis().await, callers()).await;
}

#[tokio::test]
async fn more_publications_than_one_call_takes_stay_in_order() {
    let callers = (0..2000).map(|_| Caller::Publishes(1)).chain([Caller::Publishes(1500)]);
    callers_get_their_own_results(redis().await, callers.chain([Caller::Publishes(1)]).collect()).await;
}
