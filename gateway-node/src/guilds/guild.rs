//! One guild.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use shared::discord::{Intents, snowflake};

use super::Viewer;

type Object = Map<String, Value>;

/// A guild, its lists apart, each item under its id.
#[derive(Debug)]
pub(super) struct Guild {
    base: Object,
    pub(super) is_unavailable: bool,
    pub(super) members: BTreeMap<u64, Value>,
    presences: BTreeMap<u64, Value>,
    voice_states: BTreeMap<u64, Value>,
    channels: BTreeMap<u64, Value>,
    threads: BTreeMap<u64, Value>,
    roles: BTreeMap<u64, Value>,
}

impl Guild {
    /// The guild that `d` of a `GUILD_CREATE` describes.
    pub(super) fn new(mut d: Object) -> Self {
        let mut list = |name: &str, id: fn(&Value) -> Option<u64>| {
            let items = match d.remove(name) {
                Some(Value::Array(items)) => items,
                _ => Vec::new(),
            };
            items.into_iter().filter_map(|item| Some((id(&item)?, item))).collect()
        };
        Self {
            members: list("members", user_of),
            presences: list("presences", user_of),
            voice_states: list("voice_states", speaker),
            channels: list("channels", own_id),
            threads: list("threads", own_id),
            roles: list("roles", own_id),
            is_unavailable: d.get("unavailable") == Some(&Value::Bool(true)),
            base: d,
        }
    }

    /// Applies an event of this guild.
    pub(super) fn apply(&mut self, name: &str, mut d: Object) {
        match name {
            "GUILD_UPDATE" => {
                for (name, value) in d {
                    match (&*name, value) {
                        ("roles", Value::Array(roles)) => {
                            self.roles = roles.into_iter().filter_map(|it| Some((own_id(&it)?, it))).collect();
                        }
                        (_, value) => {
                            self.base.insert(name, value);
                        }
                    }
                }
            }
            "GUILD_MEMBER_ADD" => self.member_joins(d),
            "GUILD_MEMBER_UPDATE" => {
                let member = Value::Object(d);
                if let Some(known) = user_of(&member).and_then(|user| self.members.get_mut(&user)) {
                    merge(known, member);
                }
            }
            "GUILD_MEMBER_REMOVE" => self.member_leaves(&Value::Object(d)),
            "CHANNEL_CREATE" | "CHANNEL_UPDATE" => put(&mut self.channels, Value::Object(d), own_id),
            "THREAD_CREATE" | "THREAD_UPDATE" => put(&mut self.threads, Value::Object(d), own_id),
            "CHANNEL_DELETE" => take(&mut self.channels, d.get("id")),
            "THREAD_DELETE" => take(&mut self.threads, d.get("id")),
            "GUILD_ROLE_CREATE" | "GUILD_ROLE_UPDATE" => {
                if let Some(role) = d.remove("role") {
                    put(&mut self.roles, role, own_id);
                }
            }
            "GUILD_ROLE_DELETE" => take(&mut self.roles, d.get("role_id")),
            "GUILD_EMOJIS_UPDATE" => self.replace("emojis", d),
            "GUILD_STICKERS_UPDATE" => self.replace("stickers", d),
            "GUILD_SOUNDBOARD_SOUNDS_UPDATE" => self.replace("soundboard_sounds", d),
            "PRESENCE_UPDATE" => {
                d.remove("guild_id");
                put(&mut self.presences, Value::Object(d), user_of);
            }
            "VOICE_STATE_UPDATE" if d.get("channel_id").is_none_or(Value::is_null) => {
                take(&mut self.voice_states, d.get("user_id"));
            }
            "VOICE_STATE_UPDATE" => {
                d.remove("member");
                put(&mut self.voice_states, Value::Object(d), speaker);
            }
            _ => {}
        }
    }

    /// A field that is no list of its own.
    pub(super) fn field(&self, name: &str) -> Option<&Value> {
        self.base.get(name)
    }

    /// The presence of a member that is not offline.
    pub(super) fn presence(&self, user: u64) -> Option<&Value> {
        let presence = self.presences.get(&user)?;
        (presence.get("status").and_then(Value::as_str) != Some("offline")).then_some(presence)
    }

    /// The guild as it is told to who comes to it.
    pub(super) fn picture(&self, viewer: Viewer) -> Value {
        let count = self.member_count();
        let is_large = count > u64::from(viewer.large_threshold);
        let sees_presences = viewer.intents.contains(Intents::GUILD_PRESENCES);
        let is_shown = |user: u64| {
            let is_near = user == viewer.user || self.voice_states.contains_key(&user);
            is_near || (sees_presences && (!is_large || self.presence(user).is_some()))
        };
        let members = self.members.iter().filter(|(user, _)| is_shown(**user));
        let presences = self.presences.keys().filter_map(|user| self.presence(*user));
        let mut d = self.base.clone();
        let mut list = |name: &str, items: Vec<&Value>| {
            d.insert(name.to_owned(), json!(items));
        };
        list("members", members.map(|(_, member)| member).collect());
        list("presences", presences.filter(|_| sees_presences).collect());
        list("voice_states", self.voice_states.values().collect());
        list("channels", self.channels.values().collect());
        list("threads", self.threads.values().collect());
        list("roles", self.roles.values().collect());
        for (name, value) in [
            ("member_count", json!(count)),
            ("large", json!(is_large)),
            ("unavailable", json!(false)),
        ] {
            d.insert(name.to_owned(), value);
        }
        for name in [
            "emojis",
            "stickers",
            "features",
            "stage_instances",
            "guild_scheduled_events",
            "soundboard_sounds",
        ] {
            d.entry(name).or_insert_with(|| json!([]));
        }
        Value::Object(d)
    }

    /// How many members there are: as its publisher says, who need not publish all of them.
    fn member_count(&self) -> u64 {
        let told = self.base.get("member_count").and_then(Value::as_u64);
        told.unwrap_or(0).max(self.members.len() as u64)
    }

    fn count_members(&mut self, change: impl FnOnce(u64) -> u64) {
        if let Some(count) = self.base.get("member_count").and_then(Value::as_u64) {
            self.base.insert("member_count".to_owned(), json!(change(count)));
        }
    }

    fn member_joins(&mut self, mut d: Object) {
        d.remove("guild_id");
        let member = Value::Object(d);
        if let Some(user) = user_of(&member)
            && self.members.insert(user, member).is_none()
        {
            self.count_members(|count| count.saturating_add(1));
        }
    }

    fn member_leaves(&mut self, d: &Value) {
        if let Some(user) = user_of(d) {
            self.members.remove(&user);
            self.presences.remove(&user);
            self.voice_states.remove(&user);
            self.count_members(|count| count.saturating_sub(1));
        }
    }

    fn replace(&mut self, name: &str, mut d: Object) {
        if let Some(value) = d.remove(name) {
            self.base.insert(name.to_owned(), value);
        }
    }
}

fn put(list: &mut BTreeMap<u64, Value>, item: Value, id: fn(&Value) -> Option<u64>) {
    if let Some(id) = id(&item) {
        list.insert(id, item);
    }
}

fn take(list: &mut BTreeMap<u64, Value>, id: Option<&Value>) {
    if let Some(id) = id.and_then(snowflake) {
        list.remove(&id);
    }
}

fn merge(known: &mut Value, change: Value) {
    if let (Value::Object(known), Value::Object(change)) = (known, change) {
        known.extend(change.into_iter().filter(|(name, _)| name != "guild_id"));
    }
}

fn own_id(item: &Value) -> Option<u64> {
    snowflake(item.get("id")?)
}

fn user_of(item: &Value) -> Option<u64> {
    snowflake(item.pointer("/user/id")?)
}

fn speaker(state: &Value) -> Option<u64> {
    snowflake(state.get("user_id")?)
}
