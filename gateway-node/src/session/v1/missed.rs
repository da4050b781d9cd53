//! Which events a session missed while it was away.

use shared::{client_type::ClientType, guild::GuildId, session_id::SessionId, user::UserId};

use crate::backplane::{Audience, Entry};

/// What decides which events a session missed: its type, and its scope at its identify.
#[derive(Debug, Clone)]
pub(super) struct MissedEvents {
    /// The session. It does not receive the events that it sends itself.
    pub(super) session: SessionId,
    pub(super) kind: ClientType,
    /// The guilds that it watches or reports: ascending, without duplicates.
    pub(super) guilds: Vec<GuildId>,
    /// The user that its ticket names.
    pub(super) user: Option<UserId>,
    /// Whether it has a ticket, and so receives only some of the broadcasts.
    pub(super) has_ticket: bool,
}

impl MissedEvents {
    /// Whether a session of this type and scope would have received an entry.
    pub(super) fn has(&self, entry: &Entry) -> bool {
        let is_in_scope = match &entry.audience {
            Audience::Types(types) => types.contains(self.kind) && (entry.to_tickets || !self.has_ticket),
            Audience::Reporters { guild, of, .. } => of.contains(self.kind) && self.guilds.binary_search(guild).is_ok(),
            Audience::User { user, of } => of.contains(self.kind) && self.user.as_ref() == Some(user),
            Audience::One { .. } | Audience::Request { .. } | Audience::Job(_) => false,
        };
        is_in_scope && entry.can_be_missed() && entry.author != Some(self.session)
    }
}

#[cfg(test)]
mod tests {
    use shared::client_type::ClientTypes;

    use super::*;
    use crate::backplane::{Epoch, Position};

    fn entry(audience: Audience) -> Entry {
        Entry {
            position: Position {
                offset: 7,
                epoch: Epoch::from_raw(1),
            },
            ..Entry::example(audience)
        }
    }

    fn of_guild(guild: u64, of: ClientTypes) -> Audience {
        Audience::Reporters {
            guild: GuildId::from_raw(guild),
            sessions: [SessionId::from_raw(9)].into_iter().collect(),
            are_watchers_included: true,
            of,
        }
    }

    fn of_user(user: &str) -> Audience {
        Audience::User {
            user: UserId::new(user).unwrap(),
            of: ClientTypes::ALL,
        }
    }

    fn session(kind: ClientType, user: Option<&str>) -> MissedEvents {
        MissedEvents {
            session: SessionId::from_raw(5),
            kind,
            guilds: [3, 42].map(GuildId::from_raw).into(),
            user: user.and_then(UserId::new),
            has_ticket: user.is_some(),
        }
    }

    #[test]
    fn a_session_misses_the_events_of_its_type_guilds_and_user() {
        let website = session(ClientType::Website, None);
        let types = |kind: ClientType| Audience::Types(kind.into());
        assert!(website.has(&entry(types(ClientType::Website))));
        assert!(!website.has(&entry(types(ClientType::Bot))));
        assert!(website.has(&entry(of_guild(42, ClientTypes::ALL))));
        assert!(!website.has(&entry(of_guild(43, ClientTypes::ALL))));
        assert!(!website.has(&entry(of_guild(42, ClientType::Bot.into()))));
        assert!(session(ClientType::Bot, None).has(&entry(of_guild(3, ClientType::Bot.into()))));
        assert!(!website.has(&entry(of_user("7"))));
        let page = session(ClientType::Website, Some("7"));
        assert!(page.has(&entry(of_user("7"))) && !page.has(&entry(of_user("8"))));
    }

    #[test]
    fn a_page_misses_only_broadcasts_for_tickets() {
        let page = session(ClientType::Website, Some("7"));
        let broadcast = entry(Audience::Types(ClientTypes::ALL));
        assert!(!page.has(&broadcast));
        let to_tickets = Entry {
            to_tickets: true,
            trace: None,
            ..broadcast
        };
        assert!(page.has(&to_tickets));
    }

    #[test]
    fn events_for_one_session_and_repeated_appends_are_not_missed() {
        let bot = session(ClientType::Bot, None);
        let one = Audience::One {
            session: SessionId::from_raw(9),
            of: ClientTypes::ALL,
        };
        assert!(!bot.has(&entry(one)));
        let again = Entry {
            first: Some(2),
            ..entry(of_guild(42, ClientTypes::ALL))
        };
        assert!(!bot.has(&again));
    }

    #[test]
    fn events_of_an_earlier_session_of_the_client_are_missed() {
        let website = session(ClientType::Website, None);
        let by = |author: u64| Entry {
            author: Some(SessionId::from_raw(author)),
            ..entry(Audience::Types(ClientTypes::ALL))
        };
        assert!(website.has(&by(4)));
        assert!(!website.has(&by(website.session.get())));
    }
}
