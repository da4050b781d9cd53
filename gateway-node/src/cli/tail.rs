//! `gateway-node tail`: prints the entries of an application's log as they pass.

use std::{
    io::Write,
    time::{Duration, SystemTime},
};

use clap::Args;
use form_urlencoded::Serializer;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::query::{EXIT_CODES, Query, QueryArgs, QueryError};
use crate::{
    config::Permission,
    logging::{escape, escape_json},
};

/// How long the node waits for an entry before it answers without one.
const WAIT_MS: u64 = 15_000;
/// How long a response may take: the wait, and then some.
const PATIENCE: Duration = Duration::from_secs(25);

/// The options of `tail`.
#[derive(Debug, Clone, Args)]
#[command(after_help = format!("Examples:\n  gateway-node tail --config /etc/utilbot/gateway.toml\n  \
                              gateway-node tail --name MESSAGE_CREATE --guild 123 --json --count 10\n\n\
                              The key needs the permission `admin`. {EXIT_CODES}"))]
pub struct TailArgs {
    /// A node, and the key.
    #[command(flatten)]
    pub query: QueryArgs,
    /// Only events with this name
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Only events of this guild
    #[arg(long, value_name = "ID")]
    pub guild: Option<u64>,
    /// Only events that this session sent, or that are addressed to it
    #[arg(long, value_name = "ID")]
    pub session: Option<u64>,
    /// Stop after this many events
    #[arg(long, value_name = "N")]
    pub count: Option<usize>,
    /// Print each event as one line of JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Deserialize)]
struct TailAnswer {
    entries: Vec<Box<RawValue>>,
    next: String,
}

#[derive(Deserialize)]
struct TailEntry {
    t: String,
    at: u64,
    audience: String,
    #[serde(default)]
    types: Vec<String>,
    guild: Option<String>,
    user: Option<String>,
    #[serde(default)]
    sessions: Vec<String>,
    from: Option<String>,
    d: Box<RawValue>,
}

/// Prints entries from now on, until enough are printed or the node does not answer.
pub(super) fn run(
    args: &TailArgs,
    environment: impl IntoIterator<Item = (String, String)>,
    out: &mut dyn Write,
) -> Result<(), QueryError> {
    let query = Query::new(&args.query, Permission::Admin, environment)?.with_patience(PATIENCE);
    let mut left = args.count.unwrap_or(usize::MAX);
    let mut after = None;
    while left > 0 {
        let body = match query.get(&path(args, after.as_deref())) {
            Err(QueryError::Refused { status: 410, .. }) => {
                super::complain("events were lost, because the log no longer has them; going on from its end");
                after = None;
                continue;
            }
            body => body?,
        };
        let TailAnswer { entries, next } = query.parse(&body)?;
        for entry in entries.iter().take(left) {
            if args.json {
                writeln!(out, "{}", escape_json(entry.get()))?;
            } else {
                writeln!(out, "{}", line(&query.parse(entry.get())?))?;
            }
            left -= 1;
        }
        out.flush()?;
        after = Some(next);
    }
    Ok(())
}

fn path(args: &TailArgs, after: Option<&str>) -> String {
    let mut query = Serializer::new("/api/v1/tail?".to_owned());
    query.append_pair("wait_ms", &WAIT_MS.to_string());
    query.extend_pairs(after.map(|after| ("after", after)));
    query.extend_pairs(args.name.as_ref().map(|name| ("t", name)));
    query.extend_pairs(args.guild.map(|guild| ("guild", guild.to_string())));
    query.extend_pairs(args.session.map(|session| ("session", session.to_string())));
    query.finish()
}

/// Returns the line of an entry: its time, name, receivers, sender and data.
fn line(entry: &TailEntry) -> String {
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(entry.at);
    let to = match (&entry.guild, &entry.user) {
        (Some(guild), _) => format!("guild {guild}"),
        (None, Some(user)) => format!("user {user}"),
        (None, None) if !entry.types.is_empty() => entry.types.join(","),
        (None, None) => entry.audience.clone(),
    };
    let sessions = match &entry.sessions[..] {
        [] => String::new(),
        sessions => format!(" ({})", sessions.join(",")),
    };
    let from = entry
        .from
        .as_ref()
        .map_or_else(String::new, |from| format!(" from {from}"));
    let time = humantime::format_rfc3339_millis(time);
    let head = escape(&format!("{time} {} to {to}{sessions}{from}", entry.t));
    format!("{head} {}", escape_json(entry.d.get()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_went_from_whom_to_whom() {
        let entry = |json: &str| serde_json::from_str::<TailEntry>(json).map(|entry| line(&entry));
        let guild = entry(
            r#"{"p":"1-1","t":"warn","at":1000,"audience":"guild","types":["bot"],"guild":"7","sessions":["1","2"],
                "from":"3","d":{"a": 1}}"#,
        );
        assert_eq!(
            guild.ok().as_deref(),
            Some(r#"1970-01-01T00:00:01.000Z warn to guild 7 (1,2) from 3 {"a": 1}"#)
        );
        let types = entry(r#"{"p":"1-1","t":"a","at":0,"audience":"types","types":["bot","website"],"d":{}}"#);
        assert_eq!(
            types.ok().as_deref(),
            Some("1970-01-01T00:00:00.000Z a to bot,website {}")
        );
        let discord = entry(r#"{"p":"1-1","t":"TYPING_START","at":0,"audience":"discord","d":{}}"#);
        assert_eq!(
            discord.ok().as_deref(),
            Some("1970-01-01T00:00:00.000Z TYPING_START to discord {}")
        );
    }
}
