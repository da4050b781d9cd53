//! The counts of guilds and their members.

use serde::{Deserialize, Serialize};

/// The totals over all live bots of an application, which are `d` of a `GLOBAL_GUILD_COUNT`.
///
/// Sums saturate: a total that is far too high merely reflects the reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GuildCount {
    /// The number of distinct guild ids, plus the sum of the reported counts.
    pub guilds: u64,
    /// The number of members of the guilds.
    pub guild_members: u64,
    /// The number of members that bots have cached.
    pub cached_guild_members: u64,
}

impl GuildCount {
    /// The name of the event.
    pub const NAME: &'static str = "GLOBAL_GUILD_COUNT";

    /// Returns the event's data.
    pub fn d(&self) -> String {
        let Self {
            guilds,
            guild_members,
            cached_guild_members,
        } = self;
        format!(r#"{{"guilds":{guilds},"guildMembers":{guild_members},"cachedGuildMembers":{cached_guild_members}}}"#)
    }

    /// Adds two counts field by field.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self {
            guilds: self.guilds.saturating_add(other.guilds),
            guild_members: self.guild_members.saturating_add(other.guild_members),
            cached_guild_members: self.cached_guild_members.saturating_add(other.cached_guild_members),
        }
    }
}
