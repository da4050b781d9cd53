//! `Identify` and `Resume`, one of which a client sends first.

use serde_json::{Map, Value};

use super::{Intents, Presence, Shard, Version, close};
use crate::{close::Close, v1::PresentedSecret};

/// What a client claims about itself. The node has yet to verify it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identify {
    /// The token, without the prefix `Bot` that some libraries send.
    pub token: PresentedSecret,
    /// Whether large payloads should be compressed one by one.
    pub compress: bool,
    /// The number of members above which a guild is sent without its offline members: 50 to 250.
    pub large_threshold: u16,
    /// The requested shard, or `None` for all guilds.
    pub shard: Option<Shard>,
    /// The initial presence.
    pub presence: Option<Presence>,
    /// The requested intents. `None` requests all that the application may use, in the versions where intents are
    /// optional.
    pub intents: Option<Intents>,
    /// The name of its library, from the connection properties: `browser`, or else `device`. Cut to 64 characters.
    pub library: Option<String>,
}

/// The session that a client resumes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    /// The token, as in [`Identify`].
    pub token: PresentedSecret,
    /// The id of the session.
    pub session_id: String,
    /// The sequence number of the last dispatch that the client received. Libraries that have received none send 0 or
    /// null.
    pub seq: u64,
}

impl Identify {
    pub(super) fn parse(d: &Map<String, Value>, version: Version) -> Result<Self, Close> {
        let token = token(d)?;
        let intents = match d.get("intents") {
            None | Some(Value::Null) if version.makes_intents_optional() => None,
            Some(intents) => match intents.as_u64().and_then(Intents::from_bits) {
                Some(intents) => Some(intents),
                None => return Err(close::INVALID_INTENTS),
            },
            None => return Err(close::INVALID_INTENTS),
        };
        let shard = match d.get("shard") {
            None | Some(Value::Null) => None,
            Some(shard) => Some(Shard::from_json(shard).ok_or(close::INVALID_SHARD)?),
        };
        let presence = match d.get("presence") {
            None | Some(Value::Null) => None,
            Some(presence) => Some(Presence::from_json(presence).ok_or(close::INVALID_PAYLOAD)?),
        };
        let large_threshold = d.get("large_threshold").and_then(Value::as_u64).unwrap_or(50);
        Ok(Self {
            token,
            compress: d.get("compress").and_then(Value::as_bool).unwrap_or(false),
            large_threshold: u16::try_from(large_threshold.clamp(50, 250)).unwrap_or(250),
            shard,
            presence,
            intents,
            library: library(d),
        })
    }
}

/// The most characters of a library's name that are kept.
const LIBRARY_CHARS: usize = 64;

fn library(d: &Map<String, Value>) -> Option<String> {
    let properties = d.get("properties")?.as_object()?;
    // Version 6 has a `$` before each name.
    let names = ["browser", "$browser", "device", "$device"];
    let mut values = names
        .into_iter()
        .filter_map(|name| properties.get(name)?.as_str())
        .filter(|value| !value.is_empty());
    values.next().map(|value| value.chars().take(LIBRARY_CHARS).collect())
}

impl Resume {
    pub(super) fn parse(d: &Map<String, Value>) -> Result<Self, Close> {
        Ok(Self {
            token: token(d)?,
            // A value that is not a string is not the id of any session.
            session_id: d
                .get("session_id")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            seq: match d.get("seq") {
                None | Some(Value::Null) => 0,
                Some(seq) => seq.as_u64().ok_or(close::INVALID_PAYLOAD)?,
            },
        })
    }
}

fn token(d: &Map<String, Value>) -> Result<PresentedSecret, Close> {
    let token = d.get("token").and_then(Value::as_str);
    let token = token.ok_or(close::AUTHENTICATION_FAILED)?;
    Ok(PresentedSecret::from(
        token.strip_prefix("Bot ").unwrap_or(token).to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn identify(d: &Value, version: Version) -> Result<Identify, Close> {
        Identify::parse(d.as_object().unwrap(), version)
    }

    #[test]
    fn an_identify_is_read() {
        let d = json!({
            "token": "Bot a.b", "properties": {"os": "linux"}, "compress": true, "large_threshold": 1000,
            "shard": [1, 2], "intents": 513, "presence": {"status": "idle", "activities": []},
        });
        let identify = identify(&d, Version::V10).unwrap();
        assert_eq!(identify.token.expose(), "a.b");
        assert!(identify.compress);
        assert_eq!(identify.large_threshold, 250);
        assert_eq!(identify.shard, Some(Shard { id: 1, count: 2 }));
        assert_eq!(identify.intents, Intents::from_bits(513));
        assert!(identify.presence.is_some());
    }

    #[test]
    fn invalid_identifies_have_their_close_codes() {
        for (d, close) in [
            (json!({}), close::AUTHENTICATION_FAILED),
            (json!({"token": 1}), close::AUTHENTICATION_FAILED),
            (json!({"token": "t"}), close::INVALID_INTENTS),
            (json!({"token": "t", "intents": null}), close::INVALID_INTENTS),
            (json!({"token": "t", "intents": 1 << 17}), close::INVALID_INTENTS),
            (json!({"token": "t", "intents": -1}), close::INVALID_INTENTS),
            (json!({"token": "t", "intents": "1"}), close::INVALID_INTENTS),
            (
                json!({"token": "t", "intents": 1, "shard": [1, 1]}),
                close::INVALID_SHARD,
            ),
            (json!({"token": "t", "intents": 1, "shard": 0}), close::INVALID_SHARD),
            (
                json!({"token": "t", "intents": 1, "presence": {"status": "gone"}}),
                close::INVALID_PAYLOAD,
            ),
        ] {
            assert_eq!(identify(&d, Version::V8).unwrap_err(), close, "{d}");
        }
        let old = identify(&json!({"token": "t"}), Version::V7).unwrap();
        assert_eq!((old.intents, old.large_threshold), (None, 50));
    }

    #[test]
    fn a_resume_may_have_no_sequence_number() {
        let resume = |d: Value| Resume::parse(d.as_object().unwrap());
        let seen = |seq: Value| resume(json!({"token": "Bot t", "session_id": "s", "seq": seq})).map(|it| it.seq);
        assert_eq!(seen(json!(7)), Ok(7));
        assert_eq!(seen(json!(0)), Ok(0));
        assert_eq!(seen(Value::Null), Ok(0));
        assert_eq!(seen(json!("7")), Err(close::INVALID_PAYLOAD));
        assert_eq!(resume(json!({"token": "t"})).unwrap().session_id, "");
    }
}
