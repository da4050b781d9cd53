//! The table of application events, which decides where each event goes.

use std::{borrow::Cow, collections::HashMap, sync::Arc, time::Duration};

use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};

use super::{
    DeliverMode, Delivery, EventDefinition, JobDefinition, ReceiverType, ReplyDefinition, Route, TableError,
    schema::Schema,
};
use crate::{
    client_type::{ClientType, ClientTypes},
    fields::{check_readable, is_object},
    guild::GuildId,
    problem::{Problem, ProblemKind},
    user::UserId,
    v1::{RESERVED_EVENTS, payload::CONNECT_SUCCESS_SUFFIX},
};

/// The configured application events, ready for routing.
#[derive(Debug, Default)]
pub struct EventTable {
    rules: HashMap<Arc<str>, Rule>,
}

#[derive(Debug)]
struct Rule {
    from: ClientTypes,
    receivers: ClientTypes,
    to_discord: bool,
    deliver: DeliverMode,
    require_receiver: bool,
    to_tickets: bool,
    schema: Option<Schema>,
    reply: Option<ReplyRule>,
    job: Option<JobDefinition>,
}

/// What the replies to a request have to satisfy.
#[derive(Debug)]
struct ReplyRule {
    timeout: Duration,
    schema: Option<Schema>,
}

impl EventTable {
    /// Validates the definitions and compiles their schemas.
    ///
    /// # Errors
    ///
    /// The first fault found; see [`TableError`].
    pub fn build(definitions: Vec<EventDefinition>) -> Result<Self, TableError> {
        let mut rules = HashMap::with_capacity(definitions.len());
        for (index, definition) in definitions.into_iter().enumerate() {
            if definition.name.is_empty() {
                return Err(TableError::EmptyName { number: index + 1 });
            }
            if rules.contains_key(definition.name.as_str()) {
                return Err(TableError::Duplicate { event: definition.name });
            }
            rules.insert(definition.name.as_str().into(), Rule::build(definition)?);
        }
        Ok(Self { rules })
    }

    /// Decides where an event goes. The same rules apply to sockets and to HTTP.
    ///
    /// `d` is the event's data as it was sent. It is parsed into a value only if the event's rule inspects it.
    ///
    /// # Errors
    ///
    /// All problems, in the order in which the client receives them: the shape of `d`, then the name and the sender,
    /// then what the rule requires of `d`.
    pub fn route<'t>(
        &'t self,
        name: &str,
        sender: ClientType,
        d: Option<&RawValue>,
    ) -> Result<Route<'t>, Vec<Problem>> {
        let mut problems = Vec::new();
        let object = shape_of_data(d, &mut problems);
        let Some((name, rule)) = self.rules.get_key_value(name) else {
            problems.push(unknown_event(name));
            return Err(problems);
        };
        if !rule.from.contains(sender) {
            problems.push(
                Problem::with_str("Event not allowed for this client type.", name).of_kind(ProblemKind::NotAllowed),
            );
        }
        let delivery = object.and_then(|d| rule.judge(d, &mut problems));
        match delivery {
            Some(delivery) if problems.is_empty() => Ok(Route {
                name,
                receivers: rule.receivers,
                to_discord: rule.to_discord,
                delivery,
                require_receiver: rule.require_receiver,
                to_tickets: rule.to_tickets,
                reply_timeout: rule.reply.as_ref().map(|reply| reply.timeout),
                job: rule.job,
            }),
            _ => Err(problems),
        }
    }

    /// Returns whether the table has an event of this name that is a request.
    pub fn is_request(&self, name: &str) -> bool {
        self.rules.get(name).is_some_and(|rule| rule.reply.is_some())
    }

    /// Returns whether the table has an event of this name that is a job.
    pub fn is_job(&self, name: &str) -> bool {
        self.rules.get(name).is_some_and(|rule| rule.job.is_some())
    }

    /// Checks the reply to a request of this name. If the table no longer has it, any object is a valid reply.
    ///
    /// # Errors
    ///
    /// All problems, in the order in which the client receives them.
    pub fn check_reply<'a>(&self, name: &str, d: Option<&'a RawValue>) -> Result<&'a RawValue, Vec<Problem>> {
        let schema = self
            .rules
            .get(name)
            .and_then(|rule| rule.reply.as_ref()?.schema.as_ref());
        let (d, value) = object(d, schema.is_some())?;
        let mut problems = Vec::new();
        if let (Some(schema), Some(value)) = (schema, &value) {
            schema.check(value, &mut problems);
        }
        if problems.is_empty() { Ok(d) } else { Err(problems) }
    }

    /// Returns whether the table has an event of this name that this type may send.
    pub fn may_send(&self, name: &str, sender: ClientType) -> bool {
        self.rules.get(name).is_some_and(|rule| rule.from.contains(sender))
    }

    /// Returns whether the table has an event of this name.
    pub fn has(&self, name: &str) -> bool {
        self.rules.contains_key(name)
    }

    /// Returns the names of the events, in no particular order.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.rules.keys()
    }

    /// Returns the number of events.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Returns whether the table has no events.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

/// Returns `d` if it is an object, and otherwise records a problem. Every client event is checked this way.
pub(crate) fn shape_of_data<'a>(d: Option<&'a RawValue>, problems: &mut Vec<Problem>) -> Option<&'a RawValue> {
    match d {
        None => problems.push(Problem::absent("Data not provided.")),
        Some(d) if !is_object(d) => problems.push(Problem::with("Data must be an object.", d)),
        Some(d) => return Some(d),
    }
    None
}

/// Creates the problem of a name that is not in the table.
fn unknown_event(name: &str) -> Problem {
    Problem::with_str("Unknown event.", name).of_kind(ProblemKind::UnknownEvent)
}

impl Rule {
    fn build(definition: EventDefinition) -> Result<Self, TableError> {
        let EventDefinition {
            name: event,
            from,
            to,
            deliver,
            require_receiver,
            to_tickets,
            schema,
            reply,
            job,
        } = definition;
        if RESERVED_EVENTS.contains(&event.as_str()) || event.ends_with(CONNECT_SUCCESS_SUFFIX) {
            return Err(TableError::Reserved { event });
        }
        if from.is_empty() {
            return Err(TableError::EmptyFrom { event });
        }
        if to.is_empty() {
            return Err(TableError::EmptyTo { event });
        }
        if let DeliverMode::Guild(pointer) | DeliverMode::User(pointer) = &deliver
            && !is_pointer_into_object(pointer)
        {
            return Err(TableError::Pointer {
                event,
                pointer: pointer.clone(),
            });
        }
        let schema = match schema.map(|schema| Schema::compile(&schema)).transpose() {
            Ok(schema) => schema,
            Err(source) => return Err(TableError::Schema { event, source }),
        };
        let to_discord = to.contains(&ReceiverType::Discord);
        match (&reply, &job) {
            (Some(_), Some(_)) => return Err(TableError::RequestAndJob { event }),
            (_, Some(_)) if deliver != DeliverMode::Any => return Err(TableError::JobNotToAny { event }),
            (Some(_), _) | (_, Some(_)) if to_discord => return Err(TableError::AnswerOfDiscord { event }),
            _ => {}
        }
        let reply = match reply {
            Some(_) if deliver == DeliverMode::All => return Err(TableError::RequestToAll { event }),
            Some(ReplyDefinition { timeout, schema }) => {
                match schema.map(|schema| Schema::compile(&schema)).transpose() {
                    Ok(schema) => Some(ReplyRule { timeout, schema }),
                    Err(source) => return Err(TableError::ReplySchema { event, source }),
                }
            }
            None => None,
        };
        Ok(Self {
            from: from.into_iter().collect(),
            receivers: to.iter().filter_map(|to| to.client_type()).collect(),
            to_discord,
            require_receiver: reply.is_some()
                || (job.is_none()
                    && require_receiver.unwrap_or(matches!(deliver, DeliverMode::Any | DeliverMode::Guild(_)))),
            to_tickets,
            deliver,
            schema,
            reply,
            job,
        })
    }

    /// Returns where the event goes according to its data. Returns `None` if it goes nowhere, after recording a
    /// problem.
    fn judge(&self, d: &RawValue, problems: &mut Vec<Problem>) -> Option<Delivery> {
        let reads_data = self.schema.is_some() || matches!(self.deliver, DeliverMode::Guild(_) | DeliverMode::User(_));
        let value = read(d, reads_data).map_err(|problem| problems.push(problem)).ok()?;
        let value = value.as_ref();
        let delivery = match &self.deliver {
            DeliverMode::All => Some(Delivery::All),
            DeliverMode::Any => Some(Delivery::Any),
            DeliverMode::Guild(pointer) => {
                let found = value.and_then(|value| value.pointer(pointer));
                let guild = found.and_then(GuildId::from_json);
                if guild.is_none() {
                    problems.push(problem(format!("No guild id at {pointer}."), found));
                }
                guild.map(Delivery::Guild)
            }
            DeliverMode::User(pointer) => {
                let found = value.and_then(|value| value.pointer(pointer));
                let user = found.and_then(UserId::from_json);
                if user.is_none() {
                    problems.push(problem(format!("No user id at {pointer}."), found));
                }
                user.map(Delivery::User)
            }
        };
        if let (Some(schema), Some(value)) = (&self.schema, value) {
            schema.check(value, problems);
        }
        delivery
    }
}

/// Returns `d` if it is an object that every receiver can parse.
///
/// # Errors
///
/// All problems, in the order in which the client receives them.
pub fn object_of(d: Option<&RawValue>) -> Result<&RawValue, Vec<Problem>> {
    object(d, false).map(|(d, _)| d)
}

/// Returns `d` if it is an object that every receiver can parse, and its value if it `is_needed`.
fn object(d: Option<&RawValue>, is_needed: bool) -> Result<(&RawValue, Option<Value>), Vec<Problem>> {
    let mut problems = Vec::new();
    let Some(d) = shape_of_data(d, &mut problems) else {
        return Err(problems);
    };
    let value = read(d, is_needed).map_err(|problem| vec![problem])?;
    Ok((d, value))
}

/// Checks that data can be read, and returns its value if `is_needed`.
fn read(d: &RawValue, is_needed: bool) -> Result<Option<Value>, Problem> {
    let read = if is_needed {
        serde_json::from_str(d.get()).map(Some)
    } else {
        check_readable(d).map(|()| None)
    };
    read.map_err(|error| Problem::absent(format!("Data cannot be read: {error}.")))
}

/// Creates a problem with a part of `d`.
fn problem(error: impl Into<Cow<'static, str>>, value: Option<&Value>) -> Problem {
    Problem {
        // A `Value` always serialises.
        data: value.and_then(|value| to_raw_value(value).ok()),
        ..Problem::absent(error)
    }
}

/// Returns whether `pointer` is a JSON Pointer (RFC 6901) to something inside an object. `""` points to `d` itself,
/// which is not an id.
fn is_pointer_into_object(pointer: &str) -> bool {
    pointer.starts_with('/')
        && pointer
            .split('~')
            .skip(1)
            .all(|escaped| escaped.starts_with(['0', '1']))
}

#[cfg(test)]
mod tests;
