//! The scope of a session: which guilds it watches or reports, and whether it receives the global guild count.

use serde_json::value::RawValue;

use super::{Rejection, Report, ReportedGuilds, WATCH_GUILDS, guild_ids::guild_ids};
use crate::{
    client_type::ClientType,
    fields::fields,
    guild::GuildId,
    problem::{Problem, ProblemKind},
    routing::shape_of_data,
};

/// The text of the problem with a list of guilds that is no array.
const NO_ARRAY: &str = "Guilds must be an array of ids.";

/// What a client asks for in its identify, besides its type and key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scope {
    /// The guilds that a website or service watches: ascending, without duplicates. `None` if it named none.
    pub guilds: Option<Vec<GuildId>>,
    /// The report of a bot, as if `send_servers` followed at once.
    pub report: Option<Report>,
    /// Whether a website or service receives `GLOBAL_GUILD_COUNT`.
    pub counts: bool,
}

impl Scope {
    /// Parses the fields of an identify of a client of this type, with at most `limit` guilds. Records every problem in
    /// the order of the fields.
    pub(super) fn parse(d: &RawValue, kind: &str, limit: usize, problems: &mut Vec<Problem>) -> Self {
        let Some([guilds, members, cached, counts]) =
            fields(d.get(), ["guilds", "guildMembers", "cachedGuildMembers", "counts"])
        else {
            return Self::default();
        };
        let is_bot = kind == ClientType::Bot.as_str();
        let guilds = guilds.map(|guilds| guild_ids(guilds, limit, NO_ARRAY, problems));
        let is_report = is_bot && (guilds.is_some() || members.is_some() || cached.is_some());
        let mut report = None;
        if is_report {
            report = Some(Report {
                guilds: ReportedGuilds::Ids(guilds.clone().unwrap_or_default()),
                ..Report::of_members(members, cached, problems)
            });
        }
        let counts = match counts.map(RawValue::get) {
            None | Some("false") => false,
            Some("true") if !is_bot => true,
            Some("true") => {
                problems.push(Problem::absent("Bots always receive the counts.").of_kind(ProblemKind::NotAllowed));
                false
            }
            Some(_) => {
                problems.extend(counts.map(|counts| Problem::with("Counts must be true or false.", counts)));
                false
            }
        };
        Self {
            guilds: guilds.filter(|_| !is_bot),
            report,
            counts,
        }
    }
}

/// Parses `d` of a `watch_guilds` from a client of the type `sender`, with at most `limit` guilds. Returns the guilds in
/// ascending order, each once.
///
/// # Errors
/// Malformed data with all problems: the shape of `d`, then the sender, then the list.
pub(super) fn watched_guilds(
    d: Option<&RawValue>,
    sender: ClientType,
    limit: usize,
) -> Result<Vec<GuildId>, Rejection> {
    let mut problems = Vec::new();
    let d = shape_of_data(d, &mut problems);
    if sender == ClientType::Bot {
        problems.push(Problem::with_str("Bots do not watch guilds.", WATCH_GUILDS).of_kind(ProblemKind::NotAllowed));
    }
    let list = d.and_then(|d| fields(d.get(), ["guilds"])).and_then(|[guilds]| guilds);
    let guilds = match (list, d) {
        (Some(list), _) => guild_ids(list, limit, NO_ARRAY, &mut problems),
        (None, Some(_)) => {
            problems.push(Problem::absent("Guilds not provided."));
            Vec::new()
        }
        (None, None) => Vec::new(),
    };
    if problems.is_empty() {
        Ok(guilds)
    } else {
        Err(Rejection::malformed(problems))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The type of a client, its identify, and the problems with it.
    type Row<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);
    type Listed = Vec<(String, String)>;

    fn listed(problems: Vec<Problem>) -> Listed {
        let entry = |problem: Problem| {
            let data = problem.data.map_or("null".into(), |data| data.to_string());
            (problem.error.into_owned(), data)
        };
        problems.into_iter().map(entry).collect()
    }

    fn parse(kind: &str, d: &str) -> (Scope, Listed) {
        let mut problems = Vec::new();
        let scope = Scope::parse(serde_json::from_str(d).unwrap(), kind, 3, &mut problems);
        (scope, listed(problems))
    }

    fn ids(ids: &[u64]) -> Vec<GuildId> {
        ids.iter().copied().map(GuildId::from_raw).collect()
    }

    fn own(entries: &[(&str, &str)]) -> Listed {
        let own = |(error, data): &(&str, &str)| ((*error).to_owned(), (*data).to_owned());
        entries.iter().map(own).collect()
    }

    #[test]
    fn a_website_watches_guilds_and_a_bot_reports_them() {
        assert_eq!(parse("website", "{}"), (Scope::default(), vec![]));
        let watching = Scope {
            guilds: Some(ids(&[2, 7])),
            counts: true,
            report: None,
        };
        let d = r#"{"guilds":["7",2,"07"],"counts":true,"guildMembers":"ignored"}"#;
        assert_eq!(parse("website", d), (watching, vec![]));
        let report = Report {
            guilds: ReportedGuilds::Ids(ids(&[7])),
            guild_members: 5,
            cached_guild_members: 0,
            shard: None,
        };
        let reporting = Scope {
            report: Some(report),
            ..Scope::default()
        };
        let d = r#"{"guilds":["7"],"guildMembers":5,"counts":false}"#;
        assert_eq!(parse("bot", d), (reporting, vec![]));
        assert_eq!(parse("bot", "{}"), (Scope::default(), vec![]));
    }

    #[test]
    fn every_problem_has_its_text_and_its_data() {
        let (array, id) = ("Guilds must be an array of ids.", "Guild is not an id.");
        let counts = "Counts must be true or false.";
        let rows: &[Row] = &[
            ("website", r#"{"guilds":7}"#, &[(array, "7")]),
            ("bot", r#"{"guilds":7}"#, &[(array, "7")]),
            (
                "service",
                r#"{"guilds":null,"counts":null}"#,
                &[(array, "null"), (counts, "null")],
            ),
            (
                "website",
                r#"{"guilds":[1,"x",[]],"counts":1}"#,
                &[(id, "\"x\""), (id, "[]"), (counts, "1")],
            ),
            (
                "website",
                r#"{"guilds":[1,2,3,4]}"#,
                &[("Guilds must be at most 3 ids.", "[1,2,3,4]")],
            ),
            (
                "bot",
                r#"{"counts":true}"#,
                &[("Bots always receive the counts.", "null")],
            ),
            (
                "bot",
                r#"{"guildMembers":-1,"cachedGuildMembers":"1"}"#,
                &[
                    ("Guild members must be an integer from 0 to 9007199254740991.", "-1"),
                    (
                        "Cached guild members must be an integer from 0 to 9007199254740991.",
                        "\"1\"",
                    ),
                ],
            ),
        ];
        for (kind, d, expected) in rows {
            assert_eq!(parse(kind, d).1, own(expected), "{kind} {d}");
        }
    }

    #[test]
    fn only_websites_and_services_watch_guilds() {
        let watch = |d: &str, sender| watched_guilds(Some(serde_json::from_str(d).unwrap()), sender, 3);
        for sender in [ClientType::Website, ClientType::Service] {
            assert_eq!(watch(r#"{"guilds":[9,"1"]}"#, sender), Ok(ids(&[1, 9])));
            assert_eq!(watch(r#"{"guilds":[]}"#, sender), Ok(vec![]));
        }
        let problems = |d: &str, sender| listed(watch(d, sender).unwrap_err().problems);
        let missing = ("Guilds not provided.", "null");
        assert_eq!(problems("{}", ClientType::Website), own(&[missing]));
        assert_eq!(
            problems("[]", ClientType::Website),
            own(&[("Data must be an object.", "[]")])
        );
        let bots = ("Bots do not watch guilds.", "\"watch_guilds\"");
        assert_eq!(problems("{}", ClientType::Bot), own(&[bots, missing]));
        let refused = watch(r#"{"guilds":[]}"#, ClientType::Bot).unwrap_err();
        assert_eq!(refused.problems[0].kind, ProblemKind::NotAllowed);
    }
}
