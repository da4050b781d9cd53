//! What an application has of reports: their sums, and those that are delayed.

use std::sync::Arc;

use shared::v1::{Report, ReportedGuilds};
use tokio::sync::oneshot;

use crate::backplane::Position;

/// Sums of the counts that bots reported. They are `u128` because ten thousand bots that each report the largest
/// integer overflow 64 bits.
#[derive(Default)]
pub(super) struct Sums {
    pub(super) guilds: u128,
    pub(super) guild_members: u128,
    pub(super) cached_guild_members: u128,
}

impl Sums {
    pub(super) fn add(&mut self, report: &Report) {
        self.guilds += u128::from(count(report));
        self.guild_members += u128::from(report.guild_members);
        self.cached_guild_members += u128::from(report.cached_guild_members);
    }

    pub(super) fn remove(&mut self, report: &Report) {
        self.guilds -= u128::from(count(report));
        self.guild_members -= u128::from(report.guild_members);
        self.cached_guild_members -= u128::from(report.cached_guild_members);
    }
}

/// The number of guilds that a report counts without listing their ids.
const fn count(report: &Report) -> u64 {
    match report.guilds {
        ReportedGuilds::Count(count) => count,
        ReportedGuilds::Ids(_) => 0,
    }
}

/// A report that waits for its key's allowance.
pub(super) struct DelayedReport {
    /// The id of the key that it is charged to.
    pub(super) key: Arc<str>,
    pub(super) report: Report,
    /// Where to send the position at which it, or a later report in its place, is applied: one for each caller.
    pub(super) applied: Vec<oneshot::Sender<Position>>,
}
