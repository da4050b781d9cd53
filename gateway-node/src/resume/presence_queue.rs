//! Presence and voice-state updates waiting to be published.
//!
//! Each session has only its latest presence and its latest voice state per guild in the queue. The rate is bounded, so
//! that a bot in many guilds does not hold up everything else that goes through the log.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::{Mutex, MutexGuard};
use rustc_hash::FxHashMap;
use tokio::sync::Notify;

use super::presence::{PresenceChange, PresenceEvent, PresencePayload, VoicePayload};
use crate::backplane::Owner;

/// The maximum number of events in one batch.
pub(crate) const AT_ONCE: usize = 64;
/// The pause after a full batch.
const PAUSE: Duration = Duration::from_millis(100);
/// The maximum number of updates in the queue. Further changes are refused.
const MOST: usize = 1 << 18;

/// The queue of a node.
#[derive(Default)]
pub(crate) struct PresenceQueue {
    state: Mutex<PresenceQueueState>,
    changed: Notify,
}

#[derive(Default)]
struct PresenceQueueState {
    wishes: FxHashMap<Owner, PendingChanges>,
    /// The sessions in turn. Each session with pending changes is here once.
    turns: VecDeque<Owner>,
    /// The number of events that the pending changes make.
    count: usize,
    /// The number of updates taken but not yet published.
    under_way: usize,
}

#[derive(Default)]
struct PendingChanges {
    presence: Option<(Arc<PresencePayload>, VecDeque<u64>)>,
    voices: VecDeque<Arc<VoicePayload>>,
}

impl PendingChanges {
    fn count(&self) -> usize {
        let guilds = self.presence.as_ref().map_or(0, |(_, guilds)| guilds.len());
        guilds + self.voices.len()
    }

    fn change(&mut self, change: PresenceChange) {
        match change {
            PresenceChange::Presence(payload, guilds) => self.presence = Some((payload, guilds.into())),
            PresenceChange::Voice(voice) => {
                self.voices.retain(|earlier| earlier.guild() != voice.guild());
                self.voices.push_back(voice);
            }
        }
    }

    /// The next update to publish. Voice states go first, since a client waits for its own.
    fn next(&mut self) -> Option<PresenceEvent> {
        if let Some(voice) = self.voices.pop_front() {
            return Some(PresenceEvent::Voice(voice));
        }
        let (payload, guilds) = self.presence.as_mut()?;
        let guild = guilds.pop_front()?;
        Some(PresenceEvent::Presence(Arc::clone(payload), guild))
    }

    /// Puts an unpublished update back, unless there is a newer one.
    fn requeue(&mut self, event: PresenceEvent) {
        match event {
            PresenceEvent::Voice(voice) => {
                if self.voices.iter().all(|newer| newer.guild() != voice.guild()) {
                    self.voices.push_front(voice);
                }
            }
            PresenceEvent::Presence(payload, guild) => {
                let (present, guilds) = self
                    .presence
                    .get_or_insert_with(|| (Arc::clone(&payload), VecDeque::new()));
                if Arc::ptr_eq(present, &payload) {
                    guilds.push_front(guild);
                }
            }
        }
    }
}

impl PresenceQueue {
    /// Queues a change of a session. Returns `false` if the queue is full.
    pub(crate) fn change(&self, owner: &Owner, change: PresenceChange) -> bool {
        let mut state = self.lock();
        let PresenceQueueState {
            wishes, turns, count, ..
        } = &mut *state;
        let more = match &change {
            PresenceChange::Presence(_, guilds) => guilds.len(),
            PresenceChange::Voice(_) => 1,
        };
        if *count + more > MOST {
            return false;
        }
        let theirs = wishes.entry(owner.clone()).or_insert_with(|| {
            turns.push_back(owner.clone());
            PendingChanges::default()
        });
        *count -= theirs.count();
        theirs.change(change);
        *count += theirs.count();
        drop(state);
        self.changed.notify_one();
        true
    }

    /// Takes the next batch of updates, grouped by session, each session in turn.
    pub(crate) fn take(&self) -> Vec<(Owner, Vec<PresenceEvent>)> {
        let mut state = self.lock();
        let mut taken: Vec<(Owner, Vec<PresenceEvent>)> = Vec::new();
        let mut left = AT_ONCE;
        while left > 0
            && let Some(owner) = state.turns.pop_front()
        {
            let Some(wishes) = state.wishes.get_mut(&owner) else {
                continue;
            };
            let next: Vec<_> = std::iter::from_fn(|| wishes.next()).take(left).collect();
            if wishes.count() == 0 {
                state.wishes.remove(&owner);
            } else {
                state.turns.push_back(owner.clone());
            }
            left -= next.len();
            state.count -= next.len();
            if !next.is_empty() {
                taken.push((owner, next));
            }
        }
        state.under_way = AT_ONCE - left;
        taken
    }

    /// Puts back a batch that could not be published.
    pub(crate) fn requeue(&self, taken: Vec<(Owner, Vec<PresenceEvent>)>) {
        let mut state = self.lock();
        let PresenceQueueState {
            wishes, turns, count, ..
        } = &mut *state;
        for (owner, presence_queue) in taken {
            let theirs = wishes.entry(owner.clone()).or_insert_with(|| {
                turns.push_front(owner);
                PendingChanges::default()
            });
            *count -= theirs.count();
            for event in presence_queue.into_iter().rev() {
                theirs.requeue(event);
            }
            *count += theirs.count();
        }
        state.under_way = 0;
    }

    /// Records that the batch taken last has been published.
    pub(crate) fn published(&self) {
        self.lock().under_way = 0;
    }

    /// Whether everything has been published.
    pub(crate) fn is_flushed(&self) -> bool {
        let state = self.lock();
        state.count == 0 && state.under_way == 0
    }

    /// Waits until there may be something to publish.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Wakes the task that waits in [`Self::changed`].
    pub(crate) fn look(&self) {
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, PresenceQueueState> {
        // No code panics while the state is half changed.
        self.state.lock()
    }
}

/// The pause after publishing this many events.
pub(crate) fn pause_after(events: usize) -> Duration {
    let share = u32::try_from(events.min(AT_ONCE)).unwrap_or(u32::MAX);
    PAUSE * share / u32::try_from(AT_ONCE).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use shared::{
        discord::{Presence, Status, VoiceState},
        session_id::SessionId,
    };

    use super::*;

    fn owner(id: u64) -> Owner {
        Owner {
            application: "a".into(),
            id: SessionId::from_raw(id),
            fencing_token: 1,
        }
    }

    fn presence(status: Status, guilds: impl IntoIterator<Item = u64>) -> PresenceChange {
        let presence = Presence {
            status,
            ..Presence::default()
        };
        PresenceChange::Presence(
            Arc::new(PresencePayload::new(1, presence)),
            guilds.into_iter().collect(),
        )
    }

    fn voice(guild: u64, channel: u64) -> PresenceChange {
        let state = VoiceState {
            guild,
            channel: Some(channel),
            self_mute: false,
            self_deaf: false,
            self_video: false,
        };
        PresenceChange::Voice(Arc::new(VoicePayload::new(state, |state| {
            format!("{:?}", state.channel)
        })))
    }

    /// Returns the session, guild and data of each update taken.
    fn take(queue: &PresenceQueue) -> Vec<(u64, u64, String)> {
        let taken = queue.take();
        queue.published();
        let of = |(owner, list): (Owner, Vec<PresenceEvent>)| {
            let published = move |it: PresenceEvent| (owner.id.get(), it.guild(), status(&it.d()));
            list.into_iter().map(published).collect::<Vec<_>>()
        };
        taken.into_iter().flat_map(of).collect()
    }

    fn status(d: &str) -> String {
        let value: Option<serde_json::Value> = serde_json::from_str(d).ok();
        let status = value.and_then(|value| value["status"].as_str().map(str::to_owned));
        status.unwrap_or_else(|| d.to_owned())
    }

    fn published(session: u64, guild: u64, body: &str) -> (u64, u64, String) {
        (session, guild, body.to_owned())
    }

    #[test]
    fn only_the_latest_change_of_a_session_is_published() {
        let queue = PresenceQueue::default();
        for change in [
            presence(Status::Online, [1, 2, 3]),
            voice(1, 10),
            voice(2, 20),
            voice(1, 11),
            presence(Status::Idle, [2, 3]),
        ] {
            assert!(queue.change(&owner(1), change));
        }
        assert_eq!(
            take(&queue),
            [
                published(1, 2, "Some(20)"),
                published(1, 1, "Some(11)"),
                published(1, 2, "idle"),
                published(1, 3, "idle"),
            ]
        );
        assert!(queue.is_flushed() && take(&queue).is_empty());
    }

    #[test]
    fn sessions_take_turns() {
        let queue = PresenceQueue::default();
        let many = AT_ONCE as u64 + 1;
        queue.change(&owner(1), presence(Status::Dnd, 0..many));
        queue.change(&owner(2), presence(Status::Idle, [7]));
        assert_eq!(take(&queue).len(), AT_ONCE);
        assert_eq!(take(&queue), [published(2, 7, "idle"), published(1, many - 1, "dnd")]);
        assert_eq!((pause_after(AT_ONCE), pause_after(0)), (PAUSE, Duration::ZERO));
        assert_eq!(pause_after(usize::MAX), PAUSE);
    }

    #[test]
    fn failed_updates_are_requeued_unless_a_newer_one_is_pending() {
        let queue = PresenceQueue::default();
        queue.change(&owner(1), presence(Status::Dnd, [1, 2]));
        queue.change(&owner(1), voice(1, 10));
        queue.change(&owner(2), presence(Status::Dnd, [3]));
        let taken = queue.take();
        assert!(!queue.is_flushed());
        queue.change(&owner(1), voice(1, 11));
        queue.change(&owner(2), presence(Status::Online, [4]));
        queue.requeue(taken);
        assert_eq!(
            take(&queue),
            [
                published(1, 1, "Some(11)"),
                published(1, 1, "dnd"),
                published(1, 2, "dnd"),
                published(2, 4, "online"),
            ]
        );
        assert!(queue.is_flushed());
    }

    #[test]
    fn the_queue_is_bounded() {
        let queue = PresenceQueue::default();
        assert!(queue.change(&owner(1), presence(Status::Dnd, 0..MOST as u64)));
        assert!(!queue.change(&owner(2), voice(1, 1)));
        take(&queue);
        assert!(queue.change(&owner(2), voice(1, 1)));
    }
}
