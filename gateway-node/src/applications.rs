//! The configured applications, with the fields that Discord's protocol needs.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::config::{ApplicationSettings, PrivilegedIntent, Snowflake};

/// One application, with defaults for whatever its settings leave out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Application {
    /// The id in the configuration. Keys and log lines name the application by it.
    pub id: Arc<str>,
    /// The id in Discord's protocol.
    pub client_id: u64,
    /// The id of its bot user.
    pub bot_id: u64,
    /// The application's flags, including those of its privileged intents.
    pub flags: u64,
    /// The bits of the privileged intents that its bots may use.
    pub privileged_intents: u64,
    /// The number of shards that Get Gateway Bot recommends.
    pub shards: u32,
    /// How many of its shards may identify within the same five seconds.
    pub max_concurrency: u32,
    /// How many sessions its bots may start in a day.
    pub session_starts_per_day: u32,
    /// The most guilds that one session may have.
    pub guilds_per_session: usize,
    /// The bot user, as READY and the HTTP API return it.
    pub user: Value,
    /// The application object with its owner and bot, as the HTTP API returns it to its own bots.
    pub about: Value,
    /// The partial application object of READY: only its id and flags.
    pub brief: Value,
}

/// The applications by id. A reload replaces all of them at once. Clones share the table.
#[derive(Clone)]
pub struct Applications(Arc<ArcSwap<HashMap<Arc<str>, Arc<Application>>>>);

impl Applications {
    /// Creates the table from the configured applications.
    pub fn new(settings: &[ApplicationSettings]) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(by_id(settings))))
    }

    /// Returns the application with this id. A reload does not change an `Arc` that was returned before.
    pub fn get(&self, id: &str) -> Option<Arc<Application>> {
        self.0.load().get(id).map(Arc::clone)
    }

    /// Returns the ids of all applications, in order.
    pub fn ids(&self) -> Vec<Arc<str>> {
        let mut ids: Vec<_> = self.0.load().keys().map(Arc::clone).collect();
        ids.sort_unstable();
        ids
    }

    /// Replaces all applications.
    pub fn replace(&self, settings: &[ApplicationSettings]) {
        self.0.store(Arc::new(by_id(settings)));
    }
}

fn by_id(settings: &[ApplicationSettings]) -> HashMap<Arc<str>, Arc<Application>> {
    let applications = settings.iter().map(|settings| Arc::new(Application::new(settings)));
    applications
        .map(|application| (Arc::clone(&application.id), application))
        .collect()
}

impl Application {
    /// Builds the application that the settings describe.
    pub fn new(settings: &ApplicationSettings) -> Self {
        let client_id = settings.client_id.map_or_else(|| derived(&settings.id), Snowflake::get);
        let bot_id = settings.bot_id.map_or(client_id, Snowflake::get);
        let intents = || settings.privileged_intents.iter().copied();
        let privileged_intents = intents().map(PrivilegedIntent::bit).fold(0, |all, bit| all | bit);
        let flags = intents()
            .map(PrivilegedIntent::application_flag)
            .fold(settings.flags, |all, flag| all | flag);
        let user = user(settings, bot_id);
        Self {
            id: settings.id.as_str().into(),
            client_id,
            bot_id,
            flags,
            privileged_intents,
            shards: settings.shards,
            max_concurrency: settings.max_concurrency,
            session_starts_per_day: settings.session_starts_per_day,
            guilds_per_session: settings.guilds_per_session,
            about: about(settings, client_id, flags, &user),
            brief: json!({ "id": client_id.to_string(), "flags": flags }),
            user,
        }
    }
}

/// Returns the bot user object. It has every field that a library reads without checking that it is present.
fn user(settings: &ApplicationSettings, bot_id: u64) -> Value {
    json!({
        "id": bot_id.to_string(),
        "username": settings.bot_username.as_ref().unwrap_or(&settings.id),
        "discriminator": settings.bot_discriminator,
        "global_name": null,
        "avatar": settings.bot_avatar,
        "bot": true,
        "system": false,
        "mfa_enabled": false,
        "banner": null,
        "accent_color": null,
        "locale": "en-US",
        "verified": true,
        "email": null,
        "flags": 0,
        "public_flags": 0,
    })
}

/// Returns the application object. Fields that Discord omits when they are empty are omitted here too, because
/// libraries use them whenever they are present. `summary` is only for libraries older than v10.
fn about(settings: &ApplicationSettings, client_id: u64, flags: u64, user: &Value) -> Value {
    json!({
        "id": client_id.to_string(),
        "name": settings.id,
        "icon": null,
        "description": "",
        "summary": "",
        "rpc_origins": [],
        "bot_public": false,
        "bot_require_code_grant": false,
        "owner": user,
        "bot": user,
        "verify_key": "",
        "team": null,
        "flags": flags,
        "approximate_guild_count": 0,
        "approximate_user_install_count": 0,
        "interactions_endpoint_url": null,
    })
}

/// Derives an id for an application that has none configured: bits of the SHA-256 of its name in the shape of a
/// snowflake whose time lies between May 2019 and September 2023. Libraries store this id, so the derivation must never
/// change.
fn derived(id: &str) -> u64 {
    const TIME: u64 = 1 << 59;
    let digest = Sha256::digest(id);
    let bits = digest.iter().take(8).fold(0, |bits, byte| bits << 8 | u64::from(*byte));
    TIME | (bits % TIME)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(id: &str) -> ApplicationSettings {
        ApplicationSettings::from(id)
    }

    fn snowflake(id: u64) -> Option<Snowflake> {
        serde_json::from_value(json!(id)).ok()
    }

    #[test]
    fn an_application_without_ids_derives_stable_ones() {
        let application = Application::new(&settings("utilbot"));
        assert_eq!(application.client_id, 1_070_123_524_246_601_678);
        assert_eq!(application.bot_id, application.client_id);
        assert_eq!(application.user["id"], application.client_id.to_string());
        assert_eq!(application.user["username"], "utilbot");
        assert_eq!(application.user["discriminator"], "0000");
        assert_eq!(application.user["avatar"], Value::Null);
        assert_eq!(application, Application::new(&settings("utilbot")));
    }

    #[test]
    fn derived_ids_look_like_snowflakes() {
        let mut ids: Vec<_> = (0..1000).map(|index| derived(&index.to_string())).collect();
        for id in &ids {
            // Milliseconds since 2015 are above the lowest 22 bits.
            let days = (id >> 22) / 86_400_000;
            assert!((1590..3190).contains(&days), "{id}: {days}");
            assert!([18, 19].contains(&id.to_string().len()), "{id}");
        }
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 1000);
    }

    #[test]
    fn configured_fields_appear_in_the_application_object() {
        let application = Application::new(&ApplicationSettings {
            client_id: snowflake(80_351_110_224_678_912),
            bot_id: snowflake(7),
            bot_username: Some("Shop".to_owned()),
            bot_discriminator: "0007".to_owned(),
            bot_avatar: Some("a_0123456789abcdef0123456789abcdef".to_owned()),
            flags: 1 << 23,
            privileged_intents: vec![PrivilegedIntent::MessageContent],
            ..settings("shop")
        });
        let flags = 1 << 23 | 1 << 19;
        assert_eq!((application.flags, application.privileged_intents), (flags, 1 << 15));
        assert_eq!(application.brief, json!({ "id": "80351110224678912", "flags": flags }));
        for (field, expected) in [
            ("/id", json!("80351110224678912")),
            ("/name", json!("shop")),
            ("/flags", json!(flags)),
            ("/bot/id", json!("7")),
            ("/bot/username", json!("Shop")),
            ("/bot/discriminator", json!("0007")),
            ("/bot/avatar", json!("a_0123456789abcdef0123456789abcdef")),
        ] {
            assert_eq!(application.about.pointer(field), Some(&expected), "{field}");
        }
        assert_eq!(application.about["owner"], application.user);
        assert_eq!(application.about["bot"], application.user);
    }

    #[test]
    fn every_privileged_intent_has_its_bit_and_its_flag() {
        let application = Application::new(&settings("a"));
        assert_eq!(application.privileged_intents, 1 << 1 | 1 << 8 | 1 << 15);
        assert_eq!(application.flags, 1 << 13 | 1 << 15 | 1 << 19);
        let none = Application::new(&ApplicationSettings {
            privileged_intents: Vec::new(),
            ..settings("a")
        });
        assert_eq!((none.privileged_intents, none.flags), (0, 0));
    }

    #[test]
    fn a_replacement_shows_in_clones_and_leaves_held_applications_alone() {
        let applications = Applications::new(&[settings("a"), settings("b")]);
        let clone = applications.clone();
        let held = applications.get("a").unwrap();
        clone.replace(&[ApplicationSettings {
            shards: 4,
            ..settings("a")
        }]);
        assert_eq!(held.shards, 1);
        assert_eq!(applications.get("a").unwrap().shards, 4);
        assert!(applications.get("b").is_none() && applications.get("c").is_none());
    }
}
