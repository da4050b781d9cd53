//! Answers requests for guild members, searched and written in slices.
//!
//! A guild may have a hundred thousand members. Neither a search nor the text of a chunk holds the guild: each slice
//! looks it up again and continues after the last member examined.

use std::{
    mem,
    ops::Bound::{Excluded, Unbounded},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::discord::{Intents, RequestMembers, UserIds};

use super::{guild::Guild, text::Text};

/// The most members per chunk.
const CHUNK: usize = 1000;
/// The most members written for a range, including members that joined after it was fixed.
const CROWDED: usize = 2 * CHUNK;
/// The most members found by name or by id.
const FOUND: usize = 100;
/// The members that one slice of a search counts.
const COUNTED: usize = 8000;
/// The members whose names one slice of a search compares.
const COMPARED: usize = 2000;

/// The recipe of one `GUILD_MEMBERS_CHUNK`. It is small enough to be stored with a session. The chunk is made from the
/// guild each time it is sent, so members that have left are missing, and changed ones are current.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembersChunk {
    #[serde(rename = "g")]
    guild: u64,
    #[serde(rename = "i")]
    index: usize,
    #[serde(rename = "c")]
    count: usize,
    #[serde(rename = "p", default)]
    presences: bool,
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    nonce: Option<Box<str>>,
    #[serde(rename = "m")]
    members: MembersOf,
    /// Ids in the request that are not snowflakes.
    #[serde(rename = "x", default, skip_serializing_if = "Vec::is_empty")]
    invalid: Vec<Value>,
}

/// The members of a chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum MembersOf {
    /// The members after the first id, up to and including the second.
    #[serde(rename = "r")]
    Range(Option<u64>, u64),
    /// Members found by name.
    #[serde(rename = "f")]
    Found(Vec<u64>),
    /// Members that the client named, up to [`FOUND`] of them. The chunk lists those that were not found.
    #[serde(rename = "u")]
    Named(Vec<u64>),
}

impl MembersChunk {
    /// Returns its size in bytes beyond that of the struct.
    pub fn weight(&self) -> usize {
        let ids = match &self.members {
            MembersOf::Range(..) => 0,
            MembersOf::Found(ids) | MembersOf::Named(ids) => size_of_val(&**ids),
        };
        let invalid = self.invalid.iter().map(|id| size_of_val(id) + id.to_string().len());
        ids + self.nonce.as_deref().map_or(0, str::len) + invalid.sum::<usize>()
    }
}

/// A search for the members of one guild that a request asks for.
#[derive(Debug)]
pub struct Search {
    guild: u64,
    presences: bool,
    nonce: Option<Box<str>>,
    after: Option<u64>,
    goal: Goal,
}

#[derive(Debug)]
enum Goal {
    /// All members: the last id of each chunk so far, and the number of members counted.
    Whole(Vec<u64>, usize),
    /// Members whose names begin with this, up to a limit, and those found so far.
    Called(String, usize, Vec<u64>),
    /// Members with these ids.
    Named(UserIds),
}

impl Search {
    /// Creates a search for the members of `guild` that a session with these intents asked for.
    pub fn new(guild: u64, request: &RequestMembers, intents: Intents) -> Self {
        let query = request.query.as_deref().unwrap_or_default();
        let is_whole = query.is_empty() && request.limit == 0;
        let goal = if let Some(users) = &request.users {
            Goal::Named(users.clone())
        } else if is_whole && intents.contains(Intents::GUILD_MEMBERS) {
            Goal::Whole(Vec::new(), 0)
        } else {
            let most = match usize::try_from(request.limit) {
                _ if is_whole => 0,
                Ok(limit @ 1..=FOUND) => limit,
                _ => FOUND,
            };
            Goal::Called(query.to_lowercase(), most, Vec::new())
        };
        Self {
            guild,
            presences: request.presences && intents.contains(Intents::GUILD_PRESENCES),
            nonce: request.nonce.as_deref().map(Into::into),
            after: None,
            goal,
        }
    }

    /// Returns the id of the guild.
    pub const fn guild(&self) -> u64 {
        self.guild
    }

    /// Returns whether it is for all members.
    pub const fn is_whole(&self) -> bool {
        matches!(self.goal, Goal::Whole(..))
    }

    /// Returns the nonce of the request.
    pub fn nonce(&self) -> Option<&str> {
        self.nonce.as_deref()
    }

    /// Searches one slice of the guild. Returns `true` when nothing is left to search.
    pub(super) fn slice(&mut self, guild: Option<&Guild>) -> bool {
        let Some(guild) = guild else { return true };
        let mut behind = guild.members.range((self.after.map_or(Unbounded, Excluded), Unbounded));
        match &mut self.goal {
            Goal::Named(_) => true,
            Goal::Whole(last, count) => {
                for (user, _) in behind.by_ref().take(COUNTED) {
                    *count += 1;
                    self.after = Some(*user);
                    if count.is_multiple_of(CHUNK) {
                        last.push(*user);
                    }
                }
                behind.next().is_none()
            }
            Goal::Called(query, most, found) => {
                for (user, member) in behind.by_ref().take(COMPARED) {
                    if found.len() >= *most {
                        return true;
                    }
                    self.after = Some(*user);
                    if is_called(member, query) {
                        found.push(*user);
                    }
                }
                found.len() >= *most || behind.next().is_none()
            }
        }
    }

    /// Returns the chunks of a completed search: at least one.
    pub fn chunks(self) -> Vec<MembersChunk> {
        let mut invalid = Vec::new();
        let members = match self.goal {
            Goal::Named(users) => {
                invalid = users.invalid;
                vec![MembersOf::Named(users.ids)]
            }
            Goal::Called(_, _, found) => vec![MembersOf::Found(found)],
            Goal::Whole(_, 0) => vec![MembersOf::Found(Vec::new())],
            Goal::Whole(mut last, count) => {
                if !count.is_multiple_of(CHUNK) {
                    last.extend(self.after);
                }
                let after = std::iter::once(None).chain(last.iter().copied().map(Some));
                let ranges = after.zip(last.iter().copied());
                ranges.map(|(after, last)| MembersOf::Range(after, last)).collect()
            }
        };
        let count = members.len();
        let chunk = |(index, members)| MembersChunk {
            guild: self.guild,
            index,
            count,
            presences: self.presences,
            nonce: self.nonce.clone(),
            members,
            // Only a request by ids has any, and its answer is a single chunk.
            invalid: mem::take(&mut invalid),
        };
        members.into_iter().enumerate().map(chunk).collect()
    }
}

fn is_called(member: &Value, query: &str) -> bool {
    let names = [member.pointer("/user/username"), member.get("nick")];
    let mut names = names.into_iter().flatten().filter_map(Value::as_str);
    query.is_empty() || names.any(|name| name.to_lowercase().starts_with(query))
}

/// The data of a chunk while it is being written.
#[derive(Debug)]
pub struct ChunkText<'a> {
    chunk: &'a MembersChunk,
    /// The last member of a range that was written.
    after: Option<u64>,
    written: usize,
    members: Text,
    presences: Text,
    missing: Vec<u64>,
}

impl<'a> ChunkText<'a> {
    /// Creates a chunk of which nothing is written yet.
    pub fn new(chunk: &'a MembersChunk) -> Self {
        let after = match chunk.members {
            MembersOf::Range(after, _) => after,
            MembersOf::Found(_) | MembersOf::Named(_) => None,
        };
        Self {
            chunk,
            after,
            written: 0,
            members: Text::list(),
            presences: Text::list(),
            missing: Vec::new(),
        }
    }

    /// Returns the id of the guild.
    pub const fn guild(&self) -> u64 {
        self.chunk.guild
    }

    /// Writes one slice of the chunk. Returns `true` when it is complete.
    pub(super) fn slice(&mut self, guild: Option<&Guild>) -> bool {
        let (members, presences) = (self.members.slice(), self.presences.slice());
        let is_full = |text: &Self| text.members.is_past(members) || text.presences.is_past(presences);
        match &self.chunk.members {
            MembersOf::Range(_, last) => {
                let Some(guild) = guild else { return true };
                let range = (self.after.map_or(Unbounded, Excluded), Unbounded);
                for (user, member) in guild.members.range(range) {
                    if user > last || self.written == CROWDED {
                        return true;
                    }
                    if is_full(self) {
                        return false;
                    }
                    self.after = Some(*user);
                    self.write(guild, *user, member);
                }
            }
            MembersOf::Found(users) | MembersOf::Named(users) => {
                for user in users.iter().skip(self.written) {
                    // Every id before this one was found or is missing.
                    if self.written - self.missing.len() == FOUND {
                        return true;
                    }
                    if is_full(self) {
                        return false;
                    }
                    let found = guild.and_then(|guild| Some((guild, guild.members.get(user)?)));
                    if let Some((guild, member)) = found {
                        self.write(guild, *user, member);
                    } else {
                        self.written += 1;
                        self.missing.push(*user);
                    }
                }
            }
        }
        true
    }

    fn write(&mut self, guild: &Guild, user: u64, member: &Value) {
        self.written += 1;
        self.members.item(member);
        if self.chunk.presences
            && let Some(presence) = guild.presence(user)
        {
            self.presences.item(presence);
        }
    }

    /// Returns the complete data.
    pub fn finish(self) -> String {
        let chunk = self.chunk;
        let mut d = Text::object();
        d.field("guild_id", &chunk.guild.to_string());
        d.list_field("members", &self.members);
        d.field("chunk_index", &chunk.index);
        d.field("chunk_count", &chunk.count);
        if matches!(chunk.members, MembersOf::Named(_)) {
            let missing = self.missing.iter().map(|id| Value::String(id.to_string()));
            let not_found: Vec<_> = chunk.invalid.iter().cloned().chain(missing).collect();
            if !not_found.is_empty() {
                d.field("not_found", &not_found);
            }
        }
        if chunk.presences {
            d.list_field("presences", &self.presences);
        }
        if let Some(nonce) = &chunk.nonce {
            d.field("nonce", nonce);
        }
        d.finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use shared::discord::GuildChange;

    use super::*;
    use crate::guilds::Guilds;

    /// Returns the answer to a request for these ids, after storing it, in a guild with the members 1 to 300.
    fn answer(ids: impl IntoIterator<Item = u64>, invalid: &[Value]) -> Value {
        let member = |id: u64| json!({"user": {"id": id.to_string(), "username": "x"}});
        let members: Vec<_> = (1..=300).map(member).collect();
        let mut guilds = Guilds::default();
        guilds.apply(
            1,
            GuildChange::Create,
            7,
            &json!({"id": "7", "members": members}).to_string(),
        );
        let request = RequestMembers {
            guilds: vec![7],
            query: None,
            limit: 0,
            users: Some(UserIds {
                ids: ids.into_iter().collect(),
                invalid: invalid.to_vec(),
            }),
            presences: false,
            nonce: None,
        };
        let mut search = Search::new(7, &request, Intents::GUILDS);
        while !guilds.search(&mut search) {}
        let planned = search.chunks();
        let kept: Vec<MembersChunk> = serde_json::from_str(&serde_json::to_string(&planned).unwrap()).unwrap();
        assert_eq!(kept, planned);
        let [chunk] = &*kept else { panic!("{kept:?}") };
        assert!(chunk.weight() >= invalid.len());
        let mut text = ChunkText::new(chunk);
        while !guilds.write_chunk(&mut text) {}
        serde_json::from_str(&text.finish()).unwrap()
    }

    #[test]
    fn a_request_by_ids_finds_at_most_a_hundred_members() {
        let d = answer(1..=300, &[]);
        assert_eq!(d["members"].as_array().unwrap().len(), 100);
        // The other ids are members too, so they are not listed as not found.
        assert_eq!(d.get("not_found"), None);
    }

    #[test]
    fn ids_not_found_do_not_count_towards_the_limit() {
        let d = answer(251..=500, &[]);
        assert_eq!(d["members"].as_array().unwrap().len(), 50);
        assert_eq!(d["not_found"].as_array().unwrap().len(), 200);
        let d = answer((500..600).chain(1..=300), &[]);
        assert_eq!(d["members"].as_array().unwrap().len(), 100);
        assert_eq!(d["not_found"].as_array().unwrap().len(), 100);
    }

    #[test]
    fn invalid_ids_are_returned_as_not_found() {
        let d = answer([301, 1], &[json!("x"), json!(-1), json!(null)]);
        assert_eq!(d["members"][0]["user"]["id"], "1");
        assert_eq!(d["not_found"], json!(["x", -1, null, "301"]));
    }

    #[test]
    fn chunks_stored_by_an_earlier_version_are_readable() {
        let kept = r#"{"g":7,"i":0,"c":1,"p":false,"m":{"u":[1,2]}}"#;
        let chunk: MembersChunk = serde_json::from_str(kept).unwrap();
        assert_eq!(
            (&chunk.members, &*chunk.invalid),
            (&MembersOf::Named(vec![1, 2]), &[][..])
        );
        assert_eq!(serde_json::to_string(&chunk).unwrap(), kept);
    }
}
