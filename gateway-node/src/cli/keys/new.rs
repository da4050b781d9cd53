//! `keys new`: a key and the block of TOML that lets it in.

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

/// What a new key is to be.
#[derive(Debug, Clone, Args)]
pub struct NewKey {
    /// The key's id, shown in logs and lists: 1 to 64 of A-Z a-z 0-9 _ -
    #[arg(long, value_parser = id)]
    pub id: String,
    /// A client type that the key is valid for; can be given several times
    #[arg(long = "type", value_name = "TYPE", required = true, value_delimiter = ',', value_parser = types())]
    pub types: Vec<ClientType>,
    /// The application whose events and sessions the key can see
    #[arg(long, default_value = DEFAULT_APPLICATION, value_parser = application)]
    pub application: String,
    /// What the key may do over HTTP; can be given several times
    #[arg(long = "permission", value_name = "PERMISSION", value_delimiter = ',', value_parser = permissions())]
    pub permissions: Vec<Permission>,
    /// When the key stops being valid, such as 2027-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    pub expires_at: Option<Timestamp>,
    /// Put the key into the Redis of the configuration, where every node takes it within a second, instead of printing a
    /// block for the file
    #[arg(long)]
    pub store: bool,
}

/// The block of a key, as the configuration file has it.
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

/// Prints the key on the first line, then an empty one, then its block. The secret is nowhere else. With `--store` its
/// hash is in Redis, and there is no block.
pub(super) fn run(new: &NewKey, random: [u8; 32], sources: &Sources, out: &mut dyn Write) -> Result<(), CliError> {
    let secret = generate(random);
    if new.store {
        store(new, &secret, sources)?;
        writeln!(out, "{}.{secret}\n", new.id)?;
        writeln!(
            out,
            "# The key above is shown only now. Redis has its hash; every node takes it within a second."
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
    // The fields are texts and lists of texts, which every TOML document can hold.
    let block = toml::to_string(&block).map_err(|error| CliError::Usage(error.to_string()))?;
    writeln!(out, "{}.{secret}\n", new.id)?;
    writeln!(out, "# The key above is shown only now. This block lets it in:")?;
    write!(out, "[[keys]]\n{block}")?;
    Ok(())
}

/// Puts the key into Redis. It has to be new there and in the file, and its application has to be known.
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
        return usage(format!("there is a key {:?} in the configuration file already", new.id));
    }
    if !store.add(&key)? {
        return usage(format!("there is a key {:?} in redis already", new.id));
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
