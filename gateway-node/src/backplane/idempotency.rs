//! Identifies events that are published again, so that no repetition is applied.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use shared::idempotency_key::IdempotencyKey;

use super::publication::Publication;

/// Identifies events that are published together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The sender's idempotency key, with the namespace of the sender before it.
    pub key: Arc<str>,
    /// A digest of the events, to detect a key that is used again for other events.
    pub digest: u64,
}

impl Idempotency {
    /// Identifies `events` by an idempotency key of the sender whose API key has the id `namespace`. Senders with
    /// different API keys can use the same idempotency keys. The way in which the events were sent does not matter, so an
    /// event can be sent over a socket and repeated over HTTP.
    pub fn new(namespace: &str, key: &IdempotencyKey, events: &[Publication]) -> Self {
        let mut digest = Sha256::new();
        for event in events {
            // The target of an event for Discord sessions is in the header, the guild and the users are in the data.
            let target = event.discord.as_ref().map(|header| (header.target, header.guild));
            let parts = [&*event.name, &*event.d, &format!("{target:?}")];
            for part in parts {
                digest.update((part.len() as u64).to_le_bytes());
                digest.update(part);
            }
        }
        let first_bytes = digest.finalize().into_iter().take(8);
        Self {
            // The id of an API key has no space.
            key: [namespace, " ", key.as_str()].concat().into(),
            digest: first_bytes.fold(0, |digest, byte| digest << 8 | u64::from(byte)),
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::{
        client_type::ClientTypes,
        discord::{Header, Target},
        routing::Delivery,
    };

    use super::*;

    fn event(name: &str, d: &str, target: Option<Target>) -> Publication {
        Publication {
            name: name.into(),
            discord: target.map(|target| Arc::new(Header::of(name, d, target, None))),
            d: d.into(),
            ..Publication::example(Delivery::All, ClientTypes::NONE)
        }
    }

    fn of(namespace: &str, events: &[Publication]) -> Idempotency {
        Idempotency::new(namespace, &IdempotencyKey::new("k 1").unwrap(), events)
    }

    #[test]
    fn each_api_key_has_a_namespace() {
        let events = [event("a", "{}", None)];
        assert_eq!(of("shop", &events).key.as_ref(), "shop k 1");
        assert_ne!(of("shop", &events).key, of("bot", &events).key);
        assert_eq!(of("shop", &events).digest, of("bot", &events).digest);
    }

    #[test]
    fn the_digest_covers_all_that_is_published() {
        let digest = |events: &[Publication]| of("shop", events).digest;
        let all = [
            digest(&[event("a", "{}", None)]),
            digest(&[event("a", "{ }", None)]),
            digest(&[event("a{", "}", None)]),
            digest(&[event("a", "{}", Some(Target::All))]),
            digest(&[event("a", "{}", Some(Target::User(1)))]),
            digest(&[event("a", "{}", None), event("a", "{}", None)]),
        ];
        let distinct: std::collections::HashSet<_> = all.into_iter().collect();
        assert_eq!(distinct.len(), all.len());
    }
}
