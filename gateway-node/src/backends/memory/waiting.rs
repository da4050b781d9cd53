//! Events whose receivers all ended before they received them. Each waits for the next session that may receive it.

use std::{collections::VecDeque, time::Duration};

use rustc_hash::FxHashSet;
use shared::{client_type::ClientType, guild::GuildId, routing::Delivery, session_id::SessionId};
use tokio::time::Instant;

use crate::backplane::{Entry, Publication};

/// An event that waits for a session.
#[derive(Debug, Clone)]
pub(super) struct WaitingEvent {
    pub(super) event: Publication,
    /// The offset at which it was appended first.
    pub(super) first: u64,
}

/// The waiting events of one application, oldest first.
#[derive(Default)]
pub(super) struct Waiting {
    events: VecDeque<(Instant, WaitingEvent)>,
    /// Their total size.
    bytes: usize,
}

/// The limits on waiting events.
#[derive(Debug, Clone, Copy)]
pub(super) struct WaitingLimits {
    /// The maximum time that an event waits.
    pub(super) age: Duration,
    /// The maximum bytes of waiting events.
    pub(super) bytes: usize,
}

/// A session that can receive events from now on.
pub(super) struct Arrival<'a> {
    pub(super) session: SessionId,
    pub(super) kind: ClientType,
    /// The guilds that it has newly reported; `None` if the session has just become ready for `"any"` deliveries.
    pub(super) guilds: Option<&'a FxHashSet<GuildId>>,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Adds an event. Returns the events removed because they expired or exceed the size limit.
    pub(super) fn push(&mut self, event: WaitingEvent, limits: WaitingLimits, now: Instant) -> Vec<WaitingEvent> {
        self.bytes += weight(&event);
        self.events.push_back((now, event));
        let mut gone = self.expire(limits.age, now);
        while self.bytes > limits.bytes {
            let Some(oldest) = self.pop_front() else { break };
            gone.push(oldest);
        }
        gone
    }

    /// Removes and returns the events that have waited too long.
    pub(super) fn expire(&mut self, age: Duration, now: Instant) -> Vec<WaitingEvent> {
        let mut gone = Vec::new();
        while self
            .events
            .front()
            .is_some_and(|(since, _)| now.duration_since(*since) > age)
        {
            gone.extend(self.pop_front());
        }
        gone
    }

    /// Removes and returns the events that a session may receive, oldest first.
    pub(super) fn take_for(&mut self, arrival: &Arrival) -> Vec<WaitingEvent> {
        let is_for = |WaitingEvent { event, .. }: &WaitingEvent| {
            let is_of_delivery = match &event.delivery {
                Delivery::Guild(guild) => arrival.guilds.is_some_and(|guilds| guilds.contains(guild)),
                Delivery::Any => arrival.guilds.is_none(),
                Delivery::All | Delivery::User(_) => false,
            };
            is_of_delivery && event.receivers.contains(arrival.kind) && event.author != Some(arrival.session)
        };
        let (taken, kept) = std::mem::take(&mut self.events)
            .into_iter()
            .partition::<VecDeque<_>, _>(|(_, event)| is_for(event));
        self.events = kept;
        self.bytes = self.events.iter().map(|(_, event)| weight(event)).sum();
        taken.into_iter().map(|(_, event)| event).collect()
    }

    fn pop_front(&mut self) -> Option<WaitingEvent> {
        let (_, event) = self.events.pop_front()?;
        self.bytes -= weight(&event);
        Some(event)
    }
}

fn weight(WaitingEvent { event, .. }: &WaitingEvent) -> usize {
    Entry::weight_of(&event.name, &event.d)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: WaitingLimits = WaitingLimits {
        age: Duration::from_secs(10),
        bytes: 1000,
    };

    fn event(delivery: Delivery, name: &str) -> WaitingEvent {
        let event = Publication {
            name: name.into(),
            author: Some(SessionId::from_raw(9)),
            ..Publication::example(delivery, ClientType::Bot.into())
        };
        WaitingEvent { event, first: 1 }
    }

    fn names(events: &[WaitingEvent]) -> Vec<&str> {
        events.iter().map(|waiting| &*waiting.event.name).collect()
    }

    #[test]
    fn a_session_takes_its_events_in_order() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        let in_guild = Delivery::Guild(GuildId::from_raw(5));
        for (delivery, name) in [
            (Delivery::Any, "a"),
            (in_guild.clone(), "b"),
            (Delivery::Any, "c"),
            (in_guild, "d"),
        ] {
            assert!(waiting.push(event(delivery, name), LIMITS, now).is_empty());
        }
        let mut take = |session, kind, guild: Option<u64>| {
            let guilds = guild.map(|guild| [GuildId::from_raw(guild)].into_iter().collect());
            waiting.take_for(&Arrival {
                session: SessionId::from_raw(session),
                kind,
                guilds: guilds.as_ref(),
            })
        };
        for nothing in [
            take(1, ClientType::Website, None),
            take(9, ClientType::Bot, None),
            take(1, ClientType::Bot, Some(6)),
        ] {
            assert!(nothing.is_empty(), "{nothing:?}");
        }
        assert_eq!(names(&take(1, ClientType::Bot, Some(5))), ["b", "d"]);
        assert_eq!(names(&take(1, ClientType::Bot, None)), ["a", "c"]);
        assert_eq!(waiting.bytes, 0);
    }

    #[test]
    fn waiting_events_are_bounded_by_age_and_bytes() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        assert!(waiting.push(event(Delivery::Any, "old"), LIMITS, now).is_empty());
        let later = now + LIMITS.age + Duration::from_millis(1);
        assert_eq!(
            names(&waiting.push(event(Delivery::Any, "new"), LIMITS, later)),
            ["old"]
        );
        let gone: Vec<_> = (0..100)
            .flat_map(|_| waiting.push(event(Delivery::Any, "more"), LIMITS, later))
            .collect();
        assert!(waiting.bytes <= LIMITS.bytes && !waiting.events.is_empty());
        assert_eq!(gone.len() + waiting.events.len(), 101);
    }
}
