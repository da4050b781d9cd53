//! `send_servers`: a bot, or one shard of it, reports its guilds.

use serde_json::value::RawValue;

use super::{Rejection, SEND_SERVERS, Shard, guild_ids::guild_ids};
use crate::{
    client_type::ClientType,
    fields::{fields, integer},
    guild::GuildId,
    problem::{Problem, ProblemKind},
    routing::shape_of_data,
};

/// A report, which replaces the bot's previous one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The guilds. A count of 0 if the field was absent.
    pub guilds: ReportedGuilds,
    /// `guildMembers`, from 0 to 2^53 − 1. 0 if it was absent.
    pub guild_members: u64,
    /// `cachedGuildMembers`, from 0 to 2^53 − 1. 0 if it was absent.
    pub cached_guild_members: u64,
    /// The shard of the bot that reports, if it named one.
    pub shard: Option<Shard>,
}

/// The guilds of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReportedGuilds {
    /// The number of guilds, from 0 to 2^53 − 1.
    Count(u64),
    /// The ids of the guilds: ascending, without duplicates, as many as the node allows.
    Ids(Vec<GuildId>),
}

impl Report {
    /// Parses `d` of a `send_servers` from a client of the type `sender`, with at most `limit` guild ids.
    ///
    /// # Errors
    ///
    /// Malformed data with all problems: the shape of `d`, then the sender, then the fields in the order guilds,
    /// elements of guilds, `guildMembers`, `cachedGuildMembers`, shard.
    pub fn parse(d: Option<&RawValue>, sender: ClientType, limit: usize) -> Result<Self, Rejection> {
        let mut problems = Vec::new();
        let d = shape_of_data(d, &mut problems);
        if sender != ClientType::Bot {
            problems.push(Problem::with_str("Only bots send servers.", SEND_SERVERS).of_kind(ProblemKind::NotAllowed));
        }
        let report = d.and_then(|d| Self::parse_fields(d, limit, &mut problems));
        report
            .filter(|_| problems.is_empty())
            .ok_or(Rejection::malformed(problems))
    }

    fn parse_fields(d: &RawValue, limit: usize, problems: &mut Vec<Problem>) -> Option<Self> {
        let [guilds, members, cached, shard] =
            fields(d.get(), ["guilds", "guildMembers", "cachedGuildMembers", "shard"])?;
        if guilds.is_none() && members.is_none() && cached.is_none() {
            problems.push(Problem::absent("Nothing reported."));
        }
        let guilds = guilds.map_or(ReportedGuilds::Count(0), |guilds| {
            ReportedGuilds::parse(guilds, limit, problems)
        });
        let report = Self {
            guilds,
            ..Self::of_members(members, cached, problems)
        };
        let shard = shard.and_then(|shard| Shard::parse(shard, problems));
        Some(Self { shard, ..report })
    }

    /// Parses `guildMembers` and `cachedGuildMembers` of a report without guilds.
    pub(super) fn of_members(
        members: Option<&RawValue>,
        cached: Option<&RawValue>,
        problems: &mut Vec<Problem>,
    ) -> Self {
        Self {
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
            ..Self::of_guilds(Vec::new())
        }
    }

    /// Creates a report of these guilds alone, which must be ascending and without duplicates.
    pub const fn of_guilds(guilds: Vec<GuildId>) -> Self {
        Self {
            guilds: ReportedGuilds::Ids(guilds),
            guild_members: 0,
            cached_guild_members: 0,
            shard: None,
        }
    }
}

impl ReportedGuilds {
    /// Parses `guilds`. After recording a problem, the return value is meaningless and never used.
    fn parse(value: &RawValue, limit: usize, problems: &mut Vec<Problem>) -> Self {
        let wrong_type = "Guilds must be a count or an array of ids.";
        integer(value).map_or_else(|| Self::Ids(guild_ids(value, limit, wrong_type, problems)), Self::Count)
    }
}

fn count(value: Option<&RawValue>, error: &'static str, problems: &mut Vec<Problem>) -> u64 {
    let Some(value) = value else { return 0 };
    integer(value).unwrap_or_else(|| {
        problems.push(Problem::with(error, value));
        0
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::v1::{ErrorCode, guild_ids::guild_id};

    const MAX_GUILDS: usize = 10_000;

    const GUILDS: &str = "Guilds must be a count or an array of ids.";
    const ID: &str = "Guild is not an id.";
    const MEMBERS: &str = "Guild members must be an integer from 0 to 9007199254740991.";
    const CACHED: &str = "Cached guild members must be an integer from 0 to 9007199254740991.";

    fn parse(d: &str) -> Result<Report, Rejection> {
        Report::parse(Some(serde_json::from_str(d).unwrap()), ClientType::Bot, MAX_GUILDS)
    }

    fn entries(rejection: &Rejection) -> Vec<(String, String)> {
        assert_eq!(rejection.code, ErrorCode::MalformedData);
        let entry = |problem: &Problem| {
            let data = problem.data.as_ref().map_or("null", |data| data.get());
            (problem.error.to_string(), data.to_owned())
        };
        rejection.problems.iter().map(entry).collect()
    }

    fn own(entries: &[(&str, &str)]) -> Vec<(String, String)> {
        let own = |(error, data): &(&str, &str)| ((*error).to_owned(), (*data).to_owned());
        entries.iter().map(own).collect()
    }

    fn ids(ids: &[u64]) -> ReportedGuilds {
        ReportedGuilds::Ids(ids.iter().copied().map(GuildId::from_raw).collect())
    }

    #[test]
    fn a_full_report_is_read() {
        let report = parse(r#"{"guilds":3,"guildMembers":9007199254740991,"cachedGuildMembers":0,"shard":[1,4]}"#);
        let expected = Report {
            guilds: ReportedGuilds::Count(3),
            guild_members: 9_007_199_254_740_991,
            cached_guild_members: 0,
            shard: Some(Shard { id: 1, count: 4 }),
        };
        assert_eq!(report, Ok(expected));
    }

    #[test]
    fn a_field_left_out_counts_as_0() {
        let empty = Report {
            guilds: ReportedGuilds::Count(0),
            guild_members: 0,
            cached_guild_members: 0,
            shard: None,
        };
        let members = parse(r#"{"guildMembers":5}"#);
        assert_eq!(
            members,
            Ok(Report {
                guild_members: 5,
                ..empty.clone()
            })
        );
        let cached = parse(r#"{"cachedGuildMembers":5,"other":[]}"#);
        assert_eq!(
            cached,
            Ok(Report {
                cached_guild_members: 5,
                ..empty.clone()
            })
        );
        let guilds = parse(r#"{"guilds":[]}"#);
        assert_eq!(
            guilds,
            Ok(Report {
                guilds: ids(&[]),
                ..empty
            })
        );
    }

    #[test]
    fn ids_are_strings_or_integers_and_each_counts_once() {
        let report = parse(r#"{"guilds":["7",7,"007","\u0037",3,"18446744073709551615"]}"#);
        assert_eq!(report.unwrap().guilds, ids(&[3, 7, u64::MAX]));
    }

    #[test]
    fn every_problem_has_its_text_and_its_data() {
        let rows: &[(&str, &[(&str, &str)])] = &[
            ("null", &[("Data must be an object.", "null")]),
            ("[1]", &[("Data must be an object.", "[1]")]),
            ("{}", &[("Nothing reported.", "null")]),
            (
                r#"{"shard":[1,1]}"#,
                &[
                    ("Nothing reported.", "null"),
                    ("Shard id must be below the shard count.", "1"),
                ],
            ),
            (r#"{"guilds":null}"#, &[(GUILDS, "null")]),
            (r#"{"guilds":-1}"#, &[(GUILDS, "-1")]),
            (r#"{"guilds":1.0}"#, &[(GUILDS, "1.0")]),
            (r#"{"guilds":"7"}"#, &[(GUILDS, "\"7\"")]),
            (r#"{"guilds":{}}"#, &[(GUILDS, "{}")]),
            (r#"{"guilds":9007199254740992}"#, &[(GUILDS, "9007199254740992")]),
            (
                r#"{"guilds":[1,"",null,-1,1.5,"+1","\ud800",[2],9007199254740992,"8"]}"#,
                &[
                    (ID, "\"\""),
                    (ID, "null"),
                    (ID, "-1"),
                    (ID, "1.5"),
                    (ID, "\"+1\""),
                    (ID, "null"),
                    (ID, "[2]"),
                    (ID, "9007199254740992"),
                ],
            ),
            (r#"{"guildMembers":"1"}"#, &[(MEMBERS, "\"1\"")]),
            (r#"{"cachedGuildMembers":-1}"#, &[(CACHED, "-1")]),
            (
                r#"{"shard":7,"cachedGuildMembers":null,"guildMembers":1.5,"guilds":[true]}"#,
                &[
                    (ID, "true"),
                    (MEMBERS, "1.5"),
                    (CACHED, "null"),
                    ("Shard must be [id, count].", "7"),
                ],
            ),
        ];
        for (d, expected) in rows {
            assert_eq!(entries(&parse(d).unwrap_err()), own(expected), "{d}");
        }
        let missing = Report::parse(None, ClientType::Bot, MAX_GUILDS).unwrap_err();
        assert_eq!(entries(&missing), own(&[("Data not provided.", "null")]));
    }

    #[test]
    fn too_many_ids_are_one_problem() {
        let report = |count: usize| {
            let ids = vec!["null"; count].join(",");
            parse(&format!(r#"{{"guilds":[{ids}]}}"#)).unwrap_err()
        };
        assert_eq!(report(MAX_GUILDS).problems.len(), MAX_GUILDS);
        let rejection = report(MAX_GUILDS + 1);
        assert_eq!(rejection.problems.len(), 1);
        assert_eq!(rejection.problems[0].error, "Guilds must be at most 10000 ids.");
        let ids: Vec<_> = (0..MAX_GUILDS).map(|id| id.to_string()).collect();
        assert!(parse(&format!(r#"{{"guilds":[{}]}}"#, ids.join(","))).is_ok());
    }

    #[test]
    fn only_bots_report() {
        for sender in [ClientType::Website, ClientType::Service] {
            let parse = |d| Report::parse(d, sender, MAX_GUILDS).unwrap_err();
            let only_bots = ("Only bots send servers.", "\"send_servers\"");
            let d = Some(serde_json::from_str(r#"{"guilds":1}"#).unwrap());
            assert_eq!(entries(&parse(d)), own(&[only_bots]));
            assert_eq!(parse(d).problems[0].kind, ProblemKind::NotAllowed);
            let missing = ("Data not provided.", "null");
            assert_eq!(entries(&parse(None)), own(&[missing, only_bots]));
            let d = Some(serde_json::from_str(r#"{"guilds":-1}"#).unwrap());
            assert_eq!(entries(&parse(d)), own(&[only_bots, (GUILDS, "-1")]));
        }
    }

    proptest! {
        #[test]
        fn raw_ids_parse_like_json_values(
            text in prop_oneof!["-?[0-9]{1,20}", "\"[+0-9]{0,21}\"", "[0-9]{1,17}\\.0", "null|true|\\[\\]"],
        ) {
            // Numbers with leading zeros are not JSON.
            if let Ok(value) = serde_json::from_str(&text) {
                let raw = serde_json::from_str(&text).unwrap();
                prop_assert_eq!(guild_id(raw), GuildId::from_json(&value));
            }
        }
    }
}
