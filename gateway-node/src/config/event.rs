//! The application events that the operator defines.

use std::{error::Error, path::PathBuf, time::Duration};

use shared::{
    client_type::ClientType,
    routing::{DeliverMode, EventDefinition, JobDefinition, ReceiverType, ReplyDefinition, TableError},
};

use super::{error::cut, setting::section};

section! {
    /// One `[[events]]` entry: an event, who may send it and who receives it.
    pub struct EventSettings {
        /// The event's name, `t` on the wire.
        name: String, check is_event_name, expect "1 to 128 printable ASCII characters without a space";
        /// The client types that may send it; `service` includes the HTTP API.
        from: Vec<ClientType>, check not_empty;
        /// The types that receive it: `bot`, `website`, `service`, `discord`.
        to: Vec<ReceiverType>, check not_empty;
        /// Which receivers get it: `"all"`, `"any"` (exactly one session in the cluster), `{ guild = "/pointer" }` (the
        /// sessions that reported or watch the guild found there in `d`), or `{ user = "/pointer" }` (the sessions whose
        /// ticket names that user).
        deliver: DeliverMode = DeliverMode::All;
        /// Whether the event is refused if it has no live receiver. If unset, yes for `"any"` and for a guild. An `"any"`
        /// event that does not need one waits for the next session that may receive it.
        require_receiver: Option<bool> = None;
        /// Whether sessions of a ticket receive an event to `"all"`.
        to_tickets: bool = false;
        /// File with a JSON Schema for `d`, relative to the configuration file.
        schema: Option<PathBuf> = None;
        /// Whether the event is a request: one session gets it and replies to the sender. Not for `"all"` or `discord`.
        reply: bool = false;
        /// Milliseconds that the sender of a request waits for the reply. If unset, 5000.
        reply_timeout_ms: Option<u64> = None, from 1;
        /// File with a JSON Schema for `d` of the reply, relative to the configuration file.
        reply_schema: Option<PathBuf> = None;
        /// Milliseconds that a worker may take to acknowledge the event. If set, the event is a job: it is delivered to one
        /// worker after the other until one acknowledges it. Only for `"any"`.
        ack_timeout_ms: Option<u64> = None, from 1;
        /// How often a job is delivered at most. If unset, 5.
        attempts: Option<u32> = None, from 1;
    }
}

/// How often a job is delivered at most, unless its event says otherwise.
const ATTEMPTS: u32 = 5;

/// How long the sender of a request waits for the reply, unless its event says otherwise, in milliseconds.
const REPLY_TIMEOUT_MS: u64 = 5000;

impl EventSettings {
    /// Returns the event's definition, with its schema files read and parsed.
    ///
    /// # Errors
    /// The setting that names an unusable file, and what is wrong with the file.
    pub(super) fn definition(&self) -> Result<EventDefinition, (&'static str, Box<dyn Error>)> {
        let schema = schema_at(self.schema.as_ref()).map_err(|error| ("schema", error))?;
        let reply_schema = schema_at(self.reply_schema.as_ref()).map_err(|error| ("reply_schema", error))?;
        let timeout = Duration::from_millis(self.reply_timeout_ms.unwrap_or(REPLY_TIMEOUT_MS));
        Ok(EventDefinition {
            name: self.name.clone(),
            from: self.from.clone(),
            to: self.to.clone(),
            deliver: self.deliver.clone(),
            require_receiver: self.require_receiver,
            to_tickets: self.to_tickets,
            schema,
            reply: self.reply.then_some(ReplyDefinition {
                timeout,
                schema: reply_schema,
            }),
            job: self.ack_timeout_ms.map(|ms| JobDefinition {
                ack_timeout: Duration::from_millis(ms),
                attempts: self.attempts.unwrap_or(ATTEMPTS),
            }),
        })
    }
}

/// Reads and parses a schema file.
fn schema_at(path: Option<&PathBuf>) -> Result<Option<serde_json::Value>, Box<dyn Error>> {
    match path {
        Some(path) => Ok(Some(serde_json::from_slice(&std::fs::read(path)?)?)),
        None => Ok(None),
    }
}

/// Returns the events of development mode, which apply if the operator configured none.
pub fn development_events() -> Vec<EventDefinition> {
    vec![
        EventDefinition {
            name: "announce".to_owned(),
            from: ClientType::ALL.to_vec(),
            to: vec![ReceiverType::Bot, ReceiverType::Website],
            deliver: DeliverMode::All,
            require_receiver: None,
            to_tickets: false,
            schema: None,
            reply: None,
            job: None,
        },
        EventDefinition {
            name: "guild_settings_changed".to_owned(),
            from: vec![ClientType::Website, ClientType::Service],
            to: vec![ReceiverType::Bot],
            deliver: DeliverMode::Guild("/guildId".to_owned()),
            require_receiver: None,
            to_tickets: false,
            schema: None,
            reply: None,
            job: None,
        },
    ]
}

/// Explains why a table cannot be built. Returns the event, the field of its entry that is wrong, and what was expected
/// there.
pub(super) fn explain(error: &TableError) -> (&str, &'static str, String) {
    match error {
        TableError::Duplicate { event } => (event, "name", "a unique name".to_owned()),
        TableError::Reserved { event } => (event, "name", "a name that is not reserved by the protocol".to_owned()),
        TableError::Pointer { event, .. } => (event, "deliver", "a JSON Pointer such as \"/guildId\"".to_owned()),
        TableError::RequestToAll { event } => (
            event,
            "deliver",
            "\"any\", a guild or a user, because the event is a request (reply = true)".to_owned(),
        ),
        TableError::JobNotToAny { event } => (
            event,
            "deliver",
            "\"any\", because the event is a job (ack_timeout_ms)".to_owned(),
        ),
        TableError::RequestAndJob { event } => (
            event,
            "ack_timeout_ms",
            "no value, because the event is a request (reply = true)".to_owned(),
        ),
        TableError::AnswerOfDiscord { event } => (
            event,
            "to",
            "bot, website or service, because the receiver of a request or a job has to answer".to_owned(),
        ),
        TableError::Schema { event, source } | TableError::ReplySchema { event, source } => {
            let cause = cut(source.to_string());
            let is_of_reply = matches!(error, TableError::ReplySchema { .. });
            (
                event,
                if is_of_reply { "reply_schema" } else { "schema" },
                format!("a file with a JSON Schema that refers to no other document ({cause})"),
            )
        }
        // Loading refuses empty lists and names, so this arm only covers variants added later.
        other => ("", "name", format!("a valid table of events ({other})")),
    }
}

/// Returns whether `name` is a valid event name.
pub(crate) fn is_event_name(name: &str) -> bool {
    (1..=128).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

fn not_empty<T>(list: &[T]) -> bool {
    !list.is_empty()
}
