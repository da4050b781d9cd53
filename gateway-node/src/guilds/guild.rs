//! The state of one guild.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use shared::discord::{GuildChange, snowflake};

type Object = Map<String, Value>;

/// Returns the id of a list item.
type Id = fn(&Value) -> Option<u64>;

/// The lists of a guild whose items are stored by id.
pub(super) const LISTS: [(&str, Id); 6] = [
    ("members", user_of),
    ("presences", user_of),
    ("voice_states", speaker),
    ("channels", own_id),
    ("threads", own_id),
    ("roles", own_id),
];

/// A guild: its lists, each item under its id, and all other fields.
#[derive(Debug, Clone)]
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
    /// Creates the guild that the `d` of a `GUILD_CREATE` describes.
    pub(super) fn new(mut d: Object) -> Self {
        let [members, presences, voice_states, channels, threads, roles] = LISTS.map(|(name, id)| {
            let items = match d.remove(name) {
                Some(Value::Array(items)) => items,
                _ => Vec::new(),
            };
            items.into_iter().filter_map(|item| Some((id(&item)?, item))).collect()
        });
        Self {
            members,
            presences,
            voice_states,
            channels,
            threads,
            roles,
            is_unavailable: d.get("unavailable") == Some(&Value::Bool(true)),
            base: d,
        }
    }

    /// Applies an event that does not remove the guild.
    pub(super) fn apply(&mut self, change: GuildChange, mut d: Object) {
        match change {
            GuildChange::Create => *self = Self::new(d),
            GuildChange::Delete => self.is_unavailable = true,
            GuildChange::Update => self.update(d),
            GuildChange::MembersPut => {
                if let Some(Value::Array(members)) = d.remove("members") {
                    for member in members {
                        put(&mut self.members, member, user_of);
                    }
                }
            }
            GuildChange::MemberAdd => self.member_joins(d),
            GuildChange::MemberUpdate => {
                let member = Value::Object(d);
                if let Some(known) = user_of(&member).and_then(|user| self.members.get_mut(&user)) {
                    merge(known, member);
                }
            }
            GuildChange::MemberRemove => self.member_leaves(&Value::Object(d)),
            GuildChange::ChannelPut => put(&mut self.channels, Value::Object(d), own_id),
            GuildChange::ChannelDelete => take(&mut self.channels, d.get("id")),
            GuildChange::ChannelUpdate => {
                let channel = Value::Object(d);
                if let Some(known) = own_id(&channel).and_then(|id| self.channels.get_mut(&id)) {
                    merge(known, channel);
                }
            }
            GuildChange::ThreadPut => put(&mut self.threads, Value::Object(d), own_id),
            GuildChange::ThreadDelete => take(&mut self.threads, d.get("id")),
            GuildChange::RolePut => {
                if let Some(role) = d.remove("role") {
                    put(&mut self.roles, role, own_id);
                }
            }
            GuildChange::RoleDelete => take(&mut self.roles, d.get("role_id")),
            GuildChange::Replace(name) => {
                if let Some(value) = d.remove(name) {
                    self.base.insert(name.to_owned(), value);
                }
            }
            GuildChange::Presence => {
                d.remove("guild_id");
                put(&mut self.presences, Value::Object(d), user_of);
            }
            GuildChange::VoiceState if d.get("channel_id").is_none_or(Value::is_null) => {
                take(&mut self.voice_states, d.get("user_id"));
            }
            GuildChange::VoiceState => {
                d.remove("member");
                put(&mut self.voice_states, Value::Object(d), speaker);
            }
        }
    }

    /// Returns the complete state, as the `d` of a `GUILD_CREATE` that would recreate it.
    pub(super) fn whole(&self) -> Object {
        let mut d = self.base.clone();
        for ((name, _), items) in LISTS.iter().zip(self.lists()) {
            d.insert((*name).to_owned(), items.values().cloned().collect());
        }
        d.insert("unavailable".to_owned(), json!(self.is_unavailable));
        d
    }

    /// Returns the lists in the order of [`LISTS`].
    pub(super) const fn lists(&self) -> [&BTreeMap<u64, Value>; LISTS.len()] {
        [
            &self.members,
            &self.presences,
            &self.voice_states,
            &self.channels,
            &self.threads,
            &self.roles,
        ]
    }

    /// Returns a field that is not one of the lists.
    pub(super) fn field(&self, name: &str) -> Option<&Value> {
        self.base.get(name)
    }

    /// Returns the fields that are not lists.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.base.iter()
    }

    /// Returns the channels that have any of these fields, with only those fields and the id.
    pub(super) fn channels(&self, fields: &[&str]) -> Vec<Value> {
        let of = |(id, channel): (&u64, &Value)| {
            let said = fields.iter().filter_map(|field| Some((*field, channel.get(field)?)));
            let mut info: Object = said
                .filter(|(_, value)| !value.is_null())
                .map(|(field, value)| (field.to_owned(), value.clone()))
                .collect();
            if info.is_empty() {
                return None;
            }
            info.insert("id".to_owned(), json!(id.to_string()));
            Some(Value::Object(info))
        };
        self.channels.iter().filter_map(of).collect()
    }

    /// Returns the presence of a user, if it is not offline.
    pub(super) fn presence(&self, user: u64) -> Option<&Value> {
        let presence = self.presences.get(&user)?;
        (presence.get("status").and_then(Value::as_str) != Some("offline")).then_some(presence)
    }

    /// Returns the voice state of a user who is in a channel.
    pub(super) fn voice_state(&self, user: u64) -> Option<&Value> {
        self.voice_states.get(&user)
    }

    /// Returns the number of members: the published count, or the number of known members if that is larger. Publishers
    /// need not publish all members.
    pub(super) fn member_count(&self) -> u64 {
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

    fn update(&mut self, d: Object) {
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
}

fn put(list: &mut BTreeMap<u64, Value>, item: Value, id: Id) {
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
