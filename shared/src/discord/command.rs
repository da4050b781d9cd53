//! The commands of clients.

use serde_json::{Map, Value};

use super::{
    Identify, Opcode, Presence, RequestMembers, Resume, Version, VoiceState, close, request::snowflakes, snowflake,
};
use crate::close::Close;

/// A parsed payload of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// The client is alive, and has received every dispatch up to `seq`.
    Heartbeat {
        /// The sequence number of the last dispatch received, or `None` if there was none.
        seq: Option<u64>,
    },
    /// The client requests a new session.
    Identify(Box<Identify>),
    /// The client resumes a session.
    Resume(Resume),
    /// The client changes its presence.
    Presence(Presence),
    /// The client joins, changes or leaves a voice channel.
    Voice(VoiceState),
    /// A voice server ping, which has no effect.
    VoicePing,
    /// The client requests members of guilds.
    Members(RequestMembers),
    /// The client requests the soundboard sounds of these guilds.
    Soundboard(Vec<u64>),
    /// The client requests the channel info of this guild: voice status and start time.
    ChannelInfo(u64),
}

/// Returns the opcode of a client's payload.
///
/// # Errors
/// [`close::DECODE`] if `payload` is not an object, [`close::UNKNOWN_OPCODE`] for an opcode that no client may send.
pub fn opcode_of(payload: &Value) -> Result<Opcode, Close> {
    let fields = payload.as_object().ok_or(close::DECODE)?;
    let number = fields.get("op").and_then(Value::as_u64);
    number.and_then(Opcode::from_client).ok_or(close::UNKNOWN_OPCODE)
}

impl Command {
    /// Parses the data of a payload with this opcode.
    ///
    /// # Errors
    /// The close that answers the invalid data.
    pub fn parse(opcode: Opcode, payload: &Value, version: Version) -> Result<Self, Close> {
        let d = payload.get("d").unwrap_or(&Value::Null);
        Ok(match opcode {
            Opcode::Heartbeat => Self::Heartbeat {
                seq: match d {
                    Value::Null => None,
                    seq => Some(seq.as_u64().ok_or(close::INVALID_PAYLOAD)?),
                },
            },
            Opcode::Identify => Self::Identify(Box::new(Identify::parse(object(d)?, version)?)),
            Opcode::Resume => Self::Resume(Resume::parse(object(d)?)?),
            Opcode::PresenceUpdate => Self::Presence(Presence::from_json(d).ok_or(close::INVALID_PAYLOAD)?),
            Opcode::VoiceStateUpdate => Self::Voice(VoiceState::parse(object(d)?)?),
            Opcode::VoiceServerPing => Self::VoicePing,
            Opcode::RequestGuildMembers => Self::Members(RequestMembers::parse(object(d)?)?),
            Opcode::RequestSoundboardSounds => {
                let guilds = object(d)?.get("guild_ids").and_then(snowflakes);
                Self::Soundboard(guilds.ok_or(close::INVALID_PAYLOAD)?)
            }
            Opcode::RequestChannelInfo => {
                let guild = object(d)?.get("guild_id").and_then(snowflake);
                Self::ChannelInfo(guild.ok_or(close::INVALID_PAYLOAD)?)
            }
            Opcode::Dispatch | Opcode::Reconnect | Opcode::InvalidSession | Opcode::Hello | Opcode::HeartbeatAck => {
                return Err(close::UNKNOWN_OPCODE);
            }
        })
    }
}

fn object(d: &Value) -> Result<&Map<String, Value>, Close> {
    d.as_object().ok_or(close::INVALID_PAYLOAD)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(payload: &Value) -> Result<Command, Close> {
        Command::parse(opcode_of(payload)?, payload, Version::V10)
    }

    #[test]
    fn every_client_opcode_is_parsed() {
        assert_eq!(
            read(&json!({"op": 1, "d": 251})),
            Ok(Command::Heartbeat { seq: Some(251) })
        );
        for none in [json!({"op": 1, "d": null}), json!({"op": 1})] {
            assert_eq!(read(&none), Ok(Command::Heartbeat { seq: None }));
        }
        assert_eq!(read(&json!({"op": 5, "d": {}})), Ok(Command::VoicePing));
        assert_eq!(
            read(&json!({"op": 31, "d": {"guild_ids": ["1", 2]}})),
            Ok(Command::Soundboard(vec![1, 2]))
        );
        assert_eq!(
            read(&json!({"op": 43, "d": {"guild_id": "1"}})),
            Ok(Command::ChannelInfo(1))
        );
        assert!(matches!(
            read(&json!({"op": 2, "d": {"token": "t", "intents": 0}})),
            Ok(Command::Identify(_))
        ));
        assert!(matches!(
            read(&json!({"op": 3, "d": {"status": "online", "activities": [], "since": null, "afk": false}})),
            Ok(Command::Presence(_))
        ));
    }

    #[test]
    fn invalid_payloads_have_their_close_codes() {
        for payload in [json!([]), json!(null), json!("op")] {
            assert_eq!(read(&payload), Err(close::DECODE), "{payload}");
        }
        for op in [
            json!(0),
            json!(7),
            json!(9),
            json!(10),
            json!(11),
            json!(12),
            json!("1"),
            json!(-1),
            json!(1.5),
        ] {
            assert_eq!(read(&json!({"op": op, "d": null})), Err(close::UNKNOWN_OPCODE), "{op}");
        }
        assert_eq!(read(&json!({"d": null})), Err(close::UNKNOWN_OPCODE));
        for op in [2, 3, 4, 6, 8, 31, 43] {
            assert_eq!(read(&json!({"op": op, "d": 1})), Err(close::INVALID_PAYLOAD), "{op}");
        }
        assert_eq!(read(&json!({"op": 1, "d": "1"})), Err(close::INVALID_PAYLOAD));
    }

    proptest! {
        #[test]
        fn no_payload_panics(
            op in 0_u64..50,
            d in proptest::collection::hash_map("[a-z_]{1,12}", any::<Option<i64>>(), 0..6),
        ) {
            let _ = read(&json!({"op": op, "d": d}));
        }
    }
}
