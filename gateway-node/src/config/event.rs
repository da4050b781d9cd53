//! The application events that the operator defines.

use std::{error::Error, path::PathBuf};

use shared::{
    client_type::ClientType,
    routing::{DeliverMode, EventDefinition, ReceiverType, TableError},
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
    }
}

impl EventSettings {
    /// Returns the event's definition, with its schema file read and parsed.
    pub(super) fn definition(&self) -> Result<EventDefinition, Box<dyn Error>> {
        let schema = match &self.schema {
            Some(path) => Some(serde_json::from_slice(&std::fs::read(path)?)?),
            None => None,
        };
        Ok(EventDefinition {
            name: self.name.clone(),
            from: self.from.clone(),
            to: self.to.clone(),
            deliver: self.deliver.clone(),
            require_receiver: self.require_receiver,
            to_tickets: self.to_tickets,
            schema,
        })
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
        },
        EventDefinition {
            name: "guild_settings_changed".to_owned(),
            from: vec![ClientType::Website, ClientType::Service],
            to: vec![ReceiverType::Bot],
            deliver: DeliverMode::Guild("/guildId".to_owned()),
            require_receiver: None,
            to_tickets: false,
            schema: None,
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
        TableError::Schema { event, source } => {
            let cause = cut(source.to_string());
            (
                event,
                "schema",
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
