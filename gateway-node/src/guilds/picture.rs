//! The guild snapshot that a session gets when it begins, written in slices.

use std::ops::Bound::{Excluded, Unbounded};

use serde_json::json;
use shared::discord::Intents;

use super::{
    Viewer,
    guild::{Guild, LISTS},
    text::Text,
};

/// The items that one slice examines.
const LOOKED_AT: usize = 2000;
/// How many additional examined items a written one counts as.
const WRITTEN: usize = 15;
/// Fields that are always present, as empty lists if nothing is known of them.
const FIELDS: [&str; 6] = [
    "emojis",
    "stickers",
    "features",
    "stage_instances",
    "guild_scheduled_events",
    "soundboard_sounds",
];
/// Fields that are computed instead of copied from the guild.
const COUNTED: [&str; 3] = ["member_count", "large", "unavailable"];

/// The `GUILD_CREATE` of one guild while it is being written, or a `GUILD_DELETE` if the guild is unknown or
/// unavailable.
///
/// It does not hold the guild: each slice looks it up again. Changes in between come after the session's starting point
/// in the log, so its client receives the events after the snapshot.
#[derive(Debug)]
pub struct Picture {
    id: u64,
    viewer: Viewer,
    d: Text,
    /// The index of the list that is being written, and its last item; `None` before the first slice.
    at: Option<(usize, Option<u64>)>,
    list: Text,
    is_large: bool,
    /// If there is no guild to write: whether it is known but unavailable.
    gone: Option<bool>,
}

impl Picture {
    /// Creates a snapshot of which nothing is written yet.
    pub fn new(id: u64, viewer: Viewer) -> Self {
        Self {
            id,
            viewer,
            d: Text::object(),
            at: None,
            list: Text::list(),
            is_large: false,
            gone: None,
        }
    }

    /// Returns the id of the guild.
    pub const fn guild(&self) -> u64 {
        self.id
    }

    /// Writes one slice. Returns `true` when the snapshot is complete.
    pub(super) fn slice(&mut self, guild: Option<&Guild>) -> bool {
        let Some(guild) = guild.filter(|guild| !guild.is_unavailable) else {
            self.gone = Some(guild.is_some());
            return true;
        };
        let (mut place, mut after) = if let Some(at) = self.at {
            at
        } else {
            self.begin(guild);
            (0, None)
        };
        let (mut start, mut looked_at) = (self.list.slice(), 0);
        for ((name, _), items) in LISTS.iter().zip(guild.lists()).skip(place) {
            for (id, item) in items.range((after.map_or(Unbounded, Excluded), Unbounded)) {
                if self.list.is_past(start) || looked_at >= LOOKED_AT {
                    self.at = Some((place, after));
                    return false;
                }
                after = Some(*id);
                looked_at += 1;
                if self.is_shown(guild, name, *id) {
                    self.list.item(item);
                    looked_at += WRITTEN;
                }
            }
            let list = std::mem::replace(&mut self.list, Text::list());
            self.d.list_field(name, &list);
            (place, after) = (place + 1, None);
            start = self.list.slice();
        }
        true
    }

    /// Writes all fields that are not lists of items.
    fn begin(&mut self, guild: &Guild) {
        let count = guild.member_count();
        self.is_large = count > u64::from(self.viewer.large_threshold);
        let is_own = |name: &str| COUNTED.contains(&name) || LISTS.iter().any(|(list, _)| *list == name);
        for (name, value) in guild.fields().filter(|(name, _)| !is_own(name)) {
            self.d.field(name, value);
        }
        for name in FIELDS.into_iter().filter(|name| guild.field(name).is_none()) {
            self.d.field(name, &json!([]));
        }
        self.d.field("member_count", &count);
        self.d.field("large", &self.is_large);
        self.d.field("unavailable", &false);
    }

    fn is_shown(&self, guild: &Guild, list: &str, id: u64) -> bool {
        let sees_presences = self.viewer.intents.contains(Intents::GUILD_PRESENCES);
        match list {
            "members" => {
                let is_near = id == self.viewer.user || guild.voice_state(id).is_some();
                is_near || (sees_presences && (!self.is_large || guild.presence(id).is_some()))
            }
            "presences" => sees_presences && guild.presence(id).is_some(),
            _ => true,
        }
    }

    /// Returns the event's name and data.
    pub fn finish(self) -> (&'static str, String) {
        match self.gone {
            Some(is_unavailable) => {
                let d = json!({ "id": self.id.to_string(), "unavailable": is_unavailable });
                ("GUILD_DELETE", d.to_string())
            }
            None => ("GUILD_CREATE", self.d.finish()),
        }
    }
}
