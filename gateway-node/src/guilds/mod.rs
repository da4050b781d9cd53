//! The guilds of an application, built from the events that its operator publishes.
//!
//! Pure state: events go in, guild snapshots come out. It is maintained beside the log (`replay/buffer.rs`), so that
//! there is no gap between the guilds that a session is greeted with and the entries that it receives after them.

mod guild;
mod journal;
mod picture;
mod problem;
mod request;
#[cfg(test)]
mod tests;
mod text;

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value};
use shared::discord::{GuildChange, Intents, Shard};

use self::guild::Guild;
pub(crate) use self::{
    journal::Journal,
    picture::Picture,
    problem::{GuildProblem, check, check_members},
    request::{ChunkText, MembersChunk, Search},
};

/// The session that a guild snapshot is made for.
#[derive(Debug, Clone, Copy)]
pub struct Viewer {
    /// The intents of the session.
    pub intents: Intents,
    /// The id of its bot user.
    pub user: u64,
    /// The number of members above which offline members are left out.
    pub large_threshold: u16,
}

/// Guilds of one application: all or some of them. Clones share every guild until one of them changes it.
#[derive(Debug, Clone, Default)]
pub struct Guilds {
    guilds: BTreeMap<u64, KnownGuilds>,
}

#[derive(Debug, Clone)]
struct KnownGuilds {
    guild: Arc<Guild>,
    /// Every change of the guild up to this log offset is included.
    through: u64,
}

impl Guilds {
    /// Applies the event at this log offset. Events of unknown guilds, and events that the guild already includes, have
    /// no effect.
    pub fn apply(&mut self, offset: u64, change: GuildChange, id: u64, d: &str) {
        let known = self.guilds.get_mut(&id);
        if known.as_ref().is_some_and(|known| offset <= known.through) {
            return;
        }
        if known.is_none() && change != GuildChange::Create {
            return;
        }
        let Ok(Value::Object(d)) = serde_json::from_str(d) else {
            return;
        };
        match known {
            Some(_) if is_removal(change, &d) => {
                self.guilds.remove(&id);
            }
            Some(known) => {
                Arc::make_mut(&mut known.guild).apply(change, d);
                known.through = offset;
            }
            None => self.insert(id, Guild::new(d), offset),
        }
    }

    /// Adds a stored guild that includes every change up to this log offset. Returns `false` if the stored state is not
    /// a guild.
    pub fn read(&mut self, id: u64, journal: &Journal, through: u64) -> bool {
        let guild = journal.guild();
        let is_one = guild.is_some();
        if let Some(guild) = guild {
            self.insert(id, guild, through);
        }
        is_one
    }

    fn insert(&mut self, id: u64, guild: Guild, through: u64) {
        let guild = Arc::new(guild);
        self.guilds.insert(id, KnownGuilds { guild, through });
    }

    fn get(&self, id: u64) -> Option<&Guild> {
        self.guilds.get(&id).map(|known| &*known.guild)
    }

    /// Returns a copy with only these guilds.
    #[must_use]
    pub fn only(&self, ids: impl IntoIterator<Item = u64>) -> Self {
        let known = |id: u64| Some((id, self.guilds.get(&id)?.clone()));
        Self {
            guilds: ids.into_iter().filter_map(known).collect(),
        }
    }

    /// Returns the guild ids after this one, in order.
    pub fn ids(&self, after: Option<u64>) -> impl Iterator<Item = u64> {
        let ids = self.guilds.keys().copied();
        ids.filter(move |id| after.is_none_or(|after| *id > after))
    }

    /// Returns the state of a guild without its members and presences, which can be many.
    pub fn about(&self, id: u64) -> Option<Map<String, Value>> {
        let mut d = self.get(id)?.whole();
        d.remove("members");
        d.remove("presences");
        Some(d)
    }

    /// Returns up to `most` members of a guild with ids after this one, or `None` if the guild is unknown.
    pub fn members(&self, id: u64, after: Option<u64>, most: usize) -> Option<Vec<(u64, &Value)>> {
        let members = self.get(id)?.members.iter();
        let behind = members.filter(|(user, _)| after.is_none_or(|after| **user > after));
        Some(behind.map(|(user, member)| (*user, member)).take(most).collect())
    }

    /// Returns the ids of a shard's guilds.
    pub fn of_shard(&self, shard: Shard) -> Vec<u64> {
        let ids = self.guilds.keys().copied();
        ids.filter(|id| shard.has(Some(*id))).collect()
    }

    /// Returns whether the guild is known.
    pub fn has(&self, id: u64) -> bool {
        self.guilds.contains_key(&id)
    }

    /// Does one slice of a search for members, which takes about a millisecond at most. Returns `true` when the search
    /// is complete.
    pub fn search(&self, search: &mut Search) -> bool {
        search.slice(self.get(search.guild()))
    }

    /// Writes one slice of a chunk of members. Returns `true` when it is complete.
    pub fn write_chunk(&self, text: &mut ChunkText<'_>) -> bool {
        text.slice(self.get(text.guild()))
    }

    /// Writes one slice of a guild snapshot. Returns `true` when it is complete. A guild that is unknown or unavailable
    /// is written as a `GUILD_DELETE`.
    pub fn draw(&self, picture: &mut Picture) -> bool {
        picture.slice(self.get(picture.guild()))
    }

    /// Returns the `CHANNEL_INFO` fields of a guild's channels.
    pub fn channels(&self, id: u64) -> Vec<Value> {
        self.get(id)
            .map_or_else(Vec::new, |guild| guild.channels(&CHANNEL_INFO))
    }

    /// Returns what an available guild knows of a user: the member, and the voice state if the user is in a channel.
    pub fn speaker(&self, id: u64, user: u64) -> Option<(Option<&Value>, Option<&Value>)> {
        let guild = self.get(id).filter(|guild| !guild.is_unavailable)?;
        Some((guild.members.get(&user), guild.voice_state(user)))
    }

    /// Returns the soundboard sounds of a guild.
    pub fn sounds(&self, id: u64) -> Value {
        let sounds = self.get(id).and_then(|guild| guild.field("soundboard_sounds"));
        sounds.cloned().unwrap_or_else(|| Value::Array(Vec::new()))
    }
}

/// The channel fields that `CHANNEL_INFO` contains.
const CHANNEL_INFO: [&str; 2] = ["status", "voice_start_time"];

/// Returns whether the event removes the guild rather than making it unavailable.
fn is_removal(change: GuildChange, d: &Map<String, Value>) -> bool {
    change == GuildChange::Delete && d.get("unavailable") != Some(&Value::Bool(true))
}
