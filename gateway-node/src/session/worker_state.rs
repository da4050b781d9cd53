//! What the sessions of one worker share.

use super::{ClientNames, MemberLists, Turns};
use crate::{app_state::AppState, registry::RegistryShard};

/// What the sessions of one worker share.
pub struct WorkerState {
    /// The handles that all of the node shares.
    pub app: AppState,
    /// This worker's part of the registry.
    pub shard: RegistryShard,
    /// Takes turns at long work.
    pub turns: Turns,
    /// Limits how often bots get all members of a guild.
    pub member_lists: MemberLists,
    /// The names of the clients of this worker.
    pub client_names: ClientNames,
}
