//! The live Discord sessions: they receive what this node delivers, and nothing else from the log.
//!
//! Everything that such a client has seen is in the log, as long as no entry delivered here is lost. So when Redis
//! begins a new epoch with all of them, the checkpoints of these sessions may be moved to the new epoch. What their
//! clients receive from then on can be distinguished from what the old epoch lost.

use parking_lot::Mutex;
use rustc_hash::FxHashSet;
use shared::session_id::SessionId;

use crate::backplane::{Epoch, Owner};

/// A session, and the fencing token of its owner on this node.
pub(in crate::backends::redis) type FencingToken = (SessionId, u64);

/// The live sessions of one application.
#[derive(Default)]
pub(in crate::backends::redis) struct LiveSessions {
    state: Mutex<LiveState>,
}

#[derive(Default)]
struct LiveState {
    /// The epoch that everything they have seen belongs to.
    epoch: Option<Epoch>,
    sessions: FxHashSet<FencingToken>,
}

impl LiveSessions {
    /// Records whether a session is live.
    pub(in crate::backends::redis) fn note(&self, owner: &Owner, is_live: bool) {
        let sessions = &mut self.state.lock().sessions;
        if is_live {
            sessions.insert((owner.id, owner.fencing_token));
        } else {
            sessions.remove(&(owner.id, owner.fencing_token));
        }
    }

    /// The epoch that everything this session has seen belongs to; `None` if it is not live.
    pub(in crate::backends::redis) fn epoch_of(&self, owner: &Owner) -> Option<Epoch> {
        let state = self.state.lock();
        let is_live = state.sessions.contains(&(owner.id, owner.fencing_token));
        state.epoch.filter(|_| is_live)
    }

    /// Records a new epoch that has everything delivered here. Returns the sessions whose checkpoints may be moved to
    /// it.
    pub(in crate::backends::redis) fn go_on(&self, epoch: Epoch) -> Vec<FencingToken> {
        let mut state = self.state.lock();
        state.epoch = Some(epoch);
        state.sessions.iter().copied().collect()
    }

    /// Records a new epoch with losses, or the start of following the log. No session is live any more.
    pub(in crate::backends::redis) fn begin(&self, epoch: Epoch) {
        let mut state = self.state.lock();
        state.epoch = Some(epoch);
        state.sessions.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_epoch_of_a_live_session_is_known_until_a_loss() {
        let (live, [old, new, newest]) = (LiveSessions::default(), [1, 2, 3].map(Epoch::from_raw));
        let owner = |fencing_token| Owner {
            application: "a".into(),
            id: SessionId::from_raw(7),
            fencing_token,
        };
        live.begin(old);
        live.note(&owner(1), true);
        assert_eq!((live.epoch_of(&owner(1)), live.epoch_of(&owner(2))), (Some(old), None));
        assert_eq!(live.go_on(new), [(SessionId::from_raw(7), 1)]);
        assert_eq!(live.epoch_of(&owner(1)), Some(new));
        live.note(&owner(1), false);
        assert_eq!((live.epoch_of(&owner(1)), live.go_on(new)), (None, vec![]));
        live.note(&owner(2), true);
        live.begin(newest);
        assert_eq!(live.epoch_of(&owner(2)), None);
    }
}
