//! The guilds of a v1 session.

use shared::guild::GuildId;

/// What the guilds of a v1 session are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GuildsUse {
    /// It reports them.
    Reported,
    /// It watches them.
    Watched,
    /// It is a bot that has caught up, and watches the guilds of its identify until its first report is applied.
    WatchedUntilReported,
}

/// Returns the number of guilds in a list, which the protocol limits to far less than 2^32.
pub(super) fn count_of(guilds: &[GuildId]) -> u32 {
    u32::try_from(guilds.len()).unwrap_or(u32::MAX)
}
