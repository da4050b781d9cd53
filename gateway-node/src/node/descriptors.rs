//! Room for sockets: a connection is a file descriptor.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Descriptors that are not connections: listeners, polls, logs, libraries.
const OTHERS: u64 = 256;

/// Raises the soft limit of descriptors to the hard one, and says what that means for `connections`.
pub(super) fn raise(connections: usize) {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        Ok((soft, hard))
    });
    match raised {
        Ok((soft, hard)) => {
            let room = hard.saturating_sub(OTHERS).min(connections as u64);
            log::info!(soft = soft, raised_to = hard, room_for_connections = room; "descriptor limit");
        }
        Err(error) => log::warn!(cause:% = error; "the descriptor limit cannot be raised"),
    }
}
