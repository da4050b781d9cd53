//! What makes one run of a node differ from another.

use std::time::SystemTime;

/// Randomness and wall-clock time for a node, passed in by the caller that starts it.
#[derive(Debug, Clone, Copy)]
pub struct KeyOrigin {
    /// Identifies this run of the node, and of a log in memory.
    pub random: [u8; 8],
    /// The wall-clock time.
    pub now: SystemTime,
}
