//! How the bots of an application are seen, and by which of its sessions that is so.

use std::{collections::VecDeque, sync::Arc};

use rustc_hash::{FxHashMap, FxHashSet};
use shared::{discord::Shard, session_id::SessionId};

use super::presence::{PRESENCE_UPDATE, PresenceEvent, VOICE_STATE_UPDATE, event, offline};
use crate::backplane::Publication;

/// Which bot user a session is, and which of its guilds it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShardCoverage {
    pub(crate) session: SessionId,
    pub(crate) user: u64,
    pub(crate) shard: Shard,
}

/// What others see of the bots of one application. A presence is the bot user's: it stays while any session of the user has
/// the guild. A voice state is its session's.
#[derive(Debug, Default)]
pub(crate) struct PresenceTracker {
    /// How many sessions have each shard of a user.
    covers: FxHashMap<(u64, Shard), usize>,
    /// What tells a presence from another one, by user and guild. Who is seen as offline is not among them.
    presences: FxHashMap<(u64, u64), u64>,
    /// Whose voice state it is, and what is told when that is over, by user and guild.
    voices: FxHashMap<(u64, u64), (SessionId, Arc<str>)>,
    /// Sessions that are over and have still to be seen no more.
    over: VecDeque<ShardCoverage>,
    /// What is to be told of them.
    leaving: VecDeque<Publication>,
}

impl PresenceTracker {
    /// Notes a session.
    pub(crate) fn begins(&mut self, coverage: ShardCoverage) {
        *self.covers.entry((coverage.user, coverage.shard)).or_default() += 1;
    }

    /// Notes that a session is over.
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

    /// Whether it has to be told.
    pub(crate) fn is_news(&self, coverage: ShardCoverage, event: &PresenceEvent) -> bool {
        let guild = event.guild();
        coverage.shard.has(Some(guild))
            && match event {
                PresenceEvent::Presence(payload, _) => {
                    self.presences.get(&(coverage.user, guild)).copied() != payload.digest()
                }
                // A client waits for the answer, whatever it was before.
                PresenceEvent::Voice(_) => true,
            }
    }

    /// Notes that it is told.
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

    /// What is to be told next of sessions that are over, `most` at once. It stays until it [is told](Self::left).
    pub(crate) fn leaving(&mut self, most: usize) -> Vec<Publication> {
        while self.leaving.len() < most
            && let Some(coverage) = self.over.pop_front()
        {
            self.forget(coverage);
        }
        self.leaving.iter().take(most).cloned().collect()
    }

    /// Notes that the first `count` of them are told.
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

    /// The guild with this number, which is the remainder that shards go by.
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

    /// The numbers of the guilds that a presence or a voice state is gone from.
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
    fn a_presence_that_is_seen_already_is_no_news() {
        let (mut seen, one) = (PresenceTracker::default(), coverage(1, 0, 1));
        seen.begins(one);
        assert!(
            !show(&mut seen, one, &presence(Status::Invisible, 1)),
            "nobody was there"
        );
        assert!(show(&mut seen, one, &presence(Status::Idle, 1)));
        assert!(!show(&mut seen, one, &presence(Status::Idle, 1)));
        assert!(show(&mut seen, one, &presence(Status::Idle, 2)));
        assert!(show(&mut seen, one, &presence(Status::Invisible, 1)));
        assert!(!show(&mut seen, one, &presence(Status::Offline, 1)));
        assert!(
            !show(&mut seen, coverage(1, 1, 2), &presence(Status::Idle, 4)),
            "of another shard"
        );
        seen.ends(one);
        assert_eq!(left(&mut seen), [(2, true)]);
        assert_eq!(left(&mut seen), []);
    }

    #[test]
    fn a_presence_stays_while_a_session_of_the_user_has_the_guild() {
        let mut seen = PresenceTracker::default();
        let (whole, even, odd) = (coverage(1, 0, 1), coverage(2, 0, 2), coverage(3, 1, 2));
        for coverage in [whole, even, odd, coverage(4, 0, 1)] {
            seen.begins(coverage);
        }
        for number in 0..4 {
            show(&mut seen, whole, &presence(Status::Online, number));
        }
        seen.ends(whole);
        assert_eq!(left(&mut seen), [], "another one has the very same shard");
        seen.ends(coverage(4, 0, 1));
        seen.ends(even);
        assert_eq!(left(&mut seen), [(0, true), (2, true)]);
        // What it has never said itself it has taken over.
        seen.ends(odd);
        assert_eq!(left(&mut seen), [(1, true), (3, true)]);
    }

    #[test]
    fn a_voice_state_goes_with_its_session() {
        let (mut seen, one, two) = (PresenceTracker::default(), coverage(1, 0, 1), coverage(2, 0, 1));
        seen.begins(one);
        seen.begins(two);
        for number in [1, 2, 3] {
            assert!(show(&mut seen, one, &voice(1, number, Some(5))));
        }
        assert!(show(&mut seen, one, &voice(1, 1, Some(5))), "a client waits for it");
        assert!(show(&mut seen, two, &voice(2, 2, Some(6))), "it has moved");
        assert!(show(&mut seen, two, &voice(2, 3, None)));
        seen.ends(one);
        assert_eq!(left(&mut seen), [(1, false)]);
        seen.ends(two);
        assert_eq!(left(&mut seen), [(2, false)]);
    }

    #[test]
    fn what_is_to_be_told_stays_until_it_is() {
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
