//! The scope of a session: which guilds it watches or reports, whether it receives the global guild count, and from where
//! it catches up.

use serde_json::value::RawValue;

use super::{Rejection, Report, ReportedGuilds, WATCH_GUILDS, guild_ids::guild_ids};
use crate::{
    client_type::ClientType,
    fields::{fields, integer, string},
    guild::GuildId,
    problem::{Problem, ProblemKind},
    routing::shape_of_data,
};

/// The text of the problem with a list of guilds that is no array.
const NO_ARRAY: &str = "Guilds must be an array of ids.";

/// The most characters of a position.
const POSITION_CHARS: usize = 64;

/// The most jobs that a worker takes at once.
pub const MOST_JOBS: u16 = 1000;

/// What a client asks for in its identify, besides its type and key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scope {
    /// The guilds that a website or service watches: ascending, without duplicates. `None` if it named none.
    pub guilds: Option<Vec<GuildId>>,
    /// The report of a bot, as if `send_servers` followed at once.
    pub report: Option<Report>,
    /// Whether a website or service receives `GLOBAL_GUILD_COUNT`.
    pub counts: bool,
    /// Whether the client is told the positions of what it receives.
    pub positions: bool,
    /// The position from which the client catches up, as sent. The log may not have it. Implies `positions`.
    pub after: Option<Box<str>>,
    /// How many jobs the client works on at once. `None` if it is no worker.
    pub jobs: Option<u16>,
}

impl Scope {
    /// Parses the fields of an identify of a client of this type, with at most `limit` guilds. Records every problem in
    /// the order of the fields.
    pub(super) fn parse(d: &RawValue, kind: &str, limit: usize, problems: &mut Vec<Problem>) -> Self {
        let names = [
            "guilds",
            "guildMembers",
            "cachedGuildMembers",
            "positions",
            "after",
            "counts",
            "jobs",
        ];
        let Some([guilds, members, cached, positions, after, counts, jobs]) = fields(d.get(), names) else {
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
        let positions = flag(positions, "Positions must be true or false.", problems);
        let after = after.and_then(|after| position(after, problems));
        let mut counts = flag(counts, "Counts must be true or false.", problems);
        if counts && is_bot {
            problems.push(Problem::absent("Bots always receive the counts.").of_kind(ProblemKind::NotAllowed));
            counts = false;
        }
        let jobs = jobs.and_then(|jobs| places(jobs, problems));
        Self {
            guilds: guilds.filter(|_| !is_bot),
            report,
            counts,
            positions: positions || after.is_some(),
            after,
            jobs,
        }
    }
}

/// Returns the number of jobs that a worker takes at once. Records the problem with any other value.
fn places(value: &RawValue, problems: &mut Vec<Problem>) -> Option<u16> {
    let places = integer(value).and_then(|places| u16::try_from(places).ok());
    let places = places.filter(|places| (1..=MOST_JOBS).contains(places));
    if places.is_none() {
        problems.push(Problem::with("Jobs must be an integer from 1 to 1000.", value));
    }
    places
}

/// Parses a field that is `true` or `false`, which it is if it is absent. Records `error` if it is anything else.
fn flag(value: Option<&RawValue>, error: &'static str, problems: &mut Vec<Problem>) -> bool {
    match value.map(RawValue::get) {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => {
            problems.extend(value.map(|value| Problem::with(error, value)));
            false
        }
    }
}

/// Returns a position that has the right shape. Records the problem with any other.
fn position(value: &RawValue, problems: &mut Vec<Problem>) -> Option<Box<str>> {
    let text = string(value).filter(|text| is_position(text));
    if text.is_none() {
        problems.push(Problem::with("After must be a position.", value));
    }
    text.map(Into::into)
}

/// Whether `text` has the shape of a position: 1 to 64 characters `0-9 a-z -`. The log may not have it.
pub fn is_position(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_lowercase() || byte == b'-';
    (1..=POSITION_CHARS).contains(&text.len()) && text.bytes().all(is_allowed)
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
            ..Scope::default()
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
    fn a_worker_says_how_many_jobs_it_takes() {
        for places in [1, 1000] {
            let (scope, problems) = parse("bot", &format!(r#"{{"jobs":{places}}}"#));
            assert_eq!((scope.jobs, problems), (Some(places), vec![]));
        }
        for wrong in ["0", "1001", "-1", "1.5", "\"1\"", "null", "true"] {
            let (scope, problems) = parse("website", &format!(r#"{{"jobs":{wrong}}}"#));
            let error = ("Jobs must be an integer from 1 to 1000.", wrong);
            assert_eq!((scope.jobs, problems), (None, own(&[error])));
        }
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
                r#"{"positions":"yes","after":"A-1","counts":true}"#,
                &[
                    ("Positions must be true or false.", "\"yes\""),
                    ("After must be a position.", "\"A-1\""),
                    ("Bots always receive the counts.", "null"),
                ],
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
    fn a_client_that_catches_up_is_told_its_positions() {
        let positions = |d: &str| {
            let (scope, problems) = parse("website", d);
            assert_eq!(problems, vec![], "{d}");
            (scope.positions, scope.after)
        };
        assert_eq!(positions(r#"{"positions":true}"#), (true, None));
        assert_eq!(positions(r#"{"positions":false}"#), (false, None));
        let after = "00f3a1c29b7d4e55-1042";
        let both = format!(r#"{{"positions":false,"after":"{after}"}}"#);
        assert_eq!(positions(&both), (true, Some(after.into())));
        let longest = "z".repeat(64);
        let d = format!(r#"{{"after":"{longest}"}}"#);
        assert_eq!(positions(&d), (true, Some(longest.as_str().into())));
    }

    #[test]
    fn a_position_of_another_shape_is_a_problem() {
        let too_long = format!("\"{}\"", "z".repeat(65));
        for after in ["null", "1", "\"\"", "\"a_b\"", "\"é\"", "[]", &too_long] {
            let (scope, problems) = parse("website", &format!(r#"{{"after":{after}}}"#));
            assert_eq!(problems, own(&[("After must be a position.", after)]));
            assert_eq!(scope, Scope::default());
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
