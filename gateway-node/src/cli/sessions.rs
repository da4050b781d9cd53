//! `gateway-node sessions` and `gateway-node kick`: lists the sessions of a node, and ends one.

use std::io::Write;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::{
    connect::KeyArgs,
    query::{AFTER_HELP, Query, QueryError},
    table::Table,
    target::TargetOptions,
};
use crate::config::Permission;

/// How many sessions one request asks for: the most that a node lists at once.
const PAGE: usize = 1000;

/// The options of `sessions`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct SessionsArgs {
    /// The node.
    #[command(flatten)]
    pub target: TargetOptions,
    /// Where the key comes from.
    #[command(flatten)]
    pub key: KeyArgs,
    /// Only sessions of this type: bot, website, service or discord
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<String>,
    /// Only sessions that identified with the key of this id
    #[arg(long, value_name = "ID")]
    pub with_key: Option<String>,
    /// Print each session as one line of JSON
    #[arg(long)]
    pub json: bool,
}

/// The options of `kick`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct KickArgs {
    /// The node that has the session.
    #[command(flatten)]
    pub target: TargetOptions,
    /// Where the key comes from.
    #[command(flatten)]
    pub key: KeyArgs,
    /// The id of the session
    #[arg(value_name = "SESSION")]
    pub session: u64,
}

#[derive(Deserialize)]
struct SessionsAnswer {
    sessions: Vec<ListedSession>,
    next: Option<String>,
}

#[derive(Deserialize, Serialize)]
struct ListedSession {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    key: String,
    node: String,
}

/// Prints the sessions of a node, in the order of their ids.
pub(super) fn list(
    args: &SessionsArgs,
    environment: impl IntoIterator<Item = (String, String)>,
    out: &mut dyn Write,
) -> Result<(), QueryError> {
    let query = Query::new(&args.target, &args.key, Permission::Read, environment)?;
    let mut table = Table::new(["SESSION", "TYPE", "KEY", "NODE"]);
    let mut after = String::new();
    loop {
        let body = query.get(&format!("/api/v1/sessions?limit={PAGE}{after}"))?;
        let SessionsAnswer { sessions, next } = query.parse(&body)?;
        let is_wanted = |session: &ListedSession| {
            args.kind.as_ref().is_none_or(|kind| *kind == session.kind)
                && args.with_key.as_ref().is_none_or(|key| *key == session.key)
        };
        for session in sessions.into_iter().filter(is_wanted) {
            if args.json {
                let line = serde_json::to_string(&session).map_err(std::io::Error::other)?;
                writeln!(out, "{line}")?;
            } else {
                table.add([session.id, session.kind, session.key, session.node]);
            }
        }
        match next {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    if !args.json {
        write!(out, "{table}")?;
    }
    Ok(())
}

/// Ends a session.
pub(super) fn kick(
    args: &KickArgs,
    environment: impl IntoIterator<Item = (String, String)>,
    out: &mut dyn Write,
) -> Result<(), QueryError> {
    let query = Query::new(&args.target, &args.key, Permission::Admin, environment)?;
    query.delete(&format!("/api/v1/sessions/{}", args.session))?;
    Ok(writeln!(out, "session {} is ended", args.session)?)
}
