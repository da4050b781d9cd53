//! What the gateway sends, as compact JSON with the keys in the order `t`, `s`, `op`, `d`: some libraries scan the text
//! for the first of each.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Opcode, Shard, Version};
use crate::session_id::SessionId;

/// A payload that is no dispatch. `d` is JSON already.
pub fn plain(opcode: Opcode, d: &str) -> String {
    format!(r#"{{"t":null,"s":null,"op":{},"d":{d}}}"#, opcode.number())
}

/// The first payload of a connection.
pub fn hello(heartbeat_ms: u64, node: &str) -> String {
    let d = json!({ "heartbeat_interval": heartbeat_ms, "_trace": [node] });
    plain(Opcode::Hello, &d.to_string())
}

/// The answer to a heartbeat.
pub fn heartbeat_ack() -> String {
    plain(Opcode::HeartbeatAck, "null")
}

/// Asks for a heartbeat at once.
pub fn heartbeat() -> String {
    plain(Opcode::Heartbeat, "null")
}

/// Asks to reconnect and resume.
pub fn reconnect() -> String {
    plain(Opcode::Reconnect, "null")
}

/// There is no such session, or not now; `is_resumable` says whether to try to resume again.
pub fn invalid_session(is_resumable: bool) -> String {
    plain(Opcode::InvalidSession, if is_resumable { "true" } else { "false" })
}

/// The name of the dispatch that a client gets instead of an answer that it asked for too often.
pub const RATE_LIMITED: &str = "RATE_LIMITED";

/// The data of [`RATE_LIMITED`] for a request for all members of a guild, which may come again after `wait`.
pub fn members_rate_limited(guild: u64, nonce: Option<&str>, wait: Duration) -> String {
    let mut meta = json!({ "guild_id": guild.to_string() });
    if let Some(nonce) = nonce {
        meta["nonce"] = json!(nonce);
    }
    let opcode = Opcode::RequestGuildMembers.number();
    json!({ "opcode": opcode, "retry_after": wait.as_secs_f64(), "meta": meta }).to_string()
}

/// What a client learns when it has a session.
#[derive(Debug, Clone)]
pub struct Ready<'a> {
    /// The version that it speaks.
    pub version: Version,
    /// The session's id.
    pub session: SessionId,
    /// Where to resume.
    pub resume_url: &'a str,
    /// The shard, if the client has named one.
    pub shard: Option<Shard>,
    /// The bot user, as JSON.
    pub user: &'a Value,
    /// The application's id and flags, as JSON.
    pub application: &'a Value,
    /// The guilds of the shard.
    pub guilds: &'a [u64],
    /// The node's name.
    pub node: &'a str,
}

impl Ready<'_> {
    /// The name of the event.
    pub const NAME: &'static str = "READY";

    /// The event's data.
    pub fn d(&self) -> String {
        let guild = |id: &u64| json!({ "id": id.to_string(), "unavailable": true });
        let mut d = json!({
            "v": self.version.number(),
            "user_settings": {},
            "user": self.user,
            "session_type": "normal",
            "session_id": self.session.to_string(),
            "resume_gateway_url": self.resume_url,
            "relationships": [],
            "private_channels": [],
            "presences": [],
            "guilds": self.guilds.iter().map(guild).collect::<Vec<_>>(),
            "guild_join_requests": [],
            "geo_ordered_rtc_regions": [],
            "application": self.application,
            "_trace": [self.node],
        });
        if let Some(Shard { id, count }) = self.shard {
            d["shard"] = json!([id, count]);
        }
        d.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_payload_is_pinned() {
        assert_eq!(
            hello(41_250, "a"),
            r#"{"t":null,"s":null,"op":10,"d":{"_trace":["a"],"heartbeat_interval":41250}}"#
        );
        assert_eq!(heartbeat_ack(), r#"{"t":null,"s":null,"op":11,"d":null}"#);
        assert_eq!(heartbeat(), r#"{"t":null,"s":null,"op":1,"d":null}"#);
        assert_eq!(reconnect(), r#"{"t":null,"s":null,"op":7,"d":null}"#);
        assert_eq!(invalid_session(false), r#"{"t":null,"s":null,"op":9,"d":false}"#);
        assert_eq!(invalid_session(true), r#"{"t":null,"s":null,"op":9,"d":true}"#);
    }

    #[test]
    fn ready_has_what_libraries_look_for() {
        let (user, application) = (json!({"id": "1"}), json!({"id": "2", "flags": 3}));
        let mut ready = Ready {
            version: Version::V9,
            session: SessionId::from_raw(5),
            resume_url: "ws://localhost",
            shard: None,
            user: &user,
            application: &application,
            guilds: &[7],
            node: "a",
        };
        let d: Value = serde_json::from_str(&ready.d()).unwrap();
        assert_eq!(d["v"], 9);
        assert_eq!(d["session_id"], "5");
        assert_eq!(d["guilds"], json!([{"id": "7", "unavailable": true}]));
        assert_eq!(d["private_channels"], json!([]));
        assert_eq!(d["application"], json!({"id": "2", "flags": 3}));
        assert_eq!(d.get("shard"), None);
        ready.shard = Some(Shard { id: 1, count: 2 });
        let d: Value = serde_json::from_str(&ready.d()).unwrap();
        assert_eq!(d["shard"], json!([1, 2]));
    }
}
