//! `gateway-node sessions`, `session` and `kick`: lists the sessions of a cluster, shows one, and ends one.

use std::{io::Write, time::Duration};

use clap::Args;
use form_urlencoded::Serializer;
use serde::Deserialize;
use shared::session_id::SessionId;

use super::{
    query::{EXIT_CODES, Query, QueryArgs, QueryError},
    table::Table,
    units::{age, bytes},
};
use crate::{
    config::Permission,
    logging::escape,
    registry::{ListedSession, SessionDetails},
};

/// How many sessions one request asks for.
const PAGE: usize = 1000;

/// The options of `sessions`.
#[derive(Debug, Clone, Args)]
#[command(after_help = format!("Examples:\n  gateway-node sessions --config /etc/utilbot/gateway.toml --type bot\n  \
                              gateway-node sessions --url https://gateway.example.com --user 42 --json\n\n{EXIT_CODES}"))]
pub struct SessionsArgs {
    /// A node of the cluster, and the key.
    #[command(flatten)]
    pub query: QueryArgs,
    /// Which sessions.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Print each session as one line of JSON
    #[arg(long)]
    pub json: bool,
}

/// The options that leave some of the sessions.
#[derive(Debug, Clone, Default, Args)]
pub struct FilterArgs {
    /// Only sessions of this type: bot, website, service or discord
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<String>,
    /// Only sessions that identified with the key of this id
    #[arg(long, value_name = "ID")]
    pub with_key: Option<String>,
    /// Only sessions with a ticket of this user
    #[arg(long, value_name = "ID")]
    pub user: Option<String>,
    /// Only sessions of this node
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// Only sessions of clients at this address
    #[arg(long, value_name = "IP")]
    pub address: Option<String>,
}

/// The options of `session`.
#[derive(Debug, Clone, Args)]
#[command(after_help = format!("Example:\n  gateway-node session 1234567890123456789 \
                              --config /etc/utilbot/gateway.toml\n\n{EXIT_CODES}"))]
pub struct SessionArgs {
    /// A node of the cluster, and the key.
    #[command(flatten)]
    pub query: QueryArgs,
    /// Print the session as JSON
    #[arg(long)]
    pub json: bool,
    /// The id of the session
    #[arg(value_name = "SESSION")]
    pub session: u64,
}

/// The options of `kick`.
#[derive(Debug, Clone, Args)]
#[command(after_help = format!("Example:\n  gateway-node kick 1234567890123456789 \
                              --config /etc/utilbot/gateway.toml\n\n{EXIT_CODES}"))]
pub struct KickArgs {
    /// A node of the cluster, and the key.
    #[command(flatten)]
    pub query: QueryArgs,
    /// The id of the session
    #[arg(value_name = "SESSION")]
    pub session: u64,
}

/// A page of the HTTP API.
#[derive(Deserialize)]
struct SessionsAnswer {
    sessions: Vec<ListedSession>,
    next: Option<String>,
    #[serde(default = "yes")]
    complete: bool,
}

/// Nodes of earlier versions list only their own sessions, and all of them.
const fn yes() -> bool {
    true
}

/// The sessions that a node listed.
pub(super) struct Sessions {
    pub(super) sessions: Vec<ListedSession>,
    /// Whether every node of the cluster answered.
    pub(super) is_complete: bool,
}

impl FilterArgs {
    /// Lists up to `most` sessions that the options leave, in the order of their ids.
    pub(super) fn list(&self, query: &Query, most: usize) -> Result<Sessions, QueryError> {
        let mut listed = Sessions {
            sessions: Vec::new(),
            is_complete: true,
        };
        let mut after = None;
        loop {
            let body = query.get(&self.path(after.as_deref()))?;
            let SessionsAnswer {
                sessions,
                next,
                complete,
            } = query.parse(&body)?;
            listed.is_complete &= complete;
            let is_wanted = |session: &ListedSession| {
                let address = session.details.as_ref().map(|details| &details.address);
                self.address.is_none() || self.address.as_ref() == address
            };
            listed.sessions.extend(sessions.into_iter().filter(is_wanted));
            if next.is_none() || listed.sessions.len() >= most {
                listed.sessions.truncate(most);
                return Ok(listed);
            }
            after = next;
        }
    }

    fn path(&self, after: Option<&str>) -> String {
        let mut query = Serializer::new("/api/v1/sessions?".to_owned());
        query.append_pair("limit", &PAGE.to_string());
        let conditions = [
            ("after", after),
            ("type", self.kind.as_deref()),
            ("key", self.with_key.as_deref()),
            ("user", self.user.as_deref()),
            ("node", self.node.as_deref()),
        ];
        for (name, value) in conditions {
            query.extend_pairs(value.map(|value| (name, value)));
        }
        query.finish()
    }
}

/// Prints the sessions of a cluster, in the order of their ids.
pub(super) fn list(
    args: &SessionsArgs,
    environment: impl IntoIterator<Item = (String, String)>,
    out: &mut dyn Write,
) -> Result<(), QueryError> {
    let query = Query::new(&args.query, Permission::Read, environment)?;
    let Sessions { sessions, is_complete } = args.filter.list(&query, usize::MAX)?;
    if args.json {
        for session in &sessions {
            let line = serde_json::to_string(session).map_err(std::io::Error::other)?;
            writeln!(out, "{line}")?;
        }
    } else {
        write!(out, "{}", table(&sessions))?;
    }
    if !is_complete {
        super::complain("not every node of the cluster answered, so sessions may be missing");
    }
    Ok(())
}

fn table(sessions: &[ListedSession]) -> Table<9> {
    let mut table = Table::new([
        "SESSION", "TYPE", "KEY", "NODE", "ADDRESS", "OPEN", "IN", "OUT", "CLIENT",
    ]);
    let now = crate::clock::unix_ms();
    for session in sessions {
        let [address, open, received, sent, client] = match &session.details {
            Some(details) => [
                details.address.clone(),
                age(Duration::from_millis(now.saturating_sub(details.connected_at))),
                bytes(details.bytes_in),
                bytes(details.bytes_out),
                client(details).to_owned(),
            ],
            None => [const { String::new() }; 5],
        };
        let [id, kind, key, node] = [
            session.id.to_string(),
            session.kind.clone(),
            session.key.clone(),
            session.node.clone(),
        ];
        table.add([id, kind, key, node, address, open, received, sent, client]);
    }
    table
}

/// Returns what the client calls itself.
pub(super) fn client(details: &SessionDetails) -> &str {
    let named = details.library.as_deref().or(details.user_agent.as_deref());
    named.unwrap_or("-")
}

/// Prints one session.
pub(super) fn show(
    args: &SessionArgs,
    environment: impl IntoIterator<Item = (String, String)>,
    out: &mut dyn Write,
) -> Result<(), QueryError> {
    let query = Query::new(&args.query, Permission::Read, environment)?;
    let body = query.get(&format!("/api/v1/sessions/{}", args.session))?;
    if args.json {
        return Ok(writeln!(out, "{}", body.trim())?);
    }
    let session: ListedSession = query.parse(&body)?;
    for (name, value) in rows(&session) {
        writeln!(out, "{name:<14}{}", escape(&value))?;
    }
    Ok(())
}

/// Returns the lines about a session: a name and a value.
fn rows(session: &ListedSession) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        ("session", session.id.to_string()),
        ("type", session.kind.clone()),
        ("key", session.key.clone()),
        ("node", session.node.clone()),
    ];
    let Some(details) = &session.details else {
        rows.push(("details", "none: the session did not answer in time".to_owned()));
        return rows;
    };
    let now = crate::clock::unix_ms();
    let ago = |at: u64| format!("{} ago", age(Duration::from_millis(now.saturating_sub(at))));
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let compression = details.compression.as_deref().unwrap_or("uncompressed");
    rows.extend([
        ("address", details.address.clone()),
        ("client", client(details).to_owned()),
        ("user", or_none(details.user.clone())),
        (
            "protocol",
            format!("version {}, {}, {compression}", details.version, details.encoding),
        ),
        ("connected", ago(details.connected_at)),
        ("heartbeat", or_none(details.heartbeat_at.map(ago))),
        ("resumes", details.resumes.to_string()),
        (
            "shard",
            or_none(details.shard.map(|[id, count]| format!("{id} of {count}"))),
        ),
        ("guilds", details.guilds.to_string()),
        ("receives", or_none(joined(details))),
        (
            "in",
            format!(
                "{} messages, {}, {} events",
                details.messages_in,
                bytes(details.bytes_in),
                details.events_in
            ),
        ),
        (
            "out",
            format!(
                "{} frames, {}, {} events as they came",
                details.frames_out,
                bytes(details.bytes_out),
                details.events_out
            ),
        ),
        ("waiting", bytes(details.waiting_bytes)),
    ]);
    rows
}

fn joined(details: &SessionDetails) -> Option<String> {
    (!details.subscriptions.is_empty()).then(|| details.subscriptions.join(" "))
}

/// Ends a session.
pub(super) fn kick(
    args: &KickArgs,
    environment: impl IntoIterator<Item = (String, String)>,
    out: &mut dyn Write,
) -> Result<(), QueryError> {
    let query = Query::new(&args.query, Permission::Admin, environment)?;
    let id = SessionId::from_raw(args.session);
    query.delete(&format!("/api/v1/sessions/{id}"))?;
    Ok(writeln!(out, "session {id} is ended")?)
}
