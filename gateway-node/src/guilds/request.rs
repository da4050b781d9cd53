//! Which members answer a request, found and written a slice at a time.
//!
//! A guild may have a hundred thousand members. Neither a search nor the text of a chunk holds the guild: each slice looks
//! at it anew, behind the last member that it has seen.

use std::ops::Bound::{Excluded, Unbounded};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::discord::{Intents, RequestMembers};

use super::{guild::Guild, text::Text};

/// The most members of one chunk.
const CHUNK: usize = 1000;
/// The most members that a range holds with those that joined after it was fixed.
const CROWDED: usize = 2 * CHUNK;
/// The most members that are found by a name or by their ids.
const FOUND: usize = 100;
/// The members that one slice of a search counts.
const COUNTED: usize = 8000;
/// The members whose names one slice of a search compares.
const COMPARED: usize = 2000;

/// One `GUILD_MEMBERS_CHUNK`, as what it is made from. Small enough to be kept with a session, and made anew from the guild
/// whenever it is sent: members that have left since are missing, and those that have changed are newer.
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
    members: Members,
}

/// The members of a chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Members {
    /// Those behind one id, up to and with another.
    #[serde(rename = "r")]
    Range(Option<u64>, u64),
    /// Those that a name found.
    #[serde(rename = "f")]
    Found(Vec<u64>),
    /// Those that the client named. It is told which are not there.
    #[serde(rename = "u")]
    Named(Vec<u64>),
}

impl MembersChunk {
    /// What it weighs beside its size, in bytes.
    pub fn weight(&self) -> usize {
        let ids = match &self.members {
            Members::Range(..) => 0,
            Members::Found(ids) | Members::Named(ids) => size_of_val(&**ids),
        };
        ids + self.nonce.as_deref().map_or(0, str::len)
    }
}

/// A request for members of one guild on its way to its chunks.
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
    /// All members: the last id of each chunk so far, and the members counted.
    Whole(Vec<u64>, usize),
    /// Those whose name begins like this, at most so many.
    Called(String, usize, Vec<u64>),
    /// These.
    Named(Vec<u64>),
}

impl Search {
    /// A request for the members of `guild` by a session with these intents.
    pub fn new(guild: u64, request: &RequestMembers, intents: Intents) -> Self {
        let query = request.query.as_deref().unwrap_or_default();
        let is_whole = query.is_empty() && request.limit == 0;
        let goal = if let Some(users) = &request.users {
            Goal::Named(users.iter().take(FOUND).copied().collect())
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

    /// The guild.
    pub const fn guild(&self) -> u64 {
        self.guild
    }

    /// Whether it is for all members.
    pub const fn is_whole(&self) -> bool {
        matches!(self.goal, Goal::Whole(..))
    }

    /// What the client knows the request by.
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

    /// The chunks, once the search is over: at least one.
    pub fn chunks(self) -> Vec<MembersChunk> {
        let members = match self.goal {
            Goal::Named(users) => vec![Members::Named(users)],
            Goal::Called(_, _, found) => vec![Members::Found(found)],
            Goal::Whole(_, 0) => vec![Members::Found(Vec::new())],
            Goal::Whole(mut last, count) => {
                if !count.is_multiple_of(CHUNK) {
                    last.extend(self.after);
                }
                let after = std::iter::once(None).chain(last.iter().copied().map(Some));
                let ranges = after.zip(last.iter().copied());
                ranges.map(|(after, last)| Members::Range(after, last)).collect()
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
        };
        members.into_iter().enumerate().map(chunk).collect()
    }
}

fn is_called(member: &Value, query: &str) -> bool {
    let names = [member.pointer("/user/username"), member.get("nick")];
    let mut names = names.into_iter().flatten().filter_map(Value::as_str);
    query.is_empty() || names.any(|name| name.to_lowercase().starts_with(query))
}

/// The data of a chunk while it is written.
#[derive(Debug)]
pub struct ChunkText<'a> {
    chunk: &'a MembersChunk,
    /// The last member of a range that is written.
    after: Option<u64>,
    written: usize,
    members: Text,
    presences: Text,
    missing: Vec<u64>,
}

impl<'a> ChunkText<'a> {
    /// Nothing of this chunk yet.
    pub fn new(chunk: &'a MembersChunk) -> Self {
        let after = match chunk.members {
            Members::Range(after, _) => after,
            Members::Found(_) | Members::Named(_) => None,
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

    /// The guild.
    pub const fn guild(&self) -> u64 {
        self.chunk.guild
    }

    /// Writes one slice of the chunk. Returns `true` when it is complete.
    pub(super) fn slice(&mut self, guild: Option<&Guild>) -> bool {
        let (members, presences) = (self.members.slice(), self.presences.slice());
        let is_full = |text: &Self| text.members.is_past(members) || text.presences.is_past(presences);
        match &self.chunk.members {
            Members::Range(_, last) => {
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
            Members::Found(users) | Members::Named(users) => {
                for user in users.iter().skip(self.written) {
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

    /// The whole data.
    pub fn finish(self) -> String {
        let chunk = self.chunk;
        let mut d = Text::object();
        d.field("guild_id", &chunk.guild.to_string());
        d.list_field("members", &self.members);
        d.field("chunk_index", &chunk.index);
        d.field("chunk_count", &chunk.count);
        if matches!(chunk.members, Members::Named(_)) && !self.missing.is_empty() {
            let missing: Vec<_> = self.missing.iter().map(u64::to_string).collect();
            d.field("not_found", &missing);
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
