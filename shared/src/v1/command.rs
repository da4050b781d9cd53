//! What a client wants: the state it is in decides how an envelope is read.

use serde_json::value::RawValue;

use super::{
    Envelope, ErrorCode, IDENTIFY, Identify, Opcode, Rejection, Report, SEND_SERVERS, Side,
};
use crate::{
    client_type::ClientType,
    fields::{is_string, string},
    problem::{Problem, ProblemKind},
    routing::{EventTable, Route, shape_of_data},
};

/// What a client that has not identified can do.
#[derive(Debug)]
pub enum BeforeIdentify {
    /// It is alive.
    Heartbeat,
    /// It says who it is, or tries to.
    Identify(Result<Identify, Rejection>),
}

/// What an identified client can do.
#[derive(Debug)]
pub enum AfterIdentify<'a, 't> {
    /// It is alive.
    Heartbeat,
    /// A bot says what it manages.
    Report(Report),
    /// An application event for others.
    Event {
        /// Where it goes.
        route: Route<'t>,
        /// Its data, an object, as it was sent.
        d: &'a RawValue,
    },
}

/// Reads an envelope of a client that has not identified. `None` is ignored and never answered: everything but a
/// heartbeat and an identify (protocol v1, "Life of a connection", 3).
pub fn before_identify(envelope: &Envelope<'_>) -> Option<BeforeIdentify> {
    match opcode(envelope.op?)? {
        Opcode::Heartbeat => Some(BeforeIdentify::Heartbeat),
        Opcode::ClientEvent if string(envelope.t?)? == IDENTIFY => {
            Some(BeforeIdentify::Identify(Identify::parse(envelope.d)))
        }
        _ => None,
    }
}

/// Reads an envelope of an identified client whose key is of the type `sender`.
///
/// # Errors
///
/// The [`Rejection`] with which its connection ends (protocol v1, "Errors"): `op` is judged first, then a second
/// identify, then everything else at once.
pub fn after_identify<'a, 't>(
    envelope: &Envelope<'a>,
    sender: ClientType,
    table: &'t EventTable,
) -> Result<AfterIdentify<'a, 't>, Rejection> {
    let op = envelope.op.ok_or(Rejection::plain(ErrorCode::NoOpcode))?;
    match opcode(op).filter(|opcode| opcode.sender() == Side::Client) {
        Some(Opcode::Heartbeat) => Ok(AfterIdentify::Heartbeat),
        Some(_) => event(envelope, sender, table),
        None => Err(Rejection::plain(ErrorCode::WrongOpcode)),
    }
}

/// The opcode that `op` is: an integer without a fraction or an exponent.
fn opcode(op: &RawValue) -> Option<Opcode> {
    op.get().parse().ok().and_then(Opcode::from_i64)
}

fn event<'a, 't>(
    envelope: &Envelope<'a>,
    sender: ClientType,
    table: &'t EventTable,
) -> Result<AfterIdentify<'a, 't>, Rejection> {
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
        SEND_SERVERS => Report::parse(envelope.d, sender).map(AfterIdentify::Report),
        name => {
            let route = table
                .route(name, sender, envelope.d)
                .map_err(Rejection::malformed)?;
            // A route is only given for data that is there.
            let d = envelope
                .d
                .ok_or(Rejection::plain(ErrorCode::MalformedData))?;
            Ok(AfterIdentify::Event { route, d })
        }
    }
}

/// The name of the event, or what is wrong with it.
fn name(t: Option<&RawValue>) -> Result<std::borrow::Cow<'_, str>, Problem> {
    let t = t.ok_or_else(|| Problem::absent("Event name not provided."))?;
    string(t).ok_or_else(|| {
        if is_string(t) {
            // A string with an unpaired surrogate: no name in the table has one.
            Problem::with("Unknown event.", t).of_kind(ProblemKind::UnknownEvent)
        } else {
            Problem::with("Event name must be a string.", t)
        }
    })
}
