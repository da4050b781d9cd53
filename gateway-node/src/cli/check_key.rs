//! `gateway-node check-key`: says what a key permits.

use std::{
    io::Write,
    time::{Duration, SystemTime},
};

use clap::Args;
use serde::Deserialize;

use super::{
    query::{EXIT_CODES, Query, QueryArgs, QueryError},
    units::age,
};
use crate::{config::Permission, logging::escape};

/// The options of `check-key`.
#[derive(Debug, Clone, Args)]
#[command(after_help = format!("Examples:\n  UTILBOT_KEY=web.secret gateway-node check-key --url https://gateway.example.com\n  \
                              gateway-node check-key --key-file bot.key --type bot\n\n{EXIT_CODES}"))]
pub struct CheckKeyArgs {
    /// A node, and the key.
    #[command(flatten)]
    pub query: QueryArgs,
    /// Refuse a key with which clients of this type cannot identify: bot, website or service
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<String>,
    /// Refuse a key without this permission: publish, read, admin or tickets
    #[arg(long, value_name = "PERMISSION")]
    pub permission: Option<String>,
    /// Print the node's answer as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Deserialize)]
struct KeyAnswer {
    id: String,
    application: String,
    types: Vec<String>,
    permissions: Vec<String>,
    expires_at: Option<u64>,
}

/// Asks a node about the key. A key that is not good, or not for what the options ask, is an error.
pub(super) fn run(
    args: &CheckKeyArgs,
    environment: impl IntoIterator<Item = (String, String)>,
    out: &mut dyn Write,
) -> Result<(), QueryError> {
    let query = Query::new(&args.query, Permission::Read, environment)?;
    let body = query.get("/api/v1/key")?;
    let key: KeyAnswer = query.parse(&body)?;
    if args.json {
        writeln!(out, "{}", body.trim())?;
    } else {
        let rows = [
            ("key", key.id.clone()),
            ("application", key.application.clone()),
            ("types", list(&key.types)),
            ("permissions", list(&key.permissions)),
            ("expires", key.expires_at.map_or_else(|| "never".to_owned(), expiry)),
        ];
        for (name, value) in rows {
            writeln!(out, "{name:<14}{}", escape(&value))?;
        }
    }
    let lacks = |wanted: &Option<String>, list: &[String]| wanted.clone().filter(|wanted| !list.contains(wanted));
    if let Some(kind) = lacks(&args.kind, &key.types) {
        return Err(QueryError::Lacking(format!(
            "the key is not for clients of type {kind}"
        )));
    }
    if let Some(permission) = lacks(&args.permission, &key.permissions) {
        return Err(QueryError::Lacking(format!(
            "the key lacks the permission {permission}"
        )));
    }
    Ok(())
}

fn list(words: &[String]) -> String {
    if words.is_empty() {
        "-".to_owned()
    } else {
        words.join(", ")
    }
}

fn expiry(at_ms: u64) -> String {
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(at_ms));
    let left = Duration::from_millis(at_ms.saturating_sub(crate::clock::unix_ms()));
    match time {
        Some(time) => format!("{}, in {}", humantime::format_rfc3339_seconds(time), age(left)),
        None => "never".to_owned(),
    }
}
