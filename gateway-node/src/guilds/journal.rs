//! The stored form of a guild.

use serde_json::Value;
use shared::discord::GuildChange;

use super::guild::Guild;

/// An earlier state of a guild and the events since, in order. Events can thus be appended without reading the guild.
/// From time to time they are folded into the state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Journal {
    /// The earlier state: the `d` of a `GUILD_CREATE`.
    pub picture: String,
    /// The name and the `d` of each later event.
    pub changes: Vec<(String, String)>,
}

impl Journal {
    /// Returns the guild as it is now, or `None` if the stored state is not a guild.
    pub(super) fn guild(&self) -> Option<Guild> {
        let Ok(Value::Object(picture)) = serde_json::from_str(&self.picture) else {
            return None;
        };
        let mut guild = Guild::new(picture);
        for (name, d) in &self.changes {
            if let (Some(change), Ok(Value::Object(d))) = (GuildChange::of(name), serde_json::from_str(d)) {
                guild.apply(change, d);
            }
        }
        Some(guild)
    }

    /// Folds the events into the state: returns the `d` of a `GUILD_CREATE` for the guild as it is now.
    pub fn fold(&self) -> Option<String> {
        Some(Value::Object(self.guild()?.whole()).to_string())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn folding_keeps_the_state() {
        let picture = json!({
            "id": "7", "name": "G", "member_count": 5, "features": ["A"], "nsfw": false,
            "members": [{"user": {"id": "1"}, "nick": "n"}, {"user": {"id": "2"}}],
            "channels": [{"id": "70"}], "threads": [{"id": "71"}], "roles": [{"id": "7"}],
            "presences": [{"user": {"id": "2"}, "status": "idle"}],
            "voice_states": [{"user_id": "2", "channel_id": "70"}],
        });
        let change = |name: &str, d: Value| (name.to_owned(), d.to_string());
        let journal = Journal {
            picture: picture.to_string(),
            changes: vec![
                change(
                    "GUILD_MEMBER_UPDATE",
                    json!({"guild_id": "7", "user": {"id": "1"}, "nick": "m"}),
                ),
                change("CHANNEL_CREATE", json!({"id": "72"})),
                change("MESSAGE_CREATE", json!({"id": "73"})),
                change("GUILD_DELETE", json!({"id": "7", "unavailable": true})),
            ],
        };
        let folded = Journal {
            picture: journal.fold().unwrap(),
            changes: Vec::new(),
        };
        assert_eq!(folded.fold().unwrap(), folded.picture);
        let whole: Value = serde_json::from_str(&folded.picture).unwrap();
        assert_eq!(
            (&whole["members"][0]["nick"], &whole["unavailable"]),
            (&json!("m"), &json!(true))
        );
        for (name, value) in picture.as_object().unwrap() {
            if !matches!(&**name, "members" | "channels") {
                assert_eq!(whole[name], *value, "{name}");
            }
        }
        assert_eq!(whole["channels"], json!([{"id": "70"}, {"id": "72"}]));
    }

    #[test]
    fn an_invalid_state_folds_to_none() {
        let journal = Journal {
            picture: "[]".to_owned(),
            changes: Vec::new(),
        };
        assert_eq!(journal.fold(), None);
    }
}
