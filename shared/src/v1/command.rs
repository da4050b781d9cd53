//! The commands of clients. Whether a client has identified decides how an envelope is read.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{
    ACK, Envelope, ErrorCode, IDENTIFY, Identify, NACK, Nonce, Opcode, PresentedSecret, RENEW, REPLY, REPLY_ERROR,
    Refusal, Rejection, Report, SEND_SERVERS, Side, WATCH_GUILDS,
    rights::{foreign_guilds, renewal, within_rights},
    scope::watched_guilds,
};
use crate::{
    client_type::ClientType,
    fields::{fields, integer, is_string, string},
    guild::GuildId,
    idempotency_key::IdempotencyKey,
    problem::{Problem, ProblemKind},
    routing::{EventTable, Route, shape_of_data},
    ticket::TicketRights,
};

/// A command of a client that has not identified.
#[derive(Debug)]
pub enum BeforeIdentify {
    /// The client is alive.
    Heartbeat,
    /// The client identifies, or fails to because its data is malformed.
    Identify(Result<Identify, Rejection>),
}

/// The longest time that a worker can delay a job that it gives back, in milliseconds.
const LONGEST_DELAY_MS: u32 = 3_600_000;

/// What a worker says about a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is done.
    Ack,
    /// It is to be delivered again.
    Nack {
        /// After this time, in milliseconds. `None` for the configured one.
        delay_ms: Option<u32>,
    },
}

/// A command of an identified client.
#[derive(Debug)]
pub enum AfterIdentify<'a, 't> {
    /// The client is alive.
    Heartbeat,
    /// A bot reports its guilds.
    Report {
        /// The report.
        report: Report,
        /// The nonce, if the packet is to be answered.
        nonce: Option<Nonce>,
    },
    /// A website or service replaces the guilds that it watches.
    Watch {
        /// The guilds: ascending, without duplicates.
        guilds: Vec<GuildId>,
        /// The nonce, if the packet is to be answered.
        nonce: Option<Nonce>,
    },
    /// The session of a ticket presents a new one.
    Renew {
        /// The new ticket, as sent.
        key: PresentedSecret,
        /// The nonce, if the packet is to be answered.
        nonce: Option<Nonce>,
    },
    /// The receiver of a request answers it.
    Reply {
        /// The receipt, as sent.
        receipt: Cow<'a, str>,
        /// The reply or the error, as sent. Its shape is not checked yet.
        d: Option<&'a RawValue>,
        /// Whether it is an error.
        is_error: bool,
        /// The nonce, if the packet is to be answered.
        nonce: Option<Nonce>,
    },
    /// A worker acknowledges a job or gives it back.
    Settle {
        /// The receipt, as sent.
        receipt: Cow<'a, str>,
        /// What becomes of the job.
        verdict: Verdict,
        /// The nonce, if the packet is to be answered.
        nonce: Option<Nonce>,
    },
    /// An application event for other clients. It always has a nonce if it is a request.
    Event {
        /// The destination of the event.
        route: Route<'t>,
        /// The event's data: an object, as it was sent.
        d: &'a RawValue,
        /// The idempotency key.
        key: Option<IdempotencyKey>,
        /// The nonce, if the packet is to be answered.
        nonce: Option<Nonce>,
    },
    /// A packet that is faulty and is to be answered.
    Faulty {
        /// The answer.
        refusal: Refusal,
        /// Its nonce.
        nonce: Nonce,
    },
}

/// Reads an envelope of a client that has not identified. An identify may list `max_guilds` guilds.
///
/// Returns `None` for everything but a heartbeat and an identify. Such payloads are ignored and never answered
/// (protocol v1, "Life of a connection", 3).
pub fn before_identify(envelope: &Envelope<'_>, max_guilds: usize) -> Option<BeforeIdentify> {
    match opcode(envelope.op?)? {
        Opcode::Heartbeat => Some(BeforeIdentify::Heartbeat),
        Opcode::ClientEvent if string(envelope.t?)? == IDENTIFY => {
            Some(BeforeIdentify::Identify(Identify::parse(envelope.d, max_guilds)))
        }
        _ => None,
    }
}

/// What decides which commands of an identified client are valid.
#[derive(Debug, Clone, Copy)]
pub struct CommandContext<'r> {
    /// The type that its key is valid for.
    pub sender: ClientType,
    /// The rights of its ticket, if it identified with one.
    pub rights: Option<&'r TicketRights>,
    /// The most guilds that a list may have.
    pub max_guilds: usize,
}

/// Reads an envelope of an identified client.
///
/// # Errors
///
/// The [`Rejection`] with which the connection ends (protocol v1, "Errors"). `op` is checked first, then whether this
/// is a second identify; all other problems are reported together. If the packet has a valid nonce, they are returned as
/// [`AfterIdentify::Faulty`] instead. `table` is called for application events alone.
pub fn after_identify<'a, 't>(
    envelope: &Envelope<'a>,
    cx: &CommandContext<'_>,
    table: impl FnOnce() -> &'t EventTable,
) -> Result<AfterIdentify<'a, 't>, Rejection> {
    let op = envelope.op.ok_or(Rejection::plain(ErrorCode::NoOpcode))?;
    match opcode(op).filter(|opcode| opcode.sender() == Side::Client) {
        Some(Opcode::Heartbeat) => Ok(AfterIdentify::Heartbeat),
        Some(_) => {
            let command = event(envelope, cx, table);
            with_nonce(command, envelope.n)
        }
        None => Err(Rejection::plain(ErrorCode::WrongOpcode)),
    }
}

/// Parses `op`, which must be an integer without a fraction or an exponent.
fn opcode(op: &RawValue) -> Option<Opcode> {
    op.get().parse().ok().and_then(Opcode::from_i64)
}

/// Adds the nonce to the command of a packet, or makes it decide what follows from the packet's problems.
fn with_nonce<'a, 't>(
    command: Result<AfterIdentify<'a, 't>, Rejection>,
    n: Option<&RawValue>,
) -> Result<AfterIdentify<'a, 't>, Rejection> {
    let Some(n) = n else { return command };
    match (Nonce::parse(n), command) {
        (Ok(new), Ok(mut command)) => {
            if let AfterIdentify::Report { nonce, .. }
            | AfterIdentify::Watch { nonce, .. }
            | AfterIdentify::Renew { nonce, .. }
            | AfterIdentify::Reply { nonce, .. }
            | AfterIdentify::Settle { nonce, .. }
            | AfterIdentify::Event { nonce, .. } = &mut command
            {
                *nonce = Some(new);
            }
            Ok(command)
        }
        (Ok(nonce), Err(rejection)) if rejection.code == ErrorCode::MalformedData => Ok(AfterIdentify::Faulty {
            refusal: Refusal::of(rejection.problems),
            nonce,
        }),
        (Err(problem), Ok(_)) => Err(Rejection::malformed(vec![problem])),
        (Err(problem), Err(mut rejection)) if rejection.code == ErrorCode::MalformedData => {
            rejection.problems.push(problem);
            Err(rejection)
        }
        (_, Err(rejection)) => Err(rejection),
    }
}

fn event<'a, 't>(
    envelope: &Envelope<'a>,
    cx: &CommandContext<'_>,
    table: impl FnOnce() -> &'t EventTable,
) -> Result<AfterIdentify<'a, 't>, Rejection> {
    let CommandContext {
        sender,
        rights,
        max_guilds,
    } = *cx;
    let name = match name(envelope.t) {
        Ok(name) => name,
        Err(problem) => {
            let mut problems = Vec::new();
            shape_of_data(envelope.d, &mut problems);
            problems.push(problem);
            return Err(Rejection::malformed(problems));
        }
    };
    match &*name {
        IDENTIFY => Err(Rejection::plain(ErrorCode::WrongIdentify)),
        SEND_SERVERS => {
            let report = Report::parse(envelope.d, sender, max_guilds)?;
            Ok(AfterIdentify::Report { report, nonce: None })
        }
        WATCH_GUILDS => {
            let guilds = watched_guilds(envelope.d, sender, max_guilds)?;
            let problems = rights.map_or_else(Vec::new, |rights| foreign_guilds(&guilds, rights));
            if !problems.is_empty() {
                return Err(Rejection::malformed(problems));
            }
            Ok(AfterIdentify::Watch { guilds, nonce: None })
        }
        RENEW => {
            let key = renewal(envelope.d, rights)?;
            Ok(AfterIdentify::Renew { key, nonce: None })
        }
        REPLY | REPLY_ERROR => match receipt(envelope.r) {
            Ok(receipt) => Ok(AfterIdentify::Reply {
                receipt,
                d: envelope.d,
                is_error: name == REPLY_ERROR,
                nonce: None,
            }),
            Err(problem) => {
                let mut problems = Vec::new();
                shape_of_data(envelope.d, &mut problems);
                problems.push(problem);
                Err(Rejection::malformed(problems))
            }
        },
        ACK | NACK => {
            let mut problems = Vec::new();
            let verdict = if name == ACK {
                Verdict::Ack
            } else {
                Verdict::Nack {
                    delay_ms: delay(envelope.d, &mut problems),
                }
            };
            match receipt(envelope.r) {
                Ok(receipt) if problems.is_empty() => Ok(AfterIdentify::Settle {
                    receipt,
                    verdict,
                    nonce: None,
                }),
                receipt => {
                    problems.extend(receipt.err());
                    Err(Rejection::malformed(problems))
                }
            }
        }
        name => {
            let table = table();
            let route = table.route(name, sender, envelope.d);
            let is_request = match &route {
                Ok(route) => route.reply_timeout.is_some(),
                Err(_) => table.is_request(name),
            };
            let route = route.and_then(|route| within_rights(route, rights));
            let key = envelope.k.filter(|_| !is_request).map(key).transpose();
            // The answer to a request has its nonce, so it needs one.
            let nonce = is_request && envelope.n.is_none();
            let nonce = nonce.then(|| Problem::absent("Nonce not provided."));
            match (route, envelope.d, key) {
                (Ok(route), Some(d), Ok(key)) if nonce.is_none() => Ok(AfterIdentify::Event {
                    route,
                    d,
                    key,
                    nonce: None,
                }),
                (route, _, key) => {
                    let problems = route.err().into_iter().flatten().chain(key.err()).chain(nonce);
                    Err(Rejection::malformed(problems.collect()))
                }
            }
        }
    }
}

/// Parses `k`.
fn key(k: &RawValue) -> Result<IdempotencyKey, Problem> {
    let key = string(k).and_then(|text| IdempotencyKey::new(&text).ok());
    key.ok_or_else(|| Problem::with("Idempotency key must have 1 to 128 printable ASCII characters.", k))
}

/// Parses `d` of a `nack`, which may be absent: the delay until the job is delivered again, in milliseconds.
fn delay(d: Option<&RawValue>, problems: &mut Vec<Problem>) -> Option<u32> {
    let d = d?;
    let Some([delay]) = fields(d.get(), ["delay_ms"]) else {
        problems.push(Problem::with("Data must be an object.", d));
        return None;
    };
    let delay = delay?;
    let ms = integer(delay).and_then(|ms| u32::try_from(ms).ok());
    let ms = ms.filter(|ms| *ms <= LONGEST_DELAY_MS);
    if ms.is_none() {
        problems.push(Problem::with("delay_ms must be an integer from 0 to 3600000.", delay));
    }
    ms
}

/// Parses `r`.
fn receipt(r: Option<&RawValue>) -> Result<Cow<'_, str>, Problem> {
    let r = r.ok_or_else(|| Problem::absent("Receipt not provided."))?;
    // A string with an unpaired surrogate is no receipt.
    let text = string(r).or_else(|| is_string(r).then_some(Cow::Borrowed("")));
    text.ok_or_else(|| Problem::with("Receipt must be a string.", r))
}

/// Returns the name of the event, or what is wrong with it.
fn name(t: Option<&RawValue>) -> Result<Cow<'_, str>, Problem> {
    let t = t.ok_or_else(|| Problem::absent("Event name not provided.").of_kind(ProblemKind::Malformed))?;
    string(t).ok_or_else(|| {
        if is_string(t) {
            // A string with an unpaired surrogate: no name in the table has one.
            Problem::with("Unknown event.", t).of_kind(ProblemKind::UnknownEvent)
        } else {
            Problem::with("Event name must be a string.", t).of_kind(ProblemKind::Malformed)
        }
    })
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
