//! All of the node's keys. A reload replaces them as a whole.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::SystemTime,
};

use arc_swap::{ArcSwap, Guard};
use rustc_hash::FxHashMap;
use shared::{
    client_type::ClientType,
    key::{PresentedKey, SecretHash},
    user::UserId,
};

use super::{Key, SessionTicket};
use crate::config::Permission;

/// The keys that are valid now. Clones share the keyring.
#[derive(Clone)]
pub struct Keyring {
    inner: Arc<KeyringInner>,
}

struct KeyringInner {
    keys: ArcSwap<HashMap<String, Arc<Key>>>,
    /// When the tickets of a key (its id) for a user were revoked last.
    revoked_users: ArcSwap<RevokedUsers>,
    revision: AtomicU64,
    /// Whether some keys may not have been loaded yet.
    is_partial: AtomicBool,
    /// The hash that the secret is compared with if the key is unknown.
    decoy: SecretHash,
}

/// When the tickets that a key (its id) had issued for a user were revoked last, in milliseconds of the clock of the store
/// of tickets.
pub type RevokedUsers = FxHashMap<(Arc<str>, UserId), u64>;

/// Why a presented key is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The key is unknown, revoked or expired. Clients cannot tell these cases apart.
    #[error("the key is unknown, revoked or expired")]
    Wrong,
    /// Not all keys are loaded yet, so an unknown key may still be valid.
    #[error("not every key is known yet")]
    NotYet,
}

impl Keyring {
    /// Creates a keyring with these keys.
    pub fn new(keys: Vec<Key>) -> Self {
        Self {
            inner: Arc::new(KeyringInner {
                keys: ArcSwap::from_pointee(by_id(keys)),
                revoked_users: ArcSwap::default(),
                revision: AtomicU64::new(0),
                is_partial: AtomicBool::new(false),
                decoy: SecretHash::of(""),
            }),
        }
    }

    /// Creates a keyring with only some of the keys. Until [`complete`](Self::complete) is called, a key that it does
    /// not know is answered with [`Refused::NotYet`].
    pub fn partial(keys: Vec<Key>) -> Self {
        let ring = Self::new(keys);
        ring.inner.is_partial.store(true, Ordering::Release);
        ring
    }

    /// Marks the keyring as complete: all keys have been loaded at least once.
    pub fn complete(&self) {
        self.inner.is_partial.store(false, Ordering::Release);
    }

    /// Returns whether all keys have been loaded at least once.
    pub fn is_complete(&self) -> bool {
        !self.inner.is_partial.load(Ordering::Acquire)
    }

    /// Replaces all keys. Keys that are missing or different are revoked.
    pub fn replace(&self, keys: Vec<Key>) {
        self.inner.keys.store(Arc::new(by_id(keys)));
        self.inner.revision.fetch_add(1, Ordering::Release);
    }

    /// Returns a number that grows with every replacement.
    pub fn revision(&self) -> u64 {
        self.inner.revision.load(Ordering::Acquire)
    }

    /// Returns the key that `presented` (`id.secret`) unlocks.
    ///
    /// # Errors
    /// Fails if it unlocks no key that is valid at `now`.
    pub fn open(&self, presented: &str, now: SystemTime) -> Result<Arc<Key>, Refused> {
        let presented = PresentedKey::parse(presented);
        // Read before the keys: if this says that all keys are loaded, the lookup below must see all of them.
        let is_complete = self.is_complete();
        let keys = self.keys();
        let key = presented.as_ref().and_then(|presented| keys.get(presented.id));
        let secret = presented.as_ref().map_or("", |presented| presented.secret);
        // An unknown id is compared with a hash that nothing matches, so that the time taken does not reveal which ids
        // exist.
        let hash = key.map_or(&self.inner.decoy, |key| key.hash());
        let opens = hash.matches(secret);
        match key {
            Some(key) if opens && !key.has_expired(now) => Ok(Arc::clone(key)),
            _ if is_complete => Err(Refused::Wrong),
            _ => Err(Refused::NotYet),
        }
    }

    /// Returns the bot key that `token` unlocks. The token may begin with the word `Bot`, which Discord libraries put
    /// before it.
    ///
    /// # Errors
    /// Fails like [`open`](Self::open), and if the key is not for bots.
    pub fn open_bot(&self, token: &str, now: SystemTime) -> Result<Arc<Key>, Refused> {
        let presented = match token.split_once(' ') {
            Some((word, presented)) if word.eq_ignore_ascii_case("bot") => presented.trim_start(),
            _ => token,
        };
        self.open_for(presented, ClientType::Bot, now)
    }

    /// Returns the key that `presented` unlocks, if it is for clients of this type.
    ///
    /// # Errors
    /// Fails if it unlocks no key that is valid at `now`, or one for other client types.
    pub fn open_for(&self, presented: &str, kind: ClientType, now: SystemTime) -> Result<Arc<Key>, Refused> {
        let key = self.open(presented, now)?;
        if key.is_for(kind) { Ok(key) } else { Err(Refused::Wrong) }
    }

    /// Returns whether a key that was looked up earlier is unchanged and still valid for a client of this type.
    pub fn is_good(&self, key: &Arc<Key>, kind: ClientType, now: SystemTime) -> bool {
        let keys = self.keys();
        let same = keys
            .get(key.id())
            .is_some_and(|known| Arc::ptr_eq(known, key) || known == key);
        same && key.is_for(kind) && !key.has_expired(now)
    }

    /// Replaces the revocations of users.
    pub fn revoke_users(&self, revoked: Arc<RevokedUsers>) {
        self.inner.revoked_users.store(revoked);
        self.inner.revision.fetch_add(1, Ordering::Release);
    }

    /// Returns the key that issued a ticket, if it is still valid and may issue tickets.
    pub fn issuer(&self, id: &str, now: SystemTime) -> Option<Arc<Key>> {
        let keys = self.keys();
        let key = keys.get(id)?;
        (key.may(Permission::Tickets) && !key.has_expired(now)).then(|| Arc::clone(key))
    }

    /// Returns whether the ticket of a session is still valid: its issuing key is unchanged, and its user was not revoked.
    pub fn is_ticket_good(&self, ticket: &SessionTicket, now: SystemTime) -> bool {
        let issuer = self.issuer(ticket.issuer.id(), now);
        let is_same = issuer.is_some_and(|known| Arc::ptr_eq(&known, &ticket.issuer) || known == ticket.issuer);
        is_same && !self.is_revoked(ticket)
    }

    fn is_revoked(&self, ticket: &SessionTicket) -> bool {
        let Some(user) = &ticket.rights.user else {
            return false;
        };
        let field = (Arc::clone(ticket.issuer.shared_id()), user.clone());
        let revoked_at = self.inner.revoked_users.load().get(&field).copied();
        revoked_at.is_some_and(|revoked_at| ticket.issued_at <= revoked_at)
    }

    /// Returns whether any key expired after `from` and no later than `to`.
    pub fn has_expired_between(&self, from: SystemTime, to: SystemTime) -> bool {
        let due = |key: &Arc<Key>| key.expires_at().is_some_and(|time| from < time && time <= to);
        self.keys().values().any(due)
    }

    fn keys(&self) -> Guard<Arc<HashMap<String, Arc<Key>>>> {
        self.inner.keys.load()
    }
}

fn by_id(keys: Vec<Key>) -> HashMap<String, Arc<Key>> {
    keys.into_iter()
        .map(|key| (key.id().to_owned(), Arc::new(key)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{HashText, KeySettings, KeyTypes, Secret};

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn settings(id: &str) -> KeySettings {
        KeySettings {
            id: id.to_owned(),
            secret: Some(Secret::from(SECRET.to_owned())),
            types: KeyTypes(vec![ClientType::Bot]),
            permissions: vec![Permission::Publish],
            ..KeySettings::default()
        }
    }

    fn key(id: &str) -> Key {
        Key::new(&settings(id)).unwrap()
    }

    #[test]
    fn a_key_is_unlocked_only_by_its_own_secret() {
        let ring = Keyring::new(vec![key("a"), key("b")]);
        let now = crate::clock::wall_clock();
        let opened = ring.open(&format!("a.{SECRET}"), now).unwrap();
        assert!(opened.is_for(ClientType::Bot) && !opened.is_for(ClientType::Website));
        assert!(opened.may(Permission::Publish) && !opened.may(Permission::Admin));
        for wrong in [
            "",
            ".",
            "a",
            "a.",
            &format!("c.{SECRET}"),
            &format!("a.{SECRET}x"),
            &format!("{SECRET}.a"),
        ] {
            assert_eq!(ring.open(wrong, now), Err(Refused::Wrong), "{wrong}");
        }
    }

    #[test]
    fn a_bot_token_may_begin_with_the_word_bot() {
        let website = KeySettings {
            types: KeyTypes(vec![ClientType::Website]),
            ..settings("web")
        };
        let spaced = KeySettings {
            secret: Some(Secret::from(SECRET.replace('0', " "))),
            ..settings("bot")
        };
        let ring = Keyring::new(vec![key("a"), Key::new(&website).unwrap(), Key::new(&spaced).unwrap()]);
        let now = crate::clock::wall_clock();
        for token in [
            &format!("a.{SECRET}"),
            &format!("Bot a.{SECRET}"),
            &format!("bot  a.{SECRET}"),
            &format!("bot.{}", SECRET.replace('0', " ")),
        ] {
            assert!(ring.open_bot(token, now).is_ok(), "{token}");
        }
        for token in [
            &format!("Bot web.{SECRET}"),
            &format!("Bearer a.{SECRET}"),
            &format!("Bota.{SECRET}"),
            "Bot ",
            "Bot",
        ] {
            assert_eq!(ring.open_bot(token, now), Err(Refused::Wrong), "{token}");
        }
    }

    #[test]
    fn unknown_keys_are_not_wrong_until_the_keyring_is_complete() {
        let ring = Keyring::partial(vec![key("a")]);
        let now = crate::clock::wall_clock();
        let [a, b] = ["a", "b"].map(|id| format!("{id}.{SECRET}"));
        assert!(ring.open(&a, now).is_ok());
        assert_eq!(ring.open(&b, now), Err(Refused::NotYet));
        ring.replace(vec![key("a"), key("b")]);
        ring.complete();
        assert!(ring.open(&b, now).is_ok());
        assert_eq!(ring.open(&format!("c.{SECRET}"), now), Err(Refused::Wrong));
    }

    #[test]
    fn a_key_can_be_configured_by_its_hash() {
        let settings = KeySettings {
            secret: None,
            hash: Some(HashText(SecretHash::of(SECRET).to_string())),
            ..settings("a")
        };
        let ring = Keyring::new(vec![Key::new(&settings).unwrap()]);
        assert!(ring.open(&format!("a.{SECRET}"), crate::clock::wall_clock()).is_ok());
    }

    #[test]
    fn a_replaced_key_is_revoked_and_an_unchanged_one_is_not() {
        let ring = Keyring::new(vec![key("a"), key("b")]);
        let now = crate::clock::wall_clock();
        let [a, b] = ["a", "b"].map(|id| ring.open(&format!("{id}.{SECRET}"), now).unwrap());
        let other = KeySettings {
            secret: Some(Secret::from(SECRET.replace('0', "x"))),
            ..settings("b")
        };
        ring.replace(vec![key("a"), Key::new(&other).unwrap()]);
        assert_eq!(ring.revision(), 1);
        assert!(ring.is_good(&a, ClientType::Bot, now));
        assert!(!ring.is_good(&b, ClientType::Bot, now));
        assert!(!ring.is_good(&a, ClientType::Website, now));
    }

    #[test]
    fn a_key_expires_at_its_time() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let settings = KeySettings {
            expires_at: Some("1970-01-01T00:16:41Z".parse().unwrap()),
            ..settings("a")
        };
        let ring = Keyring::new(vec![Key::new(&settings).unwrap()]);
        let key = ring.open(&format!("a.{SECRET}"), now).unwrap();
        let later = now + Duration::from_secs(1);
        assert!(!ring.is_good(&key, ClientType::Bot, later));
        assert!(ring.open(&format!("a.{SECRET}"), later).is_err());
        assert!(ring.has_expired_between(now, later) && !ring.has_expired_between(later, later));
    }

    #[test]
    fn a_ticket_is_void_with_its_key_or_its_user() {
        let issuing = KeySettings {
            permissions: vec![Permission::Tickets],
            ..settings("site")
        };
        let ring = Keyring::new(vec![Key::new(&issuing).unwrap(), key("other")]);
        let now = crate::clock::wall_clock();
        assert!(ring.issuer("other", now).is_none() && ring.issuer("none", now).is_none());
        let ticket = |user: Option<&str>, issued_at| {
            let rights = shared::ticket::TicketRights {
                user: user.and_then(UserId::new),
                ..Default::default()
            };
            SessionTicket::new(ring.issuer("site", now).unwrap(), "id", rights, issued_at)
        };
        let (before, after, of_another, of_none) = (
            ticket(Some("7"), 10),
            ticket(Some("7"), 11),
            ticket(Some("8"), 10),
            ticket(None, 10),
        );
        let good = |ring: &Keyring| [&before, &after, &of_another, &of_none].map(|it| ring.is_ticket_good(it, now));
        assert_eq!(good(&ring), [true; 4]);
        let revision = ring.revision();
        let field = (Arc::from("site"), UserId::new("7").unwrap());
        ring.revoke_users(Arc::new([(field, 10)].into_iter().collect()));
        assert!(ring.revision() > revision);
        assert_eq!(good(&ring), [false, true, true, true]);
        ring.replace(vec![key("other")]);
        assert_eq!(good(&ring), [false; 4]);
    }
}
