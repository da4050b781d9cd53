//! The Discord sessions that get what this node delivers, and have nothing else from the log.
//!
//! What such a client has seen is known to be in the log as long as nothing is lost that was delivered here. So when
//! Redis begins another life with all of that, the points of these sessions may be counted as points of the new life:
//! what their clients see from then on can be told from what was lost in the old one.

use std::sync::Mutex;

use rustc_hash::FxHashSet;
use shared::session_id::SessionId;

use crate::{
    backends::redis::application::lock,
    backplane::{Epoch, Owner},
};

/// A session, and which of its owners is here.
pub(in crate::backends::redis) type FencingToken = (SessionId, u64);

/// Those of one application.
#[derive(Default)]
pub(in crate::backends::redis) struct LiveSessions {
    state: Mutex<LiveState>,
}

#[derive(Default)]
struct LiveState {
    /// The life of the log in which everything stands that they have seen.
    epoch: Option<Epoch>,
    sessions: FxHashSet<FencingToken>,
}

impl LiveSessions {
    /// Notes whether a session is one of them.
    pub(in crate::backends::redis) fn note(&self, owner: &Owner, set_live: bool) {
        let sessions = &mut lock(&self.state).sessions;
        if set_live {
            sessions.insert((owner.id, owner.fencing_token));
        } else {
            sessions.remove(&(owner.id, owner.fencing_token));
        }
    }

    /// The life of the log in which everything stands that this session has seen; none where that is not known.
    pub(in crate::backends::redis) fn epoch_of(&self, owner: &Owner) -> Option<Epoch> {
        let state = lock(&self.state);
        let set_live = state.sessions.contains(&(owner.id, owner.fencing_token));
        state.epoch.filter(|_| set_live)
    }

    /// Notes that the log goes on in another life, with everything that was delivered here; the sessions whose points
    /// can be of that life now.
    pub(in crate::backends::redis) fn go_on(&self, epoch: Epoch) -> Vec<FencingToken> {
        let mut state = lock(&self.state);
        state.epoch = Some(epoch);
        state.sessions.iter().copied().collect()
    }

    /// Notes that the log goes on with less, or is followed from here on: of nobody is anything known.
    pub(in crate::backends::redis) fn begin(&self, epoch: Epoch) {
        let mut state = lock(&self.state);
        state.epoch = Some(epoch);
        state.sessions.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_a_session_is_known_as_long_as_nothing_is_lost() {
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
