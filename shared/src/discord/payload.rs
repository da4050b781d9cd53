//! The payloads that the gateway sends: compact JSON with the keys in the order `t`, `s`, `op`, `d`, since some
//! libraries scan the text for the first of each.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Opcode, Shard, Version};
use crate::session_id::SessionId;

/// Builds a payload that is not a dispatch. `d` must be JSON.
pub fn plain(opcode: Opcode, d: &str) -> String {
    format!(r#"{{"t":null,"s":null,"op":{},"d":{d}}}"#, opcode.number())
}

/// Builds the Hello, the first payload of a connection.
pub fn hello(heartbeat_ms: u64, node: &str) -> String {
    let d = json!({ "heartbeat_interval": heartbeat_ms, "_trace": [node] });
    plain(Opcode::Hello, &d.to_string())
}

/// Builds the answer to a heartbeat.
pub fn heartbeat_ack() -> String {
    plain(Opcode::HeartbeatAck, "null")
}

/// Builds the request for an immediate heartbeat.
pub fn heartbeat() -> String {
    plain(Opcode::Heartbeat, "null")
}

/// Builds the request to reconnect and resume.
pub fn reconnect() -> String {
    plain(Opcode::Reconnect, "null")
}

/// Builds the answer for a session that does not exist or cannot be resumed now. `is_resumable` tells the client
/// whether to try to resume again.
pub fn invalid_session(is_resumable: bool) -> String {
    plain(Opcode::InvalidSession, if is_resumable { "true" } else { "false" })
}

/// The name of the dispatch sent in place of the answer to a request that came too soon after an earlier one.
pub const RATE_LIMITED: &str = "RATE_LIMITED";

/// Builds the data of [`RATE_LIMITED`] for a request for all members of a guild, which may be repeated after `wait`.
pub fn members_rate_limited(guild: u64, nonce: Option<&str>, wait: Duration) -> String {
    let mut meta = json!({ "guild_id": guild.to_string() });
    if let Some(nonce) = nonce {
        meta["nonce"] = json!(nonce);
    }
    let opcode = Opcode::RequestGuildMembers.number();
    json!({ "opcode": opcode, "retry_after": wait.as_secs_f64(), "meta": meta }).to_string()
}

/// The data of the READY event, which starts a session.
#[derive(Debug, Clone)]
pub struct Ready<'a> {
    /// The protocol version of the connection.
    pub version: Version,
    /// The session's id.
    pub session: SessionId,
    /// The URL to resume at.
    pub resume_url: &'a str,
    /// The shard, if the client named one.
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

    /// Returns the event's data as JSON.
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
    fn ready_has_the_fields_that_libraries_require() {
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
