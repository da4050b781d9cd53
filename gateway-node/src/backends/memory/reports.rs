//! The reports of bots, and the guilds that other sessions watch: applying them at the rate of their keys, and the counts
//! that follow from them.

use std::sync::Arc;

use shared::{
    client_type::ClientType,
    guild::GuildId,
    session_id::SessionId,
    v1::{Report, payload::GuildCount},
};
use tokio::{sync::oneshot, time::Instant};

use super::{application::MemoryApplication, report_state::DelayedReport, scopes::Watcher, waiting::Arrival};
use crate::backplane::{
    Entry, Epoch, Position,
    report_changes::{ReportChanges, guilds},
};

impl MemoryApplication {
    /// Replaces the report of a bot that is still connected, or the guilds that another session watches. Returns the
    /// entries that waited for a bot with its guilds, or the receiver of the position at which the report is applied, if
    /// it has to wait for its key's allowance.
    pub(super) fn report(
        &mut self,
        id: SessionId,
        key: &Arc<str>,
        report: Report,
        epoch: Epoch,
        now: Instant,
    ) -> Result<Vec<Entry>, oneshot::Receiver<Position>> {
        let Some(member) = self.members.get_mut(&id) else {
            return Ok(Vec::new());
        };
        let was_waiting = member.waiting.is_some();
        if was_waiting || !self.rates.wait(key, now).is_zero() {
            let (answer, answered) = oneshot::channel();
            let mut applied = member.waiting.take().map_or_else(Vec::new, |delayed| delayed.applied);
            applied.push(answer);
            member.waiting = Some(Box::new(DelayedReport {
                key: Arc::clone(key),
                report,
                applied,
            }));
            if !was_waiting {
                self.waiting.push_back(id);
            }
            return Err(answered);
        }
        Ok(self.apply(id, key, report, epoch, now))
    }

    /// Applies the delayed reports whose keys have an allowance. Returns when to call it again, if some still wait, and
    /// the entries that waited for sessions with the reported guilds.
    pub(super) fn apply_waiting(&mut self, epoch: Epoch, now: Instant) -> (Option<Instant>, Vec<Entry>) {
        let mut next: Option<Instant> = None;
        let mut entries = Vec::new();
        for _ in 0..self.waiting.len() {
            let Some(id) = self.waiting.pop_front() else { break };
            let Some(member) = self.members.get_mut(&id) else {
                continue;
            };
            let Some(delayed) = member.waiting.take() else {
                continue;
            };
            let wait = self.rates.wait(&delayed.key, now);
            if wait.is_zero() {
                entries.extend(self.apply(id, &delayed.key, delayed.report, epoch, now));
                let offset = self.top();
                for applied in delayed.applied {
                    let _ = applied.send(Position { offset, epoch });
                }
            } else {
                member.waiting = Some(delayed);
                self.waiting.push_back(id);
                next = next.into_iter().chain([now + wait]).min();
            }
        }
        (next, entries)
    }

    fn apply(&mut self, id: SessionId, key: &Arc<str>, report: Report, epoch: Epoch, now: Instant) -> Vec<Entry> {
        let Some(member) = self.members.get_mut(&id) else {
            return Vec::new();
        };
        let (kind, watcher) = (member.kind, member.watcher());
        let changes = ReportChanges::between(member.report.as_deref(), &report);
        let previous = member.report.take();
        self.rates.charge(key, changes.len(), now);
        if let Some(previous) = previous {
            self.sums.remove(&previous);
        }
        for guild in &changes.removed {
            self.unlist(*guild, id, watcher);
        }
        let mut entries = Vec::new();
        if kind == ClientType::Bot && !self.unreceived.is_empty() {
            let events = self.unreceived.take_for(&Arrival {
                session: id,
                kind,
                guilds: Some(&changes.added.iter().copied().collect()),
            });
            entries = self.entries_for(id, events, epoch);
        }
        for guild in changes.added {
            if kind == ClientType::Bot {
                self.reporters.entry(guild).or_default().push(id);
            } else {
                self.scopes.watch(guild, watcher);
            }
        }
        self.sums.add(&report);
        if let Some(member) = self.members.get_mut(&id) {
            member.report = Some(Box::new(report));
        }
        entries
    }

    /// Removes the report of a session that has ended.
    pub(super) fn forget(&mut self, id: SessionId, watcher: Watcher, report: Option<Box<Report>>) {
        let Some(report) = report else { return };
        self.sums.remove(&report);
        for guild in guilds(&report) {
            self.unlist(*guild, id, watcher);
        }
    }

    fn unlist(&mut self, guild: GuildId, id: SessionId, watcher: Watcher) {
        if watcher.kind != ClientType::Bot {
            return self.scopes.unwatch(guild, watcher);
        }
        if let Some(reporters) = self.reporters.get_mut(&guild) {
            reporters.retain(|reporter| *reporter != id);
            if reporters.is_empty() {
                self.reporters.remove(&guild);
            }
        }
    }

    /// The totals over all live bots: distinct guild ids plus reported counts.
    pub(super) fn counts(&self) -> GuildCount {
        let saturated = |sum: u128| u64::try_from(sum).unwrap_or(u64::MAX);
        GuildCount {
            guilds: saturated(self.sums.guilds + self.reporters.len() as u128),
            guild_members: saturated(self.sums.guild_members),
            cached_guild_members: saturated(self.sums.cached_guild_members),
        }
    }
}
