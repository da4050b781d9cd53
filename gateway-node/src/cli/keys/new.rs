//! `keys new`: creates a key, and the block of TOML that makes a node accept it.

use std::io::Write;

use clap::{Args, builder::PossibleValuesParser, builder::TypedValueParser as _};
use serde::Serialize;
use shared::{
    client_type::ClientType,
    key::{SecretHash, generate},
};

use super::{CliError, KeyFileStore};
use crate::config::{
    DEFAULT_APPLICATION, KeySettings, KeyTypes, Permission, Secret, Sources, Timestamp, is_application_id, is_key_id,
};

/// The properties of a new key.
#[derive(Debug, Clone, Args)]
pub struct NewKey {
    /// The key's id, shown in logs and lists: 1 to 64 of A-Z a-z 0-9 _ -
    #[arg(long, value_parser = id)]
    pub id: String,
    /// Client type that the key is valid for; can be repeated
    #[arg(long = "type", value_name = "TYPE", required = true, value_delimiter = ',', value_parser = types())]
    pub types: Vec<ClientType>,
    /// The application whose events and sessions the key can access
    #[arg(long, default_value = DEFAULT_APPLICATION, value_parser = application)]
    pub application: String,
    /// What the key may do over HTTP; can be repeated
    #[arg(long = "permission", value_name = "PERMISSION", value_delimiter = ',', value_parser = permissions())]
    pub permissions: Vec<Permission>,
    /// When the key expires, such as 2027-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    pub expires_at: Option<Timestamp>,
    /// Put the key into the configured Redis, where every node picks it up within a second, instead of printing a block
    /// for the file
    #[arg(long)]
    pub store: bool,
}

/// A key's block in the configuration file.
#[derive(Serialize)]
struct Block<'a> {
    id: &'a str,
    hash: String,
    #[serde(rename = "type")]
    types: KeyTypes,
    application: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    permissions: &'a [Permission],
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

/// Prints the key on the first line, then an empty line, then its block. The secret itself is stored nowhere. With
/// `--store`, its hash goes to Redis and no block is printed.
pub(super) fn run(new: &NewKey, random: [u8; 32], sources: &Sources, out: &mut dyn Write) -> Result<(), CliError> {
    let secret = generate(random);
    if new.store {
        store(new, &secret, sources)?;
        writeln!(out, "{}.{secret}\n", new.id)?;
        writeln!(
            out,
            "# The key above is shown only once. Redis stores its hash; every node accepts it within a second."
        )?;
        return Ok(());
    }
    let block = Block {
        id: &new.id,
        hash: SecretHash::of(&secret).to_string(),
        types: KeyTypes(new.types.clone()),
        application: &new.application,
        permissions: &new.permissions,
        expires_at: new.expires_at,
    };
    // All fields are strings and lists of strings, which TOML can always represent.
    let block = toml::to_string(&block).map_err(|error| CliError::Usage(error.to_string()))?;
    writeln!(out, "{}.{secret}\n", new.id)?;
    writeln!(
        out,
        "# The key above is shown only once. Add this block to the configuration file:"
    )?;
    write!(out, "[[keys]]\n{block}")?;
    Ok(())
}

/// Puts the key into Redis. Its id must be unused there and in the file, and its application must be configured.
fn store(new: &NewKey, secret: &str, sources: &Sources) -> Result<(), CliError> {
    let settings = sources.load()?;
    let usage = |text: String| Err(CliError::Usage(format!("keys new: {text}")));
    let Some(store) = KeyFileStore::of(&settings)? else {
        return usage("--store needs redis.url in the configuration".to_owned());
    };
    if !settings.applications.iter().any(|known| known.id == new.application) {
        return usage(format!("no application {:?} in the configuration", new.application));
    }
    let key = KeySettings {
        id: new.id.clone(),
        secret: Some(Secret::from(secret.to_owned())),
        types: KeyTypes(new.types.clone()),
        application: new.application.clone(),
        permissions: new.permissions.clone(),
        expires_at: new.expires_at,
        ..KeySettings::default()
    };
    if settings.keys.iter().any(|known| known.id == new.id) {
        return usage(format!("key {:?} already exists in the configuration file", new.id));
    }
    if !store.add(&key)? {
        return usage(format!("key {:?} already exists in redis", new.id));
    }
    Ok(())
}

fn types() -> impl clap::builder::TypedValueParser<Value = ClientType> {
    PossibleValuesParser::new(ClientType::ALL.map(ClientType::as_str)).try_map(|name| name.parse::<ClientType>())
}

fn permissions() -> impl clap::builder::TypedValueParser<Value = Permission> {
    PossibleValuesParser::new(Permission::ALL.map(Permission::as_str)).try_map(|name| {
        let found = Permission::ALL
            .into_iter()
            .find(|permission| permission.as_str() == name);
        found.ok_or("no such permission")
    })
}

fn id(text: &str) -> Result<String, &'static str> {
    is_key_id(text)
        .then(|| text.to_owned())
        .ok_or("expected 1 to 64 of A-Z a-z 0-9 _ -")
}

fn application(text: &str) -> Result<String, &'static str> {
    is_application_id(text)
        .then(|| text.to_owned())
        .ok_or("expected 1 to 64 of a-z 0-9 _ -")
}
