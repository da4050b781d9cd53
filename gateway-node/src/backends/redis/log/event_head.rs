//! What a script gets of an event before its name and data.

use shared::{discord::GuildChange, routing::Delivery};

use super::label::{JobLabel, Label, NONE, Origin, label, user_key};
use crate::{backends::redis::scripts::millis, backplane::Publication};

/// The head of an event that is to be appended, as `publish.lua` takes it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum EventHead {
    /// That of its entry, up to the length of the name: it is a broadcast and nothing else.
    OfEntry(String),
    /// All that the script has to know to choose its receivers.
    OfPublication(String),
}

impl EventHead {
    /// Returns the head of an event.
    pub(super) fn of(event: &Publication, origin: Origin) -> Self {
        let label = label(Label {
            origin,
            to_tickets: event.to_tickets,
            user: event.user.as_ref(),
            request: event.request.as_deref(),
            job: event.job.as_deref().map(|job| JobLabel {
                id: job.id,
                numbers: [millis(job.ack_timeout), job.attempts.into()],
            }),
            header: event.discord.as_deref(),
        });
        let change = guild_change(event);
        let author = event
            .author
            .map_or_else(|| NONE.to_owned(), |author| author.get().to_string());
        let (types, size) = (event.receivers.bits(), event.name.len());
        let is_special =
            event.require_receiver || event.request.is_some() || event.job.is_some() || event.trace.is_some();
        if event.delivery == Delivery::All && !is_special && change.is_none() {
            return Self::OfEntry(format!("a {types} {author} {NONE} {label} {size}"));
        }
        let delivery = match &event.delivery {
            Delivery::All => "all".to_owned(),
            Delivery::Any => "any".to_owned(),
            Delivery::Guild(guild) => guild.to_string(),
            Delivery::User(user) => user_key(user),
        };
        let is_required = u8::from(event.require_receiver);
        let change = change.unwrap_or_else(|| NONE.to_owned());
        let trace = event
            .trace
            .as_ref()
            .map_or_else(|| NONE.to_owned(), ToString::to_string);
        Self::OfPublication(format!(
            "? {delivery} {is_required} {types} {author} {label} {change} {trace} {size}"
        ))
    }

    /// The text.
    pub(super) fn as_str(&self) -> &str {
        let (Self::OfEntry(text) | Self::OfPublication(text)) = self;
        text
    }
}

/// Returns the guild that an event changes, with a prefix: `c` if the event creates or replaces it, `d` if it deletes it,
/// `u` if it is a change to record.
fn guild_change(event: &Publication) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Outage {
        #[serde(default)]
        unavailable: bool,
    }
    let (change, guild) = event.discord.as_ref()?.change(&event.name, &event.d)?;
    let is_outage = || serde_json::from_str(&event.d).is_ok_and(|Outage { unavailable }| unavailable);
    Some(match change {
        GuildChange::Create => format!("c{guild}"),
        GuildChange::Delete if !is_outage() => format!("d{guild}"),
        _ => format!("u{guild}"),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use shared::{
        client_type::ClientTypes,
        discord::{Header, Target},
    };

    use super::*;

    #[test]
    fn a_guild_change_names_its_guild() {
        let change = |name: &str, d: &str, target| {
            guild_change(&Publication {
                name: name.into(),
                discord: Some(Arc::new(Header::of(name, d, target, None))),
                d: d.into(),
                ..Publication::example(Delivery::All, ClientTypes::NONE)
            })
        };
        let guild = r#"{"id":"7","guild_id":"7","unavailable":false}"#;
        for (name, expected) in [
            ("GUILD_CREATE", Some("c7")),
            ("GUILD_DELETE", Some("d7")),
            ("CHANNEL_CREATE", Some("u7")),
            ("MESSAGE_CREATE", None),
        ] {
            assert_eq!(change(name, guild, Target::All).as_deref(), expected);
        }
        assert_eq!(
            change("GUILD_DELETE", r#"{"id":"7","unavailable":true}"#, Target::All).as_deref(),
            Some("u7")
        );
        assert_eq!(
            change("GUILD_MEMBERS_PUT", guild, Target::Nobody).as_deref(),
            Some("u7")
        );
        assert_eq!(change("GUILD_CREATE", guild, Target::User(1)), None);
        // A publisher can name a guild beside data that does not mention it.
        for d in ["[]", "null"] {
            let named = Header::of("GUILD_CREATE", d, Target::All, Some(7));
            assert_eq!(named.change("GUILD_CREATE", d), None, "{d}");
        }
    }
}
