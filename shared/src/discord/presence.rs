//! The presence of a client.

use serde_json::{Map, Value, json};

/// The status that a client chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Status {
    /// Online.
    #[default]
    Online,
    /// Do not disturb.
    Dnd,
    /// Away.
    Idle,
    /// Online, but shown as offline.
    Invisible,
    /// Offline.
    Offline,
}

impl Status {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "online" => Self::Online,
            "dnd" => Self::Dnd,
            "idle" => Self::Idle,
            "invisible" => Self::Invisible,
            "offline" => Self::Offline,
            _ => return None,
        })
    }

    /// Returns the status that others see.
    pub const fn shown(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Dnd => "dnd",
            Self::Idle => "idle",
            Self::Invisible | Self::Offline => "offline",
        }
    }
}

/// A presence, as set by a client.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Presence {
    /// The chosen status.
    pub status: Status,
    /// The activities, each an object as it was sent.
    pub activities: Vec<Value>,
    /// The time since which the client has been idle, in Unix milliseconds.
    pub since: Option<u64>,
    /// Whether the client is away from the keyboard.
    pub afk: bool,
}

impl Presence {
    /// Parses a presence. Older libraries send a single `game` instead of `activities`.
    pub(super) fn from_json(value: &Value) -> Option<Self> {
        let fields = value.as_object()?;
        let status = match fields.get("status") {
            None | Some(Value::Null) => Status::default(),
            Some(status) => Status::parse(status.as_str()?)?,
        };
        let activities = match (fields.get("activities"), fields.get("game")) {
            (Some(Value::Array(list)), _) => list.clone(),
            (None | Some(Value::Null), Some(game @ Value::Object(_))) => vec![game.clone()],
            (None | Some(Value::Null), None | Some(Value::Null)) => Vec::new(),
            _ => return None,
        };
        if !activities.iter().all(Value::is_object) {
            return None;
        }
        let since = fields.get("since").and_then(Value::as_f64);
        Some(Self {
            status,
            activities,
            // Some libraries send a fraction, and some send a negative number if the client is not idle.
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a time in milliseconds"
            )]
            since: since.filter(|since| *since >= 0.0).map(|since| since as u64),
            afk: fields.get("afk").and_then(Value::as_bool).unwrap_or(false),
        })
    }

    /// Returns the presence of `user` in a guild, which is `d` of a `PRESENCE_UPDATE`.
    pub fn update(&self, user: u64, guild: u64) -> Value {
        let mut client_status = Map::new();
        if self.status.shown() != "offline" {
            client_status.insert("web".to_owned(), self.status.shown().into());
        }
        json!({
            "user": {"id": user.to_string()},
            "guild_id": guild.to_string(),
            "status": self.status.shown(),
            "activities": self.activities,
            "client_status": client_status,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presences_parse_in_old_and_new_form() {
        let new = json!({"status": "idle", "since": 91_879_201, "activities": [{"name": "a", "type": 0}], "afk": true});
        let presence = Presence::from_json(&new).unwrap();
        assert_eq!(
            (presence.status, presence.since, presence.afk),
            (Status::Idle, Some(91_879_201), true)
        );
        let old = json!({"status": "dnd", "since": null, "game": {"name": "a", "type": 0}, "afk": false});
        let presence = Presence::from_json(&old).unwrap();
        assert_eq!(presence.activities, [json!({"name": "a", "type": 0})]);
        let none = json!({"status": "online", "game": null, "since": -1});
        assert_eq!(Presence::from_json(&none), Some(Presence::default()));
        for wrong in [
            json!(1),
            json!({"status": "away"}),
            json!({"status": 1}),
            json!({"activities": {}}),
            json!({"activities": [1]}),
            json!({"game": "a"}),
        ] {
            assert_eq!(Presence::from_json(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn invisible_is_shown_as_offline() {
        let presence = Presence {
            status: Status::Invisible,
            ..Presence::default()
        };
        let update = presence.update(1, 2);
        assert_eq!(update["status"], "offline");
        assert_eq!(update["client_status"], json!({}));
    }
}
