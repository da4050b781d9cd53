//! The format of entries in Redis: a head line, the event's name, its data.
//!
//! ```text
//! <audience> <types> <author> <receivers> <label> <length of the name> <ms> [<first offset> [<trace>]]\n<name><data>
//! ```
//!
//! The ms are the time of the append since the Unix epoch; entries of older versions have none. An event that is appended
//! again, for other receivers, has the offset at which it was appended first. The trace is a [`TraceParent`]; an event that
//! has one but is not appended again has 0 before it. Older versions ignore what follows the offset.
//!
//! The label ([`Label`]) has what nodes need to know besides: the event's origin, whether sessions of a ticket receive it,
//! the user who sent it, and its [`Header`] if Discord sessions receive it.
//!
//! The audience is `a` (all), `s` (sessions that reported a guild), `u` (sessions of a user), `o` (one), `r` (one, which
//! replies), `j` (one, which gets a job) or `c` (counts).
//! Types are a bit mask. The receivers of `u` are the user ([`user_key`]).
//! Receivers are `<session>@<owner>` for one session (`0@-` if the event waits for one), and
//! `<session>,…@<owner>,…@<guild>` for the reporters of a guild, of which there may be none. Sessions that watch the guild
//! are not listed. They receive the entry if it has an origin, so not when it is readdressed. The receiver of a request is
//! `<session>@<owner>`, or for one of the owner's sessions that watch a guild or belong to a user `g<guild>@<owner>` or
//! `<user>@<owner>`.
//! On the channel, the entry follows a line with its epoch and offset.

use std::sync::Arc;

use shared::{client_type::ClientTypes, guild::GuildId, session_id::SessionId, v1::payload::GuildCount};

pub use super::label::{JobLabel, Label, Origin, label};
pub(in crate::backends::redis) use super::label::{NONE, user_key};
use tokio::time::Instant;

use super::label::{ReadLabel, read_label, user_of};
use crate::backplane::{Audience, DeliveredJob, Entry, Epoch, Position, RequestTarget};

/// A parsed entry.
#[derive(Debug)]
pub struct StoredEntry {
    /// The entry.
    pub entry: Entry,
    /// The names of the nodes that have the addressed sessions; empty for a broadcast.
    pub owners: Owners,
    /// The origin of the event.
    pub origin: Origin,
}

/// Names of nodes, separated by commas.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owners(String);

impl Owners {
    /// The names, as in the entry.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `owner` is one of them.
    pub fn contains(&self, owner: &str) -> bool {
        self.0.split(',').any(|name| name == owner)
    }
}

/// The error for data that is not a valid entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the log contains an invalid entry")]
pub struct NoEntry;

/// Splits a message of the channel into its position and its entry.
///
/// # Errors
/// When it has no valid position.
pub fn split_message(message: &[u8]) -> Result<(Position, &[u8]), NoEntry> {
    let (line, body) = split_line(message)?;
    let (epoch, offset) = line.split_once(' ').ok_or(NoEntry)?;
    let position = Position {
        epoch: epoch.parse().map_err(|_| NoEntry)?,
        offset: offset.parse().map_err(|_| NoEntry)?,
    };
    Ok((position, body))
}

/// Returns the offset in the id of a stream entry. Fails for an id that no script gives: another program has added the
/// entry.
pub(in crate::backends::redis) fn offset_of(id: &str) -> Result<u64, NoEntry> {
    let offset = id.strip_suffix("-0").ok_or(NoEntry)?;
    offset.parse().map_err(|_| NoEntry)
}

/// Parses an entry.
///
/// # Errors
/// When it is not a valid entry.
pub fn decode(application: &Arc<str>, position: Position, body: &[u8]) -> Result<StoredEntry, NoEntry> {
    let (head, rest) = split_line(body)?;
    let mut fields = head.split(' ');
    let mut word = || fields.next().ok_or(NoEntry);
    let (audience, types, author, receivers, label, length) = (word()?, word()?, word()?, word()?, word()?, word()?);
    let length: usize = length.parse().map_err(|_| NoEntry)?;
    let mut number = || fields.next().map(|word| word.parse().map_err(|_| NoEntry)).transpose();
    let (at, first) = (number()?.unwrap_or_default(), number()?);
    let trace = fields.next().and_then(|trace| trace.parse().ok()).map(Box::new);
    let (name, data) = rest.split_at_checked(length).ok_or(NoEntry)?;
    let text = |bytes| str::from_utf8(bytes).map_err(|_| NoEntry);
    let types = ClientTypes::from_bits(types.parse().map_err(|_| NoEntry)?);
    let name = text(name)?;
    let ReadLabel {
        origin,
        to_tickets,
        user,
        request,
        job,
        header,
    } = read_label(name, label).ok_or(NoEntry)?;
    let mut owners = Owners::default();
    let mut d: Arc<str> = text(data)?.into();
    let audience = match audience {
        "a" => Audience::Types(types),
        "s" => {
            let (sessions, rest) = receivers.split_once('@').ok_or(NoEntry)?;
            let (nodes, guild) = rest.split_once('@').ok_or(NoEntry)?;
            owners = Owners(nodes.to_owned());
            let sessions = sessions.split_terminator(',');
            Audience::Reporters {
                guild: GuildId::from_digits(guild).ok_or(NoEntry)?,
                sessions: sessions.map(session).collect::<Result<_, _>>()?,
                // An event that is readdressed has no origin.
                are_watchers_included: origin != 0,
                of: types,
            }
        }
        "o" => {
            let (chosen, node) = receivers.split_once('@').ok_or(NoEntry)?;
            owners = Owners(node.to_owned());
            Audience::One {
                session: session(chosen)?,
                of: types,
            }
        }
        "j" => {
            let (chosen, node) = receivers.split_once('@').ok_or(NoEntry)?;
            owners = Owners(node.to_owned());
            let (delivery, attempt) = job.ok_or(NoEntry)?;
            Audience::Job(Box::new(DeliveredJob {
                session: session(chosen)?,
                delivery,
                attempt,
            }))
        }
        "r" => {
            let (chosen, node) = receivers.split_once('@').ok_or(NoEntry)?;
            owners = Owners(node.to_owned());
            let target = if chosen.starts_with('u') {
                RequestTarget::User(user_of(chosen).ok_or(NoEntry)?)
            } else if let Some(guild) = chosen.strip_prefix('g') {
                RequestTarget::Watcher(GuildId::from_digits(guild).ok_or(NoEntry)?)
            } else {
                RequestTarget::Session(session(chosen)?)
            };
            Audience::Request {
                target,
                of: types,
                request: Box::new(request.ok_or(NoEntry)?),
            }
        }
        "u" => Audience::User {
            user: user_of(receivers).ok_or(NoEntry)?,
            of: types,
        },
        "c" => {
            d = counts(receivers).ok_or(NoEntry)?.d().into();
            Audience::Types(types)
        }
        _ => return Err(NoEntry),
    };
    let author = if author == NONE { None } else { Some(session(author)?) };
    Ok(StoredEntry {
        entry: Entry {
            position,
            application: Arc::clone(application),
            name: name.into(),
            audience,
            at,
            accepted: Instant::now(),
            first: first.filter(|first| *first != 0),
            author,
            user,
            to_tickets,
            trace,
            discord: header.map(Arc::new),
            d,
        },
        owners,
        origin,
    })
}

/// Parses the counts in `<high>:<low>,<high>:<low>,<high>:<low>`. Values above the largest number saturate. A server
/// that lost half of a change may have negative values, which become 0.
pub(in crate::backends::redis) fn counts(text: &str) -> Option<GuildCount> {
    let mut sums = text.split(',').map(|sum| {
        let (high, low) = sum.split_once(':')?;
        let high = high.parse::<i128>().ok()?.saturating_mul(1 << 26);
        let sum = high.saturating_add(low.parse().ok()?);
        Some(u64::try_from(sum.max(0)).unwrap_or(u64::MAX))
    });
    let mut next = || sums.next().flatten();
    Some(GuildCount {
        guilds: next()?,
        guild_members: next()?,
        cached_guild_members: next()?,
    })
}

/// Parses an epoch.
pub(in crate::backends::redis) fn epoch(text: &str) -> Result<Epoch, NoEntry> {
    text.parse().map_err(|_| NoEntry)
}

fn session(text: &str) -> Result<SessionId, NoEntry> {
    text.parse().map(SessionId::from_raw).map_err(|_| NoEntry)
}

fn split_line(bytes: &[u8]) -> Result<(&str, &[u8]), NoEntry> {
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or(NoEntry)?;
    let line = str::from_utf8(&bytes[..end]).map_err(|_| NoEntry)?;
    Ok((line, &bytes[end + 1..]))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::{
        client_type::ClientType,
        discord::{Header, Shard, Target},
        user::UserId,
    };

    use super::*;
    use crate::backplane::Request;

    fn read(body: &str) -> Result<StoredEntry, NoEntry> {
        let position = Position {
            epoch: Epoch::from_raw(7),
            offset: 1,
        };
        decode(&"a".into(), position, body.as_bytes())
    }

    #[test]
    fn each_audience_is_parsed() {
        let all = read("a 3 12 - ff 5\nhello{\"n\":1}").unwrap();
        assert_eq!(
            (&*all.entry.name, &*all.entry.d, all.origin),
            ("hello", "{\"n\":1}", 255)
        );
        assert_eq!(all.entry.author, Some(SessionId::from_raw(12)));
        let types = [ClientType::Bot, ClientType::Website].into_iter().collect();
        assert_eq!(all.entry.audience, Audience::Types(types));
        let some = read("s 1 - 4,5@me,other@7 - 2\n\n\n{}").unwrap();
        let reporters = Audience::Reporters {
            guild: GuildId::from_raw(7),
            sessions: [4, 5].map(SessionId::from_raw).into_iter().collect(),
            are_watchers_included: false,
            of: ClientType::Bot.into(),
        };
        assert!(some.owners.contains("me") && some.owners.contains("other"));
        assert_eq!((some.entry.audience, &*some.entry.name), (reporters, "\n\n"));
        let nobody = read("s 1 - @@7 - 1\nn{}").unwrap();
        assert!(matches!(nobody.entry.audience, Audience::Reporters { sessions, .. } if sessions.is_empty()));
        let first = read("s 1 - @@7 1f 1\nn{}").unwrap();
        let are_watchers_included = |entry: &Entry| matches!(entry.audience, Audience::Reporters { are_watchers_included, .. } if are_watchers_included);
        assert!(
            are_watchers_included(&first.entry) && !are_watchers_included(&read("s 1 - @@7 - 1\nn{}").unwrap().entry)
        );
        let one = read("o 1 - 4@me - 0\n{}").unwrap();
        assert!(one.owners.contains("me") && !one.owners.contains("m"));
        let receipt = "000000000000000000000000000000ff";
        let label = format!("1f~37?{receipt},000000000000000a,5000");
        let request = Request {
            receipt: receipt.parse().unwrap(),
            reply_to: "a".parse().unwrap(),
            timeout: Duration::from_secs(5),
        };
        for (receiver, target) in [
            ("4", RequestTarget::Session(SessionId::from_raw(4))),
            ("g7", RequestTarget::Watcher(GuildId::from_raw(7))),
            ("u37", RequestTarget::User(UserId::new("7").unwrap())),
        ] {
            let asked = read(&format!("r 1 - {receiver}@me {label} 3 1795737540000\nask{{}}")).unwrap();
            let expected = Audience::Request {
                target,
                of: ClientType::Bot.into(),
                request: Box::new(request.clone()),
            };
            assert!(asked.owners.contains("me") && asked.origin == 0x1f);
            assert_eq!((asked.entry.audience, asked.entry.user), (expected, UserId::new("7")));
        }
        let user = UserId::new("7");
        let label_of = Label {
            origin: 0x1f,
            user: user.as_ref(),
            request: Some(&request),
            ..Label::default()
        };
        assert_eq!(super::label(label_of), label);
        assert!(read("r 1 - 4@me 1f 3\nask{}").is_err(), "it is no request");
        let published = read("c 1 - 0:3,1:0,0:1 - 1\nX").unwrap();
        assert_eq!(
            &*published.entry.d,
            r#"{"guilds":3,"guildMembers":67108864,"cachedGuildMembers":1}"#
        );
    }

    #[test]
    fn a_header_survives_a_round_trip() {
        for target in [
            Target::All,
            Target::Nobody,
            Target::User(7),
            Target::Session(u64::MAX),
            Target::Shard(Shard { id: 3, count: 16 }),
        ] {
            for (guild, subject, mentions) in [(None, None, vec![]), (Some(5), Some(6), vec![1, 2])] {
                let header = Header::from_parts("MESSAGE_CREATE", guild, subject, mentions.into(), target);
                let label = label(Label {
                    origin: 255,
                    header: Some(&header),
                    ..Label::default()
                });
                let stored = read(&format!("a 0 - - {label} 14\nMESSAGE_CREATE{{}}")).unwrap();
                assert_eq!((stored.origin, stored.entry.discord.as_deref()), (255, Some(&header)));
            }
        }
        for wrong in ["", "x", ",", ",,", ",,z", ",,nn", ",,a,", ",,h1", "x,,a", ",,u"] {
            assert!(read(&format!("a 0 - - 1/{wrong} 1\nX{{}}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_trace_follows_the_first_offset() {
        const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let read = |later: &str| {
            read(&format!("a 1 - - 1f 1 1795737540000{later}\nX{{}}"))
                .unwrap()
                .entry
        };
        for (later, first, trace) in [
            ("", None, None),
            (" 7", Some(7), None),
            (&format!(" 0 {TRACE}"), None, Some(TRACE)),
            (&format!(" 7 {TRACE}"), Some(7), Some(TRACE)),
            (&format!(" 7 {TRACE} what comes later"), Some(7), Some(TRACE)),
            (" 7 another", Some(7), None),
        ] {
            let entry = read(later);
            assert_eq!(entry.first, first, "{later}");
            assert_eq!(entry.trace.map(|trace| trace.to_string()).as_deref(), trace, "{later}");
        }
    }

    #[test]
    fn users_survive_a_round_trip() {
        let user = UserId::new("a b~/+").unwrap();
        let labels = [(true, Some(&user)), (false, Some(&user)), (true, None), (false, None)];
        for (to_tickets, sender) in labels {
            let label = label(Label {
                origin: 255,
                to_tickets,
                user: sender,
                ..Label::default()
            });
            let stored = read(&format!("u 2 - {} {label} 1\nX{{}}", user_key(&user))).unwrap();
            let website = ClientType::Website.into();
            let of_user = Audience::User {
                user: user.clone(),
                of: website,
            };
            assert_eq!(stored.entry.audience, of_user);
            assert_eq!((stored.origin, stored.entry.to_tickets), (255, to_tickets));
            assert_eq!(stored.entry.user.as_ref(), sender);
        }
        let readdressed = read("o 1 - 4@me -~61 1\nX{}").unwrap();
        assert_eq!((readdressed.origin, readdressed.entry.user), (0, UserId::new("a")));
        for wrong in [
            "u 1 - 61 1 1\nX{}",
            "u 1 - u 1 1\nX{}",
            "u 1 - uzz 1 1\nX{}",
            "a 1 - - 1~ 1\nX{}",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn invalid_entries_are_rejected() {
        for body in [
            "",
            "a 1 - - -",
            "a 1 - - - 9\nshort",
            "x 1 - - - 1\nn{}",
            "a 999 - - - 1\nn{}",
            "s 1 - 4,,5 - 1\nn{}",
            "o 1 - 4 - 1\nn{}",
            "c 1 - 1:1 - 1\nn",
            "a 1 - - xyz 1\nn{}",
        ] {
            assert!(read(body).is_err(), "{body:?}");
        }
        assert!(split_message(b"no line").is_err() && split_message(b"xyz 1\nx").is_err());
    }

    #[test]
    fn counts_saturate_at_64_bits_and_at_zero() {
        assert_eq!(counts("-1:67108863,0:1,0:0").map(|counts| counts.guilds), Some(0));
        let counts = counts("99999999999999:0,0:0,0:67108863").unwrap();
        assert_eq!((counts.guilds, counts.cached_guild_members), (u64::MAX, 67_108_863));
        let farthest = format!("{}:{},{}:{},0:0", i128::MAX, i128::MAX, i128::MIN, i128::MIN);
        let counts = super::counts(&farthest).unwrap();
        assert_eq!((counts.guilds, counts.guild_members), (u64::MAX, 0));
    }
}
