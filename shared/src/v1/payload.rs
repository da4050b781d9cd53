//! What the gateway sends, as compact JSON with the key order of the protocol's examples.

use serde::{Deserialize, Serialize};

use super::{ErrorCode, Opcode};
use crate::{client_type::ClientType, problem::Problem, session_id::SessionId};

/// The answer to a heartbeat.
pub const HEARTBEAT_ACK: &str = r#"{"op":11}"#;

/// What the name of a connection success ends in, after the client's type.
pub const CONNECT_SUCCESS_SUFFIX: &str = "_connect_success";

/// The first payload of a connection: send a heartbeat at least every `ms` milliseconds.
///
/// The interval is there twice, since clients were written against either spelling.
pub fn hello(ms: u64) -> String {
    format!(r#"{{"op":5,"d":{{"heartbeat":{ms},"hearbeat":{ms}}}}}"#)
}

/// An Error. `d` is left out when there are no problems.
pub fn error(code: ErrorCode, message: &str, problems: &[Problem]) -> String {
    let mut json = format!(
        r#"{{"op":{},"e":{},"m":{}"#,
        Opcode::Error.number(),
        code.code(),
        quoted(message)
    );
    if !problems.is_empty() {
        json.push_str(r#","d":{"errors":["#);
        join(&mut json, problems, |problem, json| {
            json.push_str(&quoted(&problem.error));
        });
        json.push_str(r#"],"data":["#);
        join(&mut json, problems, |problem, json| {
            json.push_str(problem.data.as_ref().map_or("null", |data| data.get()));
        });
        json.push_str("]}");
    }
    json.push('}');
    json
}

/// An event for a client. `d` is JSON already and goes out as it is.
pub fn event(name: &str, d: &str) -> String {
    format!(r#"{{"op":0,"t":{},"d":{d}}}"#, quoted(name))
}

/// The answer to an identify that succeeded: the session's id, the node's name, and the heartbeat interval in
/// milliseconds.
pub fn connect_success(kind: ClientType, id: SessionId, node: &str, heartbeat_ms: u64) -> String {
    event(
        &format!("{kind}{CONNECT_SUCCESS_SUFFIX}"),
        &format!(
            r#"{{"id":"{id}","node":{},"heartbeat":{heartbeat_ms}}}"#,
            quoted(node)
        ),
    )
}

/// The sums over all live bots of an application, `d` of a `GLOBAL_GUILD_COUNT`.
///
/// Sums saturate: a total that is far too high is what the reports were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GuildCount {
    /// Distinct guild ids, plus the sum of the counts.
    pub guilds: u64,
    /// The members of the guilds.
    pub guild_members: u64,
    /// Those of them that bots have in memory.
    pub cached_guild_members: u64,
}

impl GuildCount {
    /// The name of the event.
    pub const NAME: &'static str = "GLOBAL_GUILD_COUNT";

    /// The event's data.
    pub fn d(&self) -> String {
        let Self {
            guilds,
            guild_members,
            cached_guild_members,
        } = self;
        format!(
            r#"{{"guilds":{guilds},"guildMembers":{guild_members},"cachedGuildMembers":{cached_guild_members}}}"#
        )
    }

    /// Both together.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self {
            guilds: self.guilds.saturating_add(other.guilds),
            guild_members: self.guild_members.saturating_add(other.guild_members),
            cached_guild_members: self
                .cached_guild_members
                .saturating_add(other.cached_guild_members),
        }
    }
}

/// A JSON string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Writes every item with commas between.
fn join<T>(json: &mut String, items: &[T], mut write: impl FnMut(&T, &mut String)) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        write(item, json);
    }
}
