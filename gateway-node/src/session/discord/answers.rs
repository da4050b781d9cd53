//! What a client is told when it asks for something.

use serde_json::json;
use shared::discord::{Command, RequestMembers};

/// A dispatch for one session alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tell {
    pub(super) name: &'static str,
    /// Its data: JSON.
    pub(super) d: String,
}

/// What a command is answered with.
pub(super) fn to(command: &Command) -> Vec<Tell> {
    let tell = |name, d: serde_json::Value| Tell { name, d: d.to_string() };
    match command {
        Command::Members(request) => members(request),
        Command::Soundboard(guilds) => guilds
            .iter()
            .map(|guild| {
                let d = json!({"guild_id": guild.to_string(), "soundboard_sounds": []});
                tell("SOUNDBOARD_SOUNDS", d)
            })
            .collect(),
        Command::ChannelInfo(guild) => {
            let d = json!({"guild_id": guild.to_string(), "channels": []});
            vec![tell("CHANNEL_INFO", d)]
        }
        Command::Presence(_)
        | Command::Voice(_)
        | Command::VoicePing
        | Command::Heartbeat { .. }
        | Command::Identify(_)
        | Command::Resume(_) => Vec::new(),
    }
}

fn members(request: &RequestMembers) -> Vec<Tell> {
    let not_found: Vec<_> = request.users.iter().flatten().map(u64::to_string).collect();
    let chunk = |guild: &u64| {
        let mut d = json!({
            "guild_id": guild.to_string(),
            "members": [],
            "chunk_index": 0,
            "chunk_count": 1,
            "not_found": not_found,
        });
        if request.presences {
            d["presences"] = json!([]);
        }
        if let Some(nonce) = &request.nonce {
            d["nonce"] = json!(nonce);
        }
        Tell {
            name: "GUILD_MEMBERS_CHUNK",
            d: d.to_string(),
        }
    };
    request.guilds.iter().map(chunk).collect()
}
