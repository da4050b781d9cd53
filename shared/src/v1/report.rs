//! `send_servers`: what a bot, or one shard of it, manages.

use serde_json::value::RawValue;

use super::{Rejection, SEND_SERVERS, Shard};
use crate::{
    client_type::ClientType,
    fields::{elements, fields, integer, string},
    guild::GuildId,
    problem::{Problem, ProblemKind},
    routing::shape_of_data,
};

/// The most guild ids that one report may list.
pub const MAX_GUILDS: usize = 10_000;

/// One report. It replaces the bot's previous one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The guilds; a count of 0 if the field was left out.
    pub guilds: ReportedGuilds,
    /// `guildMembers`, from 0 to 2^53 − 1; 0 if it was left out.
    pub guild_members: u64,
    /// `cachedGuildMembers`, from 0 to 2^53 − 1; 0 if it was left out.
    pub cached_guild_members: u64,
    /// Which shard of the bot reports.
    pub shard: Option<Shard>,
}

/// The guilds of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReportedGuilds {
    /// How many, from 0 to 2^53 − 1.
    Count(u64),
    /// Which ones: in ascending order, each once, at most [`MAX_GUILDS`].
    Ids(Vec<GuildId>),
}

impl Report {
    /// Reads `d` of a `send_servers` from a client of the type `sender`.
    ///
    /// # Errors
    ///
    /// Malformed data with everything that is wrong: the shape of `d`, then the sender, then the fields in the order
    /// guilds, its elements, `guildMembers`, `cachedGuildMembers`, shard.
    pub fn parse(d: Option<&RawValue>, sender: ClientType) -> Result<Self, Rejection> {
        let mut problems = Vec::new();
        let d = shape_of_data(d, &mut problems);
        if sender != ClientType::Bot {
            problems.push(
                Problem::with_str("Only bots send servers.", SEND_SERVERS)
                    .of_kind(ProblemKind::NotAllowed),
            );
        }
        let report = d.and_then(|d| Self::parse_fields(d, &mut problems));
        report
            .filter(|_| problems.is_empty())
            .ok_or(Rejection::malformed(problems))
    }

    fn parse_fields(d: &RawValue, problems: &mut Vec<Problem>) -> Option<Self> {
        let [guilds, members, cached, shard] = fields(
            d.get(),
            ["guilds", "guildMembers", "cachedGuildMembers", "shard"],
        )?;
        if guilds.is_none() && members.is_none() && cached.is_none() {
            problems.push(Problem::absent("Nothing reported."));
        }
        let report = Self {
            guilds: guilds.map_or(ReportedGuilds::Count(0), |guilds| {
                ReportedGuilds::parse(guilds, problems)
            }),
            guild_members: count(
                members,
                "Guild members must be an integer from 0 to 9007199254740991.",
                problems,
            ),
            cached_guild_members: count(
                cached,
                "Cached guild members must be an integer from 0 to 9007199254740991.",
                problems,
            ),
            shard: shard.and_then(|shard| Shard::parse(shard, problems)),
        };
        Some(report)
    }
}

impl ReportedGuilds {
    /// Reads `guilds`. What is returned beside a problem is never used.
    fn parse(value: &RawValue, problems: &mut Vec<Problem>) -> Self {
        if let Some(count) = integer(value) {
            return Self::Count(count);
        }
        let Some(elements) = elements(value) else {
            problems.push(Problem::with(
                "Guilds must be a count or an array of ids.",
                value,
            ));
            return Self::Count(0);
        };
        if elements.len() > MAX_GUILDS {
            problems.push(Problem::with("Guilds must be at most 10000 ids.", value));
            return Self::Count(0);
        }
        let mut ids = Vec::with_capacity(elements.len());
        for element in elements {
            match guild_id(element) {
                Some(id) => ids.push(id),
                None => problems.push(Problem::with("Guild is not an id.", element)),
            }
        }
        ids.sort_unstable();
        ids.dedup();
        Self::Ids(ids)
    }
}

/// [`GuildId::from_json`], without a detour over a parsed value.
fn guild_id(value: &RawValue) -> Option<GuildId> {
    match string(value) {
        Some(digits) => GuildId::from_digits(&digits),
        None => integer(value).map(GuildId::from_raw),
    }
}

fn count(value: Option<&RawValue>, error: &'static str, problems: &mut Vec<Problem>) -> u64 {
    let Some(value) = value else { return 0 };
    integer(value).unwrap_or_else(|| {
        problems.push(Problem::with(error, value));
        0
    })
}
