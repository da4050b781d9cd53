//! The label of an entry: what nodes need to know besides its receivers.

use std::{fmt::Write as _, time::Duration};

use shared::{
    discord::{Header, Shard, Target},
    job::{JobDelivery, JobId},
    user::UserId,
};

use crate::backplane::Request;

/// The placeholder for an absent value in a head line and in arguments.
pub(in crate::backends::redis) const NONE: &str = "-";

/// Identifies an event, however often it is appended; 0 for none.
pub type Origin = u64;

/// What the label of an entry has.
#[derive(Debug, Clone, Copy, Default)]
pub struct Label<'a> {
    /// The origin of the event.
    pub origin: Origin,
    /// Whether sessions of a ticket receive the event if it is a broadcast.
    pub to_tickets: bool,
    /// The user who sent it.
    pub user: Option<&'a UserId>,
    /// What makes it a request.
    pub request: Option<&'a Request>,
    /// What makes it a job.
    pub job: Option<JobLabel>,
    /// What decides which Discord sessions receive it.
    pub header: Option<&'a Header>,
}

/// Formats a label: `<origin>[+][~<user>][?<request>][!<job>][/<header>]`. The plus sign is there if sessions of a ticket receive
/// the event, and the user is in hexadecimal. A request is `<receipt>,<address for the reply>,<timeout in ms>`. A header is `<guild>,<subject>,<target>,<mention>,<mention>…`, where absent values are
/// empty. A target is `a`, `n`, `u<user>`, `s<session>` or `h<id>of<count>`.
pub fn label(of: Label<'_>) -> String {
    let Label {
        origin,
        to_tickets,
        user,
        request,
        job,
        header,
    } = of;
    let mut label = format!("{origin:x}");
    if to_tickets {
        label.push('+');
    }
    if let Some(user) = user {
        label.push('~');
        label.push_str(&hex::encode(user.as_str()));
    }
    if let Some(request) = request {
        let Request {
            receipt,
            reply_to,
            timeout,
        } = request;
        // Writing to a string does not fail.
        let _ = write!(label, "?{receipt},{reply_to},{}", timeout.as_millis());
    }
    if let Some(JobLabel {
        id,
        numbers: [first, second],
    }) = job
    {
        // Writing to a string does not fail.
        let _ = write!(label, "!{id},{first},{second}");
    }
    let Some(header) = header else {
        return label;
    };
    let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
    let target = match header.target {
        Target::All => "a".to_owned(),
        Target::Nobody => "n".to_owned(),
        Target::User(user) => format!("u{user}"),
        Target::Session(session) => format!("s{session}"),
        Target::Shard(Shard { id, count }) => format!("h{id}of{count}"),
    };
    label.push('/');
    label.push_str(&[number(header.guild), number(header.subject), target].join(","));
    for mention in &header.mentions {
        label.push(',');
        label.push_str(&mention.to_string());
    }
    label
}

/// What the label of a job has.
#[derive(Debug, Clone, Copy)]
pub struct JobLabel {
    /// The job.
    pub id: JobId,
    /// When it is published: the timeout of a delivery in milliseconds, and how often it is delivered at most. When it is
    /// delivered: the number of the delivery, and that of the attempt.
    pub numbers: [u64; 2],
}

/// What a label was read as.
#[derive(Debug)]
pub(super) struct ReadLabel {
    pub(super) origin: Origin,
    pub(super) to_tickets: bool,
    pub(super) user: Option<UserId>,
    pub(super) request: Option<Request>,
    /// The delivery of a job, and the number of the attempt.
    pub(super) job: Option<(JobDelivery, u32)>,
    pub(super) header: Option<Header>,
}

/// Parses the label of an event of this name. Returns `None` if it is not a valid label.
pub(super) fn read_label(name: &str, label: &str) -> Option<ReadLabel> {
    let (rest, header) = split(label, '/');
    let (rest, job) = split(rest, '!');
    let (rest, request) = split(rest, '?');
    let (rest, user) = split(rest, '~');
    let (origin, to_tickets) = match rest.strip_suffix('+') {
        Some(origin) => (origin, true),
        None => (rest, false),
    };
    Some(ReadLabel {
        origin: match origin {
            NONE => 0,
            origin => Origin::from_str_radix(origin, 16).ok()?,
        },
        to_tickets,
        user: match user {
            Some(user) => Some(user_in_hex(user)?),
            None => None,
        },
        request: match request {
            Some(request) => Some(read_request(request)?),
            None => None,
        },
        job: match job {
            Some(job) => Some(read_job(job)?),
            None => None,
        },
        header: match header {
            Some(header) => Some(read_header(name, header)?),
            None => None,
        },
    })
}

fn split(text: &str, separator: char) -> (&str, Option<&str>) {
    match text.split_once(separator) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

/// Parses the label of a delivery: `<job>,<number of the delivery>,<number of the attempt>`.
fn read_job(text: &str) -> Option<(JobDelivery, u32)> {
    let (job, rest) = text.split_once(',')?;
    let (number, attempt) = rest.split_once(',')?;
    let delivery = JobDelivery {
        job: job.parse().ok()?,
        number: number.parse().ok()?,
    };
    Some((delivery, attempt.parse().ok()?))
}

fn read_request(text: &str) -> Option<Request> {
    let (receipt, rest) = text.split_once(',')?;
    let (reply_to, ms) = rest.split_once(',')?;
    Some(Request {
        receipt: receipt.parse().ok()?,
        reply_to: reply_to.parse().ok()?,
        timeout: Duration::from_millis(ms.parse().ok()?),
    })
}

fn read_header(name: &str, text: &str) -> Option<Header> {
    let mut parts = text.split(',');
    let number = |text: &str| match text {
        "" => Some(None),
        digits => digits.parse().ok().map(Some),
    };
    let (guild, subject) = (number(parts.next()?)?, number(parts.next()?)?);
    let target = match parts.next()?.split_at_checked(1)? {
        ("a", "") => Target::All,
        ("n", "") => Target::Nobody,
        ("u", user) => Target::User(user.parse().ok()?),
        ("s", session) => Target::Session(session.parse().ok()?),
        ("h", shard) => {
            let (id, count) = shard.split_once("of")?;
            let (id, count) = (id.parse().ok()?, count.parse().ok()?);
            Target::Shard(Shard { id, count })
        }
        _ => return None,
    };
    let mentions = parts.map(|mention| mention.parse().ok()).collect::<Option<_>>()?;
    Some(Header::from_parts(name, guild, subject, mentions, target))
}

/// Returns how the scripts name a user: a `u`, and the id in hexadecimal. It takes the place of a guild.
pub(in crate::backends::redis) fn user_key(user: &UserId) -> String {
    format!("u{}", hex::encode(user.as_str()))
}

/// Parses what [`user_key`] returns.
pub(super) fn user_of(key: &str) -> Option<UserId> {
    user_in_hex(key.strip_prefix('u')?)
}

fn user_in_hex(text: &str) -> Option<UserId> {
    let bytes = hex::decode(text).ok()?;
    UserId::new(str::from_utf8(&bytes).ok()?)
}
