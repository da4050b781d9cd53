//! Voice states of clients.

use serde_json::{Map, Value, json};

use super::{close, snowflake};
use crate::{close::Close, session_id::SessionId};

/// `Voice State Update`: the voice channel that the client wants to be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VoiceState {
    /// The guild.
    pub guild: u64,
    /// The channel, or `None` to leave.
    pub channel: Option<u64>,
    /// Whether the client's microphone is off.
    pub self_mute: bool,
    /// Whether the client has deafened itself.
    pub self_deaf: bool,
    /// Whether the client's camera is on.
    pub self_video: bool,
}

impl VoiceState {
    pub(super) fn parse(d: &Map<String, Value>) -> Result<Self, Close> {
        let flag = |name: &str| d.get(name).and_then(Value::as_bool).unwrap_or(false);
        let channel = match d.get("channel_id") {
            None | Some(Value::Null) => None,
            Some(channel) => Some(snowflake(channel).ok_or(close::INVALID_PAYLOAD)?),
        };
        Ok(Self {
            guild: d.get("guild_id").and_then(snowflake).ok_or(close::INVALID_PAYLOAD)?,
            channel,
            self_mute: flag("self_mute"),
            self_deaf: flag("self_deaf"),
            self_video: flag("self_video"),
        })
    }

    /// Returns the state with the client in no channel of the guild.
    #[must_use]
    pub const fn left(self) -> Self {
        Self { channel: None, ..self }
    }

    /// Returns this state for a session of `user`, which is `d` of a `VOICE_STATE_UPDATE`. The fields that others
    /// control, such as `mute`, are taken from `known`, the user's voice state so far. `member` is the user's member
    /// object in the guild.
    pub fn update(&self, user: u64, session: SessionId, known: Option<&Value>, member: Option<&Value>) -> Value {
        let decided = |name: &str| {
            let value = known.and_then(|known| known.get(name));
            value.and_then(Value::as_bool).unwrap_or(false)
        };
        let mut d = json!({
            "guild_id": self.guild.to_string(),
            "channel_id": self.channel.map(|channel| channel.to_string()),
            "user_id": user.to_string(),
            "session_id": session.to_string(),
            "deaf": decided("deaf"),
            "mute": decided("mute"),
            "self_deaf": self.self_deaf,
            "self_mute": self.self_mute,
            "self_video": self.self_video,
            "suppress": decided("suppress"),
            "request_to_speak_timestamp": known.and_then(|known| known.get("request_to_speak_timestamp")),
        });
        if let Some(member) = member {
            d["member"] = member.clone();
        }
        d
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(d: &Value) -> Result<VoiceState, Close> {
        VoiceState::parse(d.as_object().unwrap())
    }

    #[test]
    fn a_voice_state_without_a_channel_leaves() {
        let left = state(&json!({"guild_id": 1, "channel_id": null, "self_mute": true})).unwrap();
        assert_eq!((left.guild, left.channel, left.self_mute), (1, None, true));
        let joined = state(&json!({"guild_id": 1, "channel_id": "2"})).unwrap();
        assert_eq!(joined.channel, Some(2));
        assert_eq!(joined.left().channel, None);
        assert!(state(&json!({"channel_id": "2"})).is_err());
        assert!(state(&json!({"guild_id": 1, "channel_id": "x"})).is_err());
    }

    #[test]
    fn fields_that_others_control_are_kept() {
        let joined = state(&json!({"guild_id": 1, "channel_id": "2", "self_deaf": true})).unwrap();
        let session = SessionId::from_raw(9);
        let expected = json!({
            "guild_id": "1", "channel_id": "2", "user_id": "7", "session_id": "9", "deaf": false, "mute": false,
            "self_deaf": true, "self_mute": false, "self_video": false, "suppress": false,
            "request_to_speak_timestamp": null,
        });
        assert_eq!(joined.update(7, session, None, None), expected);
        let (known, member) = (json!({"mute": true, "suppress": 1}), json!({"nick": "n"}));
        let d = joined.update(7, session, Some(&known), Some(&member));
        assert_eq!(
            (&d["mute"], &d["suppress"], &d["member"]),
            (&json!(true), &json!(false), &member)
        );
    }
}
