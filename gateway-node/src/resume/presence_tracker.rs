//! The published presences and voice states of an application's bots, and the sessions that they come from.

use std::{collections::VecDeque, sync::Arc};

use rustc_hash::{FxHashMap, FxHashSet};
use shared::{discord::Shard, session_id::SessionId};

use super::presence::{PRESENCE_UPDATE, PresenceEvent, VOICE_STATE_UPDATE, event, offline};
use crate::backplane::Publication;

/// The bot user of a session, and the shard of guilds that the session covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShardCoverage {
    pub(crate) session: SessionId,
    pub(crate) user: u64,
    pub(crate) shard: Shard,
}

/// Tracks the published presences and voice states of one application's bots. A presence belongs to the bot user: it
/// stays while any session of the user covers the guild. A voice state belongs to its session.
#[derive(Debug, Default)]
pub(crate) struct PresenceTracker {
    /// The number of sessions that cover each shard of a user.
    covers: FxHashMap<(u64, Shard), usize>,
    /// The digest of each published presence, by user and guild. Offline presences are not stored.
    presences: FxHashMap<(u64, u64), u64>,
    /// The session of each voice state, and the event data that undoes it, by user and guild.
    voices: FxHashMap<(u64, u64), (SessionId, Arc<str>)>,
    /// Ended sessions whose presence and voice states have not been undone yet.
    over: VecDeque<ShardCoverage>,
    /// The events that undo them, waiting to be published.
    leaving: VecDeque<Publication>,
}

impl PresenceTracker {
    /// Records a new session.
    pub(crate) fn begins(&mut self, coverage: ShardCoverage) {
        *self.covers.entry((coverage.user, coverage.shard)).or_default() += 1;
    }

    /// Records that a session has ended.
    pub(crate) fn ends(&mut self, coverage: ShardCoverage) {
        let key = (coverage.user, coverage.shard);
        if let Some(count) = self.covers.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.covers.remove(&key);
            }
        }
        self.over.push_back(coverage);
    }

    /// Whether an update has to be published.
    pub(crate) fn is_news(&self, coverage: ShardCoverage, event: &PresenceEvent) -> bool {
        let guild = event.guild();
        coverage.shard.has(Some(guild))
            && match event {
                PresenceEvent::Presence(payload, _) => {
                    self.presences.get(&(coverage.user, guild)).copied() != payload.digest()
                }
                // A client waits for this event, even if nothing changed.
                PresenceEvent::Voice(_) => true,
            }
    }

    /// Records that an update has been published.
    pub(crate) fn published(&mut self, coverage: ShardCoverage, event: &PresenceEvent) {
        let key = (coverage.user, event.guild());
        match event {
            PresenceEvent::Presence(payload, _) => match payload.digest() {
                Some(digest) => drop(self.presences.insert(key, digest)),
                None => drop(self.presences.remove(&key)),
            },
            PresenceEvent::Voice(voice) => match voice.leaving() {
                Some(leaving) => drop(self.voices.insert(key, (coverage.session, Arc::clone(leaving)))),
                None => drop(self.voices.remove(&key)),
            },
        }
    }

    /// Returns the next `most` events to publish for ended sessions. They stay queued until [`Self::left`] confirms
    /// them.
    pub(crate) fn leaving(&mut self, most: usize) -> Vec<Publication> {
        while self.leaving.len() < most
            && let Some(coverage) = self.over.pop_front()
        {
            self.forget(coverage);
        }
        self.leaving.iter().take(most).cloned().collect()
    }

    /// Records that the first `count` of those events have been published.
    pub(crate) fn left(&mut self, count: usize) {
        self.leaving.drain(..count.min(self.leaving.len()));
    }

    fn forget(&mut self, ShardCoverage { session, user, shard }: ShardCoverage) {
        let Self {
            covers,
            presences,
            voices,
            leaving,
            ..
        } = self;
        let of_session = voices.extract_if(|_, (owner, _)| *owner == session);
        leaving.extend(of_session.map(|((_, guild), (_, d))| event(VOICE_STATE_UPDATE, guild, d)));
        if covers.contains_key(&(user, shard)) {
            return;
        }
        let of_user = covers.keys().filter(|(other, _)| *other == user);
        let counts: FxHashSet<u32> = of_user.map(|(_, shard)| shard.count).collect();
        let is_covered = |guild: u64| {
            let mut shards = counts.iter().map(|count| Shard::of_guild(Some(guild), *count));
            shards.any(|shard| covers.contains_key(&(user, shard)))
        };
        let gone =
            presences.extract_if(|(other, guild), _| *other == user && shard.has(Some(*guild)) && !is_covered(*guild));
        leaving.extend(gone.map(|((_, guild), _)| event(PRESENCE_UPDATE, guild, offline(user, guild))));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use shared::discord::{Presence, Status, VoiceState};

    use super::*;
    use crate::resume::presence::{PresencePayload, VoicePayload};

    const ME: u64 = 7;

    fn coverage(session: u64, id: u32, count: u32) -> ShardCoverage {
        ShardCoverage {
            session: SessionId::from_raw(session),
            user: ME,
            shard: Shard { id, count },
        }
    }

    /// The guild with this number. Shards are assigned by its remainder.
    fn guild(number: u64) -> u64 {
        number << 22
    }

    fn presence(status: Status, number: u64) -> PresenceEvent {
        let presence = Presence {
            status,
            ..Presence::default()
        };
        PresenceEvent::Presence(Arc::new(PresencePayload::new(ME, presence)), guild(number))
    }

    fn voice(session: u64, number: u64, channel: Option<u64>) -> PresenceEvent {
        let state = VoiceState {
            guild: guild(number),
            channel,
            self_mute: false,
            self_deaf: false,
            self_video: false,
        };
        let published = |state: VoiceState| state.update(ME, SessionId::from_raw(session), None, None).to_string();
        PresenceEvent::Voice(Arc::new(VoicePayload::new(state, published)))
    }

    fn show(seen: &mut PresenceTracker, coverage: ShardCoverage, event: &PresenceEvent) -> bool {
        let is_news = seen.is_news(coverage, event);
        if is_news {
            seen.published(coverage, event);
        }
        is_news
    }

    /// Publishes what is pending for ended sessions. Returns the guilds' numbers, each with whether a presence (`true`)
    /// or a voice state (`false`) was undone.
    fn left(seen: &mut PresenceTracker) -> Vec<(u64, bool)> {
        let events = seen.leaving(100);
        seen.left(100);
        let mut left: Vec<_> = events
            .iter()
            .map(|event| {
                let d: Value = serde_json::from_str(&event.d).unwrap();
                let is_presence = &*event.name == PRESENCE_UPDATE;
                assert_eq!(d["status"] == "offline", is_presence, "{d}");
                assert!(d["channel_id"].is_null(), "{d}");
                let guild: u64 = d["guild_id"].as_str().unwrap().parse().unwrap();
                (guild >> 22, is_presence)
            })
            .collect();
        left.sort_unstable();
        left
    }

    #[test]
    fn an_unchanged_presence_is_not_published_again() {
        let (mut seen, one) = (PresenceTracker::default(), coverage(1, 0, 1));
        seen.begins(one);
        assert!(
            !show(&mut seen, one, &presence(Status::Invisible, 1)),
            "no presence was published"
        );
        assert!(show(&mut seen, one, &presence(Status::Idle, 1)));
        assert!(!show(&mut seen, one, &presence(Status::Idle, 1)));
        assert!(show(&mut seen, one, &presence(Status::Idle, 2)));
        assert!(show(&mut seen, one, &presence(Status::Invisible, 1)));
        assert!(!show(&mut seen, one, &presence(Status::Offline, 1)));
        assert!(
            !show(&mut seen, coverage(1, 1, 2), &presence(Status::Idle, 4)),
            "the guild belongs to another shard"
        );
        seen.ends(one);
        assert_eq!(left(&mut seen), [(2, true)]);
        assert_eq!(left(&mut seen), []);
    }

    #[test]
    fn a_presence_stays_while_a_session_of_the_user_covers_the_guild() {
        let mut seen = PresenceTracker::default();
        let (whole, even, odd) = (coverage(1, 0, 1), coverage(2, 0, 2), coverage(3, 1, 2));
        for coverage in [whole, even, odd, coverage(4, 0, 1)] {
            seen.begins(coverage);
        }
        for number in 0..4 {
            show(&mut seen, whole, &presence(Status::Online, number));
        }
        seen.ends(whole);
        assert_eq!(left(&mut seen), [], "another session has the same shard");
        seen.ends(coverage(4, 0, 1));
        seen.ends(even);
        assert_eq!(left(&mut seen), [(0, true), (2, true)]);
        // It covers guilds whose presence another session of the user published.
        seen.ends(odd);
        assert_eq!(left(&mut seen), [(1, true), (3, true)]);
    }

    #[test]
    fn a_voice_state_ends_with_its_session() {
        let (mut seen, one, two) = (PresenceTracker::default(), coverage(1, 0, 1), coverage(2, 0, 1));
        seen.begins(one);
        seen.begins(two);
        for number in [1, 2, 3] {
            assert!(show(&mut seen, one, &voice(1, number, Some(5))));
        }
        assert!(
            show(&mut seen, one, &voice(1, 1, Some(5))),
            "a client waits for the event"
        );
        assert!(
            show(&mut seen, two, &voice(2, 2, Some(6))),
            "the bot has moved to the other session's channel"
        );
        assert!(show(&mut seen, two, &voice(2, 3, None)));
        seen.ends(one);
        assert_eq!(left(&mut seen), [(1, false)]);
        seen.ends(two);
        assert_eq!(left(&mut seen), [(2, false)]);
    }

    #[test]
    fn events_of_ended_sessions_stay_queued_until_published() {
        let (mut seen, one) = (PresenceTracker::default(), coverage(1, 0, 1));
        seen.begins(one);
        for number in 0..5 {
            show(&mut seen, one, &presence(Status::Dnd, number));
        }
        seen.ends(one);
        assert_eq!(seen.leaving(2).len(), 2);
        assert_eq!(seen.leaving(3).len(), 3);
        seen.left(3);
        assert_eq!(seen.leaving(10).len(), 2);
        seen.left(2);
        assert!(seen.leaving(10).is_empty());
    }
}
