//! Tickets: short-lived credentials with which a web page opens one session.

use serde::{Deserialize, Serialize};

use crate::{guild::GuildId, routing::Delivery, user::UserId};

/// The beginning of every ticket. No id of a key contains a dot, so no key begins like this.
const PREFIX: &str = "ticket.";

/// A ticket as a client presents it: `ticket.<id>.<secret>`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PresentedTicket<'a> {
    /// The part between the dots, under which the ticket is stored.
    pub id: &'a str,
    /// The part after the last dot.
    pub secret: &'a str,
}

impl<'a> PresentedTicket<'a> {
    /// Splits a ticket. Returns `None` if `text` is no ticket; then it may be a key.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.rsplit_once('.')?;
        Some(Self { id, secret })
    }

    /// Returns the whole ticket.
    pub fn text(&self) -> String {
        [PREFIX, self.id, ".", self.secret].concat()
    }
}

/// What the session of a ticket may do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TicketRights {
    /// The user. Its session receives the events for this user, and receivers of its events see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// The guilds that it may watch: ascending, without duplicates.
    #[serde(default, with = "guild_numbers", skip_serializing_if = "Vec::is_empty")]
    pub guilds: Vec<GuildId>,
    /// The names of the events that it may send.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
}

impl TicketRights {
    /// Whether the session may watch this guild.
    pub fn has_guild(&self, guild: GuildId) -> bool {
        self.guilds.binary_search(&guild).is_ok()
    }

    /// Whether the session may send events of this name.
    pub fn has_event(&self, name: &str) -> bool {
        self.events.iter().any(|event| event == name)
    }

    /// Whether the session may send an event to these receivers: one for a guild or a user only to its own.
    pub fn reaches(&self, delivery: &Delivery) -> bool {
        match delivery {
            Delivery::All | Delivery::Any => true,
            Delivery::Guild(guild) => self.has_guild(*guild),
            Delivery::User(user) => self.user.as_ref() == Some(user),
        }
    }
}

/// Guild ids as numbers.
mod guild_numbers {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::guild::GuildId;

    pub(super) fn serialize<S: Serializer>(guilds: &[GuildId], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(guilds.iter().map(|guild| guild.get()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<GuildId>, D::Error> {
        let numbers = Vec::<u64>::deserialize(deserializer)?;
        Ok(numbers.into_iter().map(GuildId::from_raw).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_has_an_id_and_a_secret() {
        let ticket = PresentedTicket::parse("ticket.00ff.s3cr3t").unwrap();
        assert_eq!((ticket.id, ticket.secret), ("00ff", "s3cr3t"));
        assert_eq!(ticket.text(), "ticket.00ff.s3cr3t");
        for other in ["", "ticket", "ticket.00ff", "bot.secret", "Ticket.a.b"] {
            assert!(PresentedTicket::parse(other).is_none(), "{other}");
        }
    }

    #[test]
    fn a_ticket_reaches_only_its_own_guilds_and_user() {
        let guild = GuildId::from_raw;
        let rights = TicketRights {
            user: UserId::new("7"),
            guilds: vec![guild(1), guild(3)],
            events: vec!["chat".to_owned()],
        };
        assert!(rights.has_event("chat") && !rights.has_event("Chat"));
        assert!(rights.has_guild(guild(3)) && !rights.has_guild(guild(2)));
        let user = |text| Delivery::User(UserId::new(text).unwrap());
        for delivery in [Delivery::All, Delivery::Any, Delivery::Guild(guild(1)), user("7")] {
            assert!(rights.reaches(&delivery), "{delivery:?}");
            assert_eq!(
                TicketRights::default().reaches(&delivery),
                matches!(delivery, Delivery::All | Delivery::Any)
            );
        }
        assert!(!rights.reaches(&Delivery::Guild(guild(2))) && !rights.reaches(&user("8")));
    }

    #[test]
    fn rights_survive_a_round_trip() {
        let rights = TicketRights {
            user: UserId::new("a b"),
            guilds: vec![GuildId::from_raw(u64::MAX)],
            events: vec!["chat".to_owned()],
        };
        for rights in [rights, TicketRights::default()] {
            let json = serde_json::to_string(&rights).unwrap();
            assert_eq!(serde_json::from_str::<TicketRights>(&json).unwrap(), rights, "{json}");
        }
    }
}
