//! The difference between two reports.

use shared::{
    guild::GuildId,
    v1::{Report, ReportedGuilds},
};

/// The guilds that `to` lists and `from` does not, and those that `from` lists and `to` does not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ReportChanges {
    pub(crate) added: Vec<GuildId>,
    pub(crate) removed: Vec<GuildId>,
}

impl ReportChanges {
    /// Compares a report with the previous one, if there is one.
    pub(crate) fn between(from: Option<&Report>, to: &Report) -> Self {
        let (mut from, mut to) = (from.map_or(&[][..], guilds), guilds(to));
        let mut changes = Self::default();
        // Both are in ascending order.
        loop {
            match (from, to) {
                ([old, old_rest @ ..], [new, ..]) if old < new => {
                    changes.removed.push(*old);
                    from = old_rest;
                }
                ([old, old_rest @ ..], [new, new_rest @ ..]) if old == new => (from, to) = (old_rest, new_rest),
                (_, [new, new_rest @ ..]) => {
                    changes.added.push(*new);
                    to = new_rest;
                }
                (rest, []) => {
                    changes.removed.extend_from_slice(rest);
                    return changes;
                }
            }
        }
    }

    /// The number of guilds that change.
    pub(crate) const fn len(&self) -> usize {
        self.added.len() + self.removed.len()
    }
}

/// The guilds that a report lists; empty if it is a count.
pub(crate) fn guilds(report: &Report) -> &[GuildId] {
    match &report.guilds {
        ReportedGuilds::Count(_) => &[],
        ReportedGuilds::Ids(ids) => ids,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(guilds: &[u64]) -> Report {
        Report {
            guilds: ReportedGuilds::Ids(ids(guilds)),
            guild_members: 0,
            cached_guild_members: 0,
            shard: None,
        }
    }

    fn ids(guilds: &[u64]) -> Vec<GuildId> {
        guilds.iter().copied().map(GuildId::from_raw).collect()
    }

    #[test]
    fn only_added_and_removed_guilds_are_changes() {
        for (from, to, added, removed) in [
            (&[][..], &[1, 2][..], &[1, 2][..], &[][..]),
            (&[1, 2], &[], &[], &[1, 2]),
            (&[1, 3, 5], &[2, 3, 6, 7], &[2, 6, 7], &[1, 5]),
            (&[4, 5], &[4, 5], &[], &[]),
        ] {
            let changes = ReportChanges::between(Some(&report(from)), &report(to));
            assert_eq!(
                (changes.added, changes.removed),
                (ids(added), ids(removed)),
                "{from:?} {to:?}"
            );
        }
        let count = Report {
            guilds: ReportedGuilds::Count(7),
            ..report(&[])
        };
        assert_eq!(ReportChanges::between(None, &count).len(), 0);
        assert_eq!(ReportChanges::between(Some(&report(&[1, 2])), &count).len(), 2);
    }
}
